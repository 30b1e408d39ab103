"""Every raw layout through the same loader; every kind of wrong input; the sample data that ships."""

import hashlib
import json
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from raw_corpora import nested_features
from raw_corpora import own_columns
from raw_corpora import put
from raw_corpora import raw_columns
from raw_corpora import raw_table
from raw_corpora import write_raw
from raw_corpora import write_table
from raw_corpora import write_triple

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.builtin import resolve_specs
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError

HUB = ("IEMO", "MSPI", "MSPP", "CMUMOSEI", "SAMSEMO")
DIM = 16


def at(name, path, **changes):
    """The spec of `name` lying at `path`, narrow features by default."""
    own = {name: {"audio_dim": DIM, **changes}}
    return resolve_specs(own, {name: str(path)})[name]


def load(name, path, **changes):
    return load_corpus(at(name, path, **changes))


def own(tmp_path, spec=None, **changes):
    return load_corpus(
        CorpusSpec.from_dict("own", {"path": str(put(tmp_path, own_columns(**changes))), **(spec or {})})
    )


# ---- the five hub corpora


@pytest.mark.parametrize("frames", [None, (1, 5)], ids=["utterance", "frames"])
@pytest.mark.parametrize("layout", ["disk", "parquet", "arrow", "jsonl"])
@pytest.mark.parametrize("name", HUB)
def test_raw_layouts_give_the_values_that_were_written(tmp_path, name, layout, frames):
    corpus = load(name, write_raw(name, tmp_path, 23, seed=2, audio_dim=DIM, frames=frames, layout=layout))
    raw = raw_columns(name, 23, seed=2, audio_dim=DIM, frames=frames)
    lengths, values = raw["feats"]
    assert len(corpus) == 23 and corpus.audio_dim == DIM and corpus.has_audio
    assert corpus.label_ids.tolist() == raw["label"] and corpus.label_ids.dtype == np.int64
    assert corpus.audio.length.tolist() == lengths.tolist()
    assert (np.concatenate([corpus.audio[i] for i in range(23)]) == values.astype(np.float32)).all()
    assert corpus.audio[0].dtype == np.float32
    assert corpus.transcripts == raw.get("transcript", raw.get("text"))
    rated = name in ("IEMO", "MSPI", "MSPP")
    assert np.isnan(corpus.vad).all() == (not rated)
    row = corpus.dataset[5]
    assert row["label"] == raw["label"][5] and row["corpus"] == name and row["speaker"] == corpus.speakers[5]
    assert np.array_equal(np.atleast_2d(row["audio_features"]), corpus.audio[5])
    assert np.ndim(row["audio_features"]) == (1 if frames is None else 2)
    assert corpus.dataset.features["label"].names == ["neutral", "happy", "sad", "anger"]


@pytest.mark.parametrize("name", ["IEMO", "MSPP", "SAMSEMO"])
def test_the_fingerprint_is_of_the_content_not_of_the_file(tmp_path, name):
    prints = set()
    for layout in ("disk", "parquet", "arrow", "jsonl"):
        for dtype in (np.float64, np.float32):
            # float64 values that float32 holds exactly, so that both say the same
            table = raw_table(name, 11, audio_dim=DIM, frames=(1, 3), dtype=np.float32)
            feats = raw_columns(name, 11, audio_dim=DIM, frames=(1, 3), dtype=np.float32)["feats"]
            cast = nested_features(feats[0], feats[1].astype(dtype), frame_level=True)
            table = table.set_column(table.column_names.index("emotion2vec_features"), "emotion2vec_features", cast)
            prints.add(load(name, write_table(table, tmp_path / f"{layout}-{dtype.__name__}", layout)).fingerprint)
    assert len(prints) == 1


def test_anything_that_can_influence_training_changes_the_fingerprint(tmp_path):
    ratings = {"valence": [1.0, 2.0, None, 4.0]}
    base = own(tmp_path, **ratings).fingerprint
    assert own(tmp_path, **ratings).fingerprint == base
    changes = [
        {"label": ["neutral", "happy", "sad", "sad"]},
        {"speaker": ["s0", "s1", "s0", "s2"]},
        {"session": ["1", "2", "1", "3"]},
        {"transcript": ["words 0", "words 1", "words 2", "words 4"]},
        {"transcript": ["words 0w", "ords 1", "words 2", "words 3"]},
        {"audio_features": [[0.0, 1.0, 2.0], [1.0, 1.0, 2.0], [2.0, 1.0, 2.0], [3.0, 1.0, 2.0001]]},
        {"audio_features": [[0.0, 1.0, 2.0], None, [2.0, 1.0, 2.0], [3.0, 1.0, 2.0]]},
        {"valence": [1.0, 2.0, 3.0, 4.0]},
        {"difficulty": [0.1, 0.2, 0.3, 0.4]},
        {"curriculum_order": [0.1, 0.2, 0.3, 0.4]},
    ]
    prints = {own(tmp_path, **{**ratings, **change}).fingerprint for change in changes}
    assert len(prints | {base}) == len(changes) + 1
    corpus = own(tmp_path, **ratings)
    assert corpus.select(np.array([0, 1, 2, 3])).fingerprint == base
    assert corpus.select(np.array([1, 0, 2, 3])).fingerprint != base


def test_speakers_and_sessions_follow_each_corpus_rule(tmp_path):
    iemo = load("IEMO", write_raw("IEMO", tmp_path, 40, audio_dim=DIM))
    assert iemo.speakers[:4].tolist() == ["IEMO/1", "IEMO/2", "IEMO/3", "IEMO/4"]
    assert iemo.sessions[:10].tolist() == ["1", "1", "2", "2", "3", "3", "4", "4", "5", "5"]
    mspi = load("MSPI", write_raw("MSPI", tmp_path, 40, audio_dim=DIM))
    assert mspi.speakers[:3].tolist() == ["MSPI/947", "MSPI/948", "MSPI/949"]
    assert mspi.sessions[:12].tolist() == ["1", "1", "2", "2", "3", "3", "4", "4", "5", "5", "6", "6"]
    mspp = load("MSPP", write_raw("MSPP", tmp_path, 40, audio_dim=DIM))
    assert mspp.speakers[:4].tolist() == ["MSPP/1", "MSPP/2", "MSPP/501", "MSPP/502"]
    assert mspp.sessions[:6].tolist() == ["1", "1", "2", "2", "3", "3"]
    for name in ("CMUMOSEI", "SAMSEMO"):
        corpus = load(name, write_raw(name, tmp_path, 9, audio_dim=DIM))
        assert set(corpus.speakers) == {f"{name}/unknown"} and set(corpus.sessions) == {"unknown"}
        assert "speakers are not known" in corpus.notes and corpus.spec.test_only


def test_ratings_come_to_one_to_five_and_missing_ones_stay_missing(tmp_path):
    table = raw_table("MSPP", 4, audio_dim=DIM)
    for name, values in {"EmoVal": [1.0, 7.0, 4.0, None], "EmoAct": [2.5, 1.0, 1.0, 1.0]}.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    table = table.drop_columns("EmoDom")
    corpus = load("MSPP", put(tmp_path, table))
    assert corpus.vad[:, 0] == pytest.approx([1, 5, 3, np.nan], nan_ok=True)
    assert corpus.vad[0, 1] == 2.0  # (2.5 - 1) * 4 / 6 + 1
    assert np.isnan(corpus.vad[:, 2]).all()
    assert "4 of 4 rows lack a rating of valence, arousal or dominance" in corpus.notes
    raw = raw_columns("MSPI", 8, audio_dim=DIM)
    mspi = load("MSPI", write_raw("MSPI", tmp_path, 8, audio_dim=DIM))
    assert mspi.vad[:, 2] == pytest.approx(raw["consensus_dominance"], abs=1e-6)  # already 1-5
    outside = own(tmp_path, valence=[1.0, 5.5, 3.0, 3.0], arousal=[3.0] * 4, dominance=[3.0] * 4)
    assert outside.notes == ["1 of 4 rows have a rating outside the scale [1, 5]"] and outside.vad[1, 0] == 5.5


def test_columns_are_found_whatever_their_case_and_floats_that_are_whole_are_numbers(tmp_path):
    table = raw_table("IEMO", 10, audio_dim=DIM)
    names = ["Speaker_ID" if name == "speaker_id" else name for name in table.column_names]
    table = table.rename_columns(names)
    table = table.set_column(names.index("Speaker_ID"), "Speaker_ID", table["Speaker_ID"].cast(pa.float64()))
    table = table.set_column(names.index("label"), "label", table["label"].cast(pa.float32()))
    corpus = load("IEMO", put(tmp_path, table))
    assert corpus.speakers[9] == "IEMO/10" and corpus.sessions[9] == "5"
    assert corpus.label_ids.tolist() == table["label"].to_pylist()


def test_missing_none_and_empty_transcripts(tmp_path):
    corpus = own(tmp_path, transcript=["None", None, "  ", "NA "])
    assert corpus.transcripts == ["None", "[EMPTY]", "[EMPTY]", "NA"]
    assert corpus.notes == [
        "2 of 4 rows have no transcript: [EMPTY]",
        "4 of 4 rows lack a rating of valence, arousal or dominance",
    ]
    assert own(tmp_path, transcript=None).transcripts == ["[EMPTY]"] * 4


def test_rows_without_voice_have_length_0(tmp_path):
    frames = [[[1.0, 2.0], [3.0, 4.0]], None, [], [[5.0, 6.0]]]
    corpus = own(tmp_path, audio_features=frames)
    assert corpus.audio.length.tolist() == [2, 0, 0, 1] and corpus.audio_dim == 2
    assert corpus.audio[0].tolist() == frames[0] and corpus.audio[3].tolist() == frames[3]
    assert corpus.dataset[1]["audio_features"] is None and corpus.dataset[3]["audio_features"] == [[5.0, 6.0]]
    assert "2 of 4 rows have no voice features" in corpus.notes
    nested = [[{"feats": [1.0, 2.0]}], [], None, [{"feats": None}]]
    corpus = own(tmp_path, audio_features=nested)
    assert corpus.audio.length.tolist() == [1, 0, 0, 0] and corpus.audio[0].tolist() == [[1.0, 2.0]]
    # Only the first entry of a row counts; a row may have more.
    corpus = own(tmp_path, audio_features=[[{"feats": [i, 1.0]}, {"feats": [9.0, 9.0]}][: i + 1] for i in range(4)])
    assert [corpus.audio[i].tolist() for i in range(4)] == [[[float(i), 1.0]] for i in range(4)]
    words = own(tmp_path, audio_features=None)
    assert not words.has_audio and len(words.audio) == 4 and words.audio_dim == 0
    assert words.dataset[0]["audio_features"] is None


def test_sliced_filtered_and_fixed_size_features(tmp_path):
    vectors = np.arange(24, dtype=np.float16).reshape(8, 3)
    features = datasets.Features({"audio_features": datasets.List(datasets.Value("float16"), length=3)})
    rest = {name: values for name, values in own_columns(8).items() if name != "audio_features"}
    whole = datasets.concatenate_datasets(
        [datasets.Dataset.from_dict(rest), datasets.Dataset.from_dict({"audio_features": vectors}, features)], axis=1
    )
    whole.select([6, 2, 3]).save_to_disk(str(tmp_path / "some"))
    corpus = load_corpus(CorpusSpec.from_dict("own", {"path": str(tmp_path / "some")}))
    assert corpus.utterance_ids.tolist() == ["u6", "u2", "u3"] and corpus.audio[0].dtype == np.float16
    assert [corpus.audio[i][0].tolist() for i in range(3)] == vectors[[6, 2, 3]].tolist()
    array2d = datasets.Features({"audio_features": datasets.Array2D((None, 3), "float32")})
    frames = datasets.Dataset.from_dict({"audio_features": [vectors[:2], vectors[2:7], vectors[7:]]}, array2d)
    rest = datasets.Dataset.from_dict({k: v for k, v in own_columns(3).items() if k != "audio_features"})
    datasets.concatenate_datasets([rest, frames], axis=1).save_to_disk(str(tmp_path / "array2d"))
    corpus = load_corpus(CorpusSpec.from_dict("own", {"path": str(tmp_path / "array2d")}))
    assert corpus.audio.length.tolist() == [2, 5, 1] and corpus.audio[1].tolist() == vectors[2:7].tolist()


def test_labels_left_out_are_counted_and_their_rows_are_gone(tmp_path):
    changes = {"label": ["neutral", "fear", "sad", "fear"], "difficulty": [0.1, 0.2, 0.3, None]}
    corpus = own(tmp_path, {"dropped_labels": ["fear"]}, **changes)
    assert corpus.utterance_ids.tolist() == ["u0", "u2"] and corpus.label_ids.tolist() == [0, 2]
    assert corpus.difficulty == pytest.approx([0.1, 0.3]) and corpus.dataset["utterance_id"][:] == ["u0", "u2"]
    assert corpus.audio[1].tolist() == [[2.0, 1.0, 2.0]]
    assert corpus.notes[0] == "2 of 4 rows left out, labelled fear"
    assert corpus.card()["classes"] == {"neutral": 1, "happy": 0, "sad": 1, "anger": 0}
    with pytest.raises(InputError, match="every label .* is left out"):
        own(tmp_path, {"dropped_labels": ["fear"]}, label=["fear"] * 4)


def test_a_saved_dataset_of_ours_is_a_corpus_again(tmp_path):
    corpus = own(tmp_path, valence=[1.0, 2.0, None, 4.0], arousal=[2.0] * 4, dominance=[3.0] * 4)
    corpus.dataset.remove_columns("speaker").add_column("speaker", ["s0", "s1", "s0", "s1"]).save_to_disk(
        str(tmp_path / "again")
    )
    again = load_corpus(CorpusSpec.from_dict("own", {"path": str(tmp_path / "again")}))
    assert again.fingerprint == corpus.fingerprint
    # Class numbers mean what the data set says, where the label map speaks of names.
    numbered = CorpusSpec.from_dict(
        "own",
        {
            "path": str(tmp_path / "again"),
            "label_map": {"neutral": "calm", "happy": "calm", "sad": "low", "anger": "low"},
        },
    )
    assert load_corpus(numbered).label_ids.tolist() == [0, 0, 1, 1]


def test_csv_of_words_alone(tmp_path):
    (tmp_path / "own.csv").write_text(
        'utterance_id,speaker,label,transcript\na,03,0,"well, then"\nb,03,3,None\nc,04,2,\nd,04,1,"two\nlines"\n'
    )
    corpus = load_corpus(CorpusSpec.from_dict("own", {"path": str(tmp_path)}))
    assert corpus.transcripts == ["well, then", "None", "[EMPTY]", "two\nlines"]
    assert corpus.label_ids.tolist() == [0, 3, 2, 1] and set(corpus.sessions) == {"unknown"}
    assert "sessions are not known" in corpus.notes and not corpus.has_audio


def test_a_folder_gives_its_split_alone_where_file_names_tell_splits(tmp_path):
    put(tmp_path, own_columns(4), "train-00000-of-00001.parquet")
    put(tmp_path, own_columns(3), "test-00000-of-00001.parquet")
    assert len(load_corpus(CorpusSpec.from_dict("own", {"path": str(tmp_path)}))) == 4
    assert len(load_corpus(CorpusSpec.from_dict("own", {"path": str(tmp_path), "split": "test"}))) == 3


def test_recordings_stay_in_the_dataset(tmp_path):
    table = pa.table(own_columns()).append_column(
        "audio", pa.array([{"bytes": b"RIFF", "path": f"{i}.wav"} for i in range(4)])
    )
    features = datasets.Features.from_arrow_schema(table.schema)
    features["audio"] = datasets.Audio(sampling_rate=16000, decode=False)
    datasets.Dataset(table, info=datasets.DatasetInfo(features=features)).save_to_disk(str(tmp_path / "recorded"))
    corpus = load_corpus(CorpusSpec.from_dict("own", {"path": str(tmp_path / "recorded")}))
    assert corpus.dataset.features["audio"].sampling_rate == 16000
    assert corpus.dataset[2]["audio"] == {"bytes": b"RIFF", "path": "2.wav"}


# ---- the emotion2vec triple


def test_triple_by_utterance_ids(tmp_path):
    ids = ["Ses01F_impro01_F000", "Ses01F_impro01_M000", "Ses01M_script01_2_F003", "Ses05M_impro02_M007"]
    folder = write_triple(tmp_path / "triple", ids, ["ang", "hap", "neu", "sad"], [3, 0, 1, 2], audio_dim=DIM)
    values = np.load(folder / "train.npy")
    for path in (folder, folder / "train", folder / "train.npy"):
        corpus = load("IEMO", path)
        assert corpus.label_ids.tolist() == [3, 1, 0, 2] and corpus.utterance_ids.tolist() == ids
        assert corpus.speakers.tolist() == ["IEMO/1F", "IEMO/1M", "IEMO/1F", "IEMO/5M"]
        assert corpus.sessions.tolist() == ["1", "1", "1", "5"]
        assert corpus.audio.length.tolist() == [3, 0, 1, 2] and (corpus.audio[3] == values[4:]).all()
        assert isinstance(corpus.audio.parts[0], np.memmap)
        assert (np.array(corpus.dataset[3]["audio_features"]) == values[4:]).all()
        assert set(corpus.transcripts) == {"[EMPTY]"}


def test_triple_by_iemocaps_session_sizes(tmp_path):
    ids = [f"utterance-{i}" for i in range(5531)]
    folder = write_triple(tmp_path / "triple", ids, ["neu", "hap"] * 2765 + ["sad"], [1] * 5531, audio_dim=2)
    corpus = load("IEMO", folder, audio_dim=2)
    sessions, counts = np.unique(corpus.sessions, return_counts=True)
    assert dict(zip(sessions.tolist(), counts.tolist(), strict=True)) == {
        "1": 1085,
        "2": 1023,
        "3": 1151,
        "4": 1031,
        "5": 1241,
    }
    assert corpus.sessions[1084] == "1" and corpus.sessions[1085] == "2"
    assert len(np.unique(corpus.speakers)) == 5 and "each session counts as one" in corpus.notes[0]


def test_wrong_triples(tmp_path):
    def write(**changes):
        given = {"ids": ["Ses01F_impro01_F000", "Ses02F_impro01_M000"], "labels": ["ang", "hap"], "lengths": [2, 1]}
        return write_triple(tmp_path / "triple", **{**given, **changes}, audio_dim=DIM)

    with pytest.raises(InputError, match=r"'u1' doesn't tell speaker and session"):
        load("IEMO", write(ids=["Ses01F_impro01_F000", "u1"]))
    with pytest.raises(InputError, match="'Ses02F_impro01_M000'.*label 'bored' is not in the label map"):
        load("IEMO", write(labels=["ang", "bored"]))
    with pytest.raises(InputError, match=r"features in .*train.npy are 16 wide; expected 768"):
        load("IEMO", write(), audio_dim=768)
    folder = write()
    values = np.load(folder / "train.npy")
    values[2, 3] = np.inf
    np.save(folder / "train.npy", values)
    with pytest.raises(InputError, match="'Ses02F_impro01_M000' .*features hold inf"):
        load("IEMO", folder)
    (folder / "train.lengths").write_text("2\n2\n")
    with pytest.raises(InputError, match="don't belong together: .*sum to 4"):
        load("IEMO", folder)
    (folder / "train.npy").write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot read"):
        load("IEMO", folder)


# ---- wrong input


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"label": None}, r"no column for label \(tried label, emotion.*\).*columns there: utterance_id, speaker"),
        ({"speaker": None}, "no column for speaker .tried speaker, speaker_id, speakerID, SpkrID"),
        (
            {"label": ["neutral", "happy", "calm", "sad"]},
            r"row 'u2' \(number 2\): label 'calm' is not in the label map",
        ),
        ({"label": [0, 1, 2, 4]}, "row 'u3' .*label '4'"),
        ({"label": ["neutral", None, "sad", "sad"]}, "row 'u1' .*no label"),
        ({"speaker": ["a", "b", None, "c"]}, "row 'u2' .*no speaker"),
        ({"session": ["1", None, "1", "1"]}, "row 'u1' .*no session"),
        ({"utterance_id": ["u0", "u1", "u1", "u2"]}, "utterance_id 'u1' is given to rows 1 and 2"),
        ({"utterance_id": ["u0", "u1", None, "u2"]}, "row number 2 .*has no utterance_id"),
        (
            {"audio_features": [[1.0, 2.0], [1.0, 2.0], [1.0], [1.0, 2.0]]},
            "row 'u2' .*1 wide; expected 2, as in the first",
        ),
        ({"audio_features": [[[1.0, 2.0]], [[1.0, 2.0], [3.0]], None, None]}, "row 'u1' .*1 wide; expected 2"),
        ({"audio_features": [[[1.0, 2.0]], [None, [1.0, 2.0]], None, None]}, "row 'u1' .*0 wide; expected 2"),
        ({"audio_features": [[1.0, 2.0], [1.0, float("nan")]] * 2}, "row 'u1' .*features hold nan"),
        ({"audio_features": [None, None, [1.0, 2.0], [float("-inf"), 1.0]]}, "row 'u3' .*features hold -inf"),
        ({"audio_features": [[1.0, 2.0], [1.0, None]] * 2}, "row 'u1' .*features hold nan"),
        ({"audio_features": ["a.npy"] * 4}, "row 'u0' .*features are the text 'a.npy'"),
        ({"audio_features": [True] * 4}, "features are of type bool"),
        ({"audio_features": [[{"vector": [1.0]}]] * 4}, 'features hold vector, but no "feats"'),
        ({"valence": ["high"] * 4}, "column valence must hold numbers"),
        ({"arousal": [1.0, float("inf"), 1.0, 1.0]}, "row 'u1' .*arousal is inf"),
    ],
)
def test_wrong_content_is_refused_with_the_row(tmp_path, changes, told):
    with pytest.raises(InputError, match=told) as caught:
        own(tmp_path, **changes)
    assert str(caught.value).startswith("corpus own")


def test_wrong_content_of_hub_corpora(tmp_path):
    with pytest.raises(InputError, match="row 'IEMO/0' .*16 wide; expected 768 "):
        load_corpus(at("IEMO", write_raw("IEMO", tmp_path, 8, audio_dim=DIM), audio_dim=768))
    for name in ("speaker_id", "label", "emotion2vec_features"):
        with pytest.raises(InputError, match=f"tried .*{name}.*columns there"):
            load("IEMO", put(tmp_path, raw_table("IEMO", 8, audio_dim=DIM).drop_columns(name)))
    table = raw_table("IEMO", 8, audio_dim=DIM)
    with pytest.raises(InputError, match="row 'IEMO/2' .*speaker 'x' is no number"):
        load("IEMO", put(tmp_path, table.set_column(1, "speaker_id", pa.array(["1", "2", "x", *"12345"]))))
    with pytest.raises(InputError, match="row 'IEMO/0' .*speaker 0: the session rule"):
        load("IEMO", put(tmp_path, table.set_column(1, "speaker_id", pa.array(range(8)))))
    with pytest.raises(InputError, match="corpus IEMO: empty: no rows"):
        load("IEMO", put(tmp_path, table.slice(0, 0)))
    # A column that a recipe names must be there.
    with pytest.raises(InputError, match=r"no column for transcript \(tried words\)"):
        load("IEMO", put(tmp_path, table), columns={"transcript": "words"})


def test_wrong_places(tmp_path):
    with pytest.raises(InputError, match="there is no .*nowhere"):
        load("IEMO", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no data in .*empty; expected a save_to_disk folder"):
        load("IEMO", tmp_path / "empty")
    for name in ("torn.parquet", "torn.arrow", "torn.jsonl"):
        (tmp_path / name).write_bytes(b"PAR1 and then nothing of use")
        with pytest.raises(InputError, match=f"cannot read .*{name}: "):
            load("IEMO", tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="notes.txt is none of .parquet"):
        load("IEMO", tmp_path / "notes.txt")
    saved = write_raw("IEMO", tmp_path, 8, audio_dim=DIM)
    next(saved.glob("*.arrow")).write_bytes(b"")
    with pytest.raises(InputError, match="cannot read .*IEMO"):
        load("IEMO", saved)
    datasets.DatasetDict({"test": datasets.Dataset.from_dict({"label": [0]})}).save_to_disk(str(tmp_path / "dict"))
    with pytest.raises(InputError, match="no split 'train'; splits there: test"):
        load("IEMO", tmp_path / "dict")


def test_an_unreachable_hub_names_the_corpus_the_id_and_the_way_round():
    told = r"corpus MSPI: data set cairocode/MSPI_Emotion2Vec is not reachable .*--corpus MSPI=PATH"
    with pytest.raises(InputError, match=told):
        load_corpus(BUILTIN["MSPI"])
    with pytest.raises(InputError, match="cairocode/MSPI_Audio_Text_Merged"):
        load_corpus(BUILTIN["MSPI"], with_recordings=True)
    with pytest.raises(InputError, match="corpus own: nothing says where it lies"):
        load_corpus(CorpusSpec(name="own"))


# ---- specs


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lable_map": {}}, "unknown field 'lable_map' .did you mean 'label_map'..; known: hub_id"),
        ({"columns": {"speakr": "x"}}, "unknown column role 'speakr' .did you mean 'speaker'"),
        ({"columns": {"speaker": 3}}, "speaker is 3"),
        ({"columns": "speaker"}, "columns is 'speaker'; it must be a dictionary"),
        ({"path": 3}, "path is 3; it must be a string"),
        ({"labels": ["one"]}, "at least two"),
        ({"labels": ["a", "a"]}, "each once"),
        ({"labels": ["a", "b"], "label_map": {"0": "c"}}, "'c' is none of them"),
        ({"label_map": {"0": "a", "1": "b"}, "dropped_labels": [1]}, "'1' is in both"),
        ({"audio_dim": 0}, "audio_dim is 0"),
        ({"audio_dim": "768"}, "audio_dim is '768'"),
        ({"vad_scale": [7, 1]}, r"vad_scale is \[7, 1\]"),
        ({"session_rule": {"first": 1}}, "session_rule is"),
        ({"test_only": "yes"}, "test_only is 'yes'"),
        ({"generator": {"row": 3}}, "unknown generator setting 'row'"),
        ({"generator": {}, "labels": ["a", "b"]}, "those of the generator"),
        ([], "is no set of fields"),
    ],
)
def test_wrong_specs_are_refused(given, told):
    with pytest.raises(InputError, match=told):
        CorpusSpec.from_dict("own", given)


def test_own_specs_lie_over_the_built_in_ones():
    specs = resolve_specs(
        {
            "IEMO": {"audio_dim": 1024, "columns": {"session": "part"}},
            "emodb": {"label_map": {"anger": "high", "fear": "high", "sadness": "low", "boredom": "low"}},
            "synthetic": {"generator": {"rows": 50, "classes": ["a", "b"]}},
            "mine": {"path": "here", "label_map": {1: "no", 2: "yes"}},
        },
        {"MSPI": "/data/mspi", "synthetic_interaction": "saved"},
    )
    assert set(specs) == {*BUILTIN, "mine"}
    iemo = specs["IEMO"]
    assert (iemo.audio_dim, iemo.hub_id) == (1024, "cairocode/IEMO_Emotion2Vec")
    assert iemo.candidates("session") == ["part"] and iemo.session_rule is None and "session" in iemo.required
    assert iemo.candidates("features") == ["emotion2vec_features", "audio_features"]
    assert specs["emodb"].labels == ["high", "low"]
    assert sorted(specs["emodb"].dropped_labels) == ["disgust", "happiness", "neutral"]
    assert load_corpus(specs["emodb"]).card()["classes"] == {"high": 127 + 69, "low": 62 + 81}
    assert specs["synthetic"].labels == ["a", "b"] and len(load_corpus(specs["synthetic"])) == 50
    assert specs["mine"].label_map == {"1": "no", "2": "yes"} and specs["mine"].labels == ["no", "yes"]
    assert specs["MSPI"].path == "/data/mspi" and specs["synthetic_interaction"].generator is None
    assert BUILTIN["IEMO"].audio_dim == 768
    with pytest.raises(InputError, match="--corpus IEM=x: there is no corpus 'IEM' .did you mean 'IEMO'"):
        resolve_specs({}, {"IEM": "x"})


MADE_BY = {"encoder": "user/encoder", "model_type": "hubert", "width": 3, "num_layers": 2, "weights": "ab" * 32}


def test_data_say_what_made_their_features(tmp_path):
    """The file beside them, which `extract_features.py` writes, holds over the built-in spec, also for the width."""
    columns = own_columns(label=["neutral", "excited", "frustration", "anger"], speaker=["1", "2", "3", "4"])
    put(tmp_path, columns)
    (tmp_path / "speech_encoder.json").write_text(json.dumps(MADE_BY))
    corpus = load_corpus(resolve_specs({}, {"IEMO": str(tmp_path)})["IEMO"])
    assert BUILTIN["IEMO"].audio_dim == 768 and corpus.audio_dim == 3
    card = corpus.card()
    assert card["extractor"] == "user/encoder (weights sha256 abababababab), last hidden states, 50 Hz"
    assert {name: card["speech_encoder"][name] for name in MADE_BY} == MADE_BY
    assert card["classes"] == {"neutral": 1, "happy": 1, "sad": 0, "anger": 1}  # as the release calls them
    (tmp_path / "speech_encoder.json").write_text(json.dumps({**MADE_BY, "wight": 1}))
    with pytest.raises(InputError, match=r"cannot read .*speech_encoder.json: .*wight is none of them"):
        load_corpus(resolve_specs({}, {"IEMO": str(tmp_path)})["IEMO"])


def test_a_described_encoder_names_the_extractor():
    made_by = {**MADE_BY, "pooling": "utterance", "frame_rate": 0.0, "layers": [1, 2]}
    spec = CorpusSpec("own", speech_encoder=made_by)
    assert spec.extractor == "user/encoder (weights sha256 abababababab), mean of layers 1, 2, mean over the recording"
    changed = resolve_specs({"emodb": {"extractor": "mine"}, "emodb_emobank": {"speech_encoder": made_by}}, {})
    assert changed["emodb"].speech_encoder is None and changed["emodb"].extractor == "mine"
    assert changed["emodb_emobank"].extractor == spec.extractor
    with pytest.raises(InputError, match="corpus own: speech_encoder: .*encoder, model_type, num_layers is missing"):
        CorpusSpec("own", speech_encoder={"width": 3})


def test_a_class_order_of_its_own_and_plain_labels():
    spec = CorpusSpec.from_dict("own", {"labels": ["sad", "happy"]})
    assert spec.label_map == {"0": "sad", "1": "happy", "hap": "happy", "sad": "sad", "happy": "happy"}


# ---- the sample data that ships


def test_emodb_sample():
    spec = BUILTIN["emodb"]
    corpus = load_corpus(spec)
    card = corpus.card()
    assert card["rows"] == 339 and card["classes"] == {"neutral": 79, "happy": 71, "sad": 62, "anger": 127}
    assert card["notes"][0] == "196 of 535 rows left out, labelled boredom, disgust, fear"
    seven = dict.fromkeys(("anger", "boredom", "neutral", "happiness", "fear", "sadness", "disgust"))
    whole = load_corpus(resolve_specs({"emodb": {"label_map": {name: name for name in seven}}}, {})["emodb"])
    counts = {"anger": 127, "boredom": 81, "neutral": 79, "happiness": 71, "fear": 69, "sadness": 62, "disgust": 46}
    assert whole.card()["classes"] == counts and len(whole) == 535
    people = {s: set(whole.speakers[whole.sessions == s]) for s in np.unique(whole.sessions)}
    pairs = {"1": ("03", "08"), "2": ("09", "10"), "3": ("11", "13"), "4": ("12", "14"), "5": ("15", "16")}
    assert people == {session: {f"emodb/{p}" for p in pair} for session, pair in pairs.items()}
    assert set(whole.audio.length) == {10} and whole.audio_dim == 512 and whole.audio[0].dtype == np.float16
    assert np.isnan(whole.vad).all() and len(set(whole.transcripts)) == 10
    first = whole.utterance_ids.tolist().index("03a01Fa")
    assert whole.difficulty[first] == pytest.approx(0.1) and whole.difficulty.min() >= 0


def test_paired_sample():
    corpus, voices = load_corpus(BUILTIN["emodb_emobank"]), load_corpus(BUILTIN["emodb"])
    assert len(corpus) == 339 and corpus.utterance_ids.tolist() == voices.utterance_ids.tolist()
    assert (corpus.label_ids == voices.label_ids).all() and (corpus.sessions == voices.sessions).all()
    assert corpus.speakers.tolist() == voices.speakers.tolist()  # the same people: no split may part them unnoticed
    assert all((corpus.audio[i] == voices.audio[i]).all() for i in range(339))
    raw = pa.parquet.read_table(f"{BUILTIN['emodb_emobank'].path}/train.parquet")
    assert len(set(raw["emobank_id"].to_pylist())) == 339
    pairing = "".join(
        f"{u} {e}\n" for u, e in zip(raw["utterance_id"].to_pylist(), raw["emobank_id"].to_pylist(), strict=True)
    )
    assert (
        hashlib.sha256(pairing.encode()).hexdigest()
        == "e7f5229edf499885c6bc78f8e6386c6e40da762550eec7b36bc844a50493258c"
    )
    v, a = corpus.vad[:, 0], corpus.vad[:, 1]
    neutral, happy, sad, anger = (corpus.label_ids == i for i in range(4))
    assert ((v < 2.75) & (a > 3.2))[anger].all() and ((v < 2.75) & (a < 2.95))[sad].all()
    assert ((v > 3.35) & (a > 3.15))[happy].all() and (np.abs(v - 3) < 0.0601)[neutral].all()
    assert not np.isnan(corpus.vad).any() and corpus.notes == []
    assert corpus.card()["vad_of"] == "the sentence, not of the recording" and voices.card()["vad_of"] == ""


def test_sample_data_is_small_and_says_what_it_is():
    folders = [Path(BUILTIN[name].path) for name in ("emodb", "emodb_emobank")]
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 8_000_000
    for folder, licence in zip(folders, ("cc0-1.0", "cc-by-sa-4.0"), strict=True):
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert card.startswith(f"---\nlicense: {licence}\n") and "2.0 s" in card
        assert licence.upper() in (folder / "LICENSE").read_text(encoding="utf-8").upper()
        loaded = datasets.Dataset.from_parquet(str(folder / "train.parquet"), cache_dir=None, keep_in_memory=True)
        assert np.shape(loaded[0]["audio_features"]) == (10, 512)


# ---- speed


@pytest.mark.parametrize("frames", [None, (3, 5)], ids=["utterance", "frames"])
def test_ten_thousand_nested_rows_load_in_about_a_second(tmp_path, frames):
    rows = 10_000 if frames is None else 2_500
    path = write_raw("IEMO", tmp_path, rows, frames=frames)
    started = time.perf_counter()
    corpus = load_corpus(at("IEMO", path, audio_dim=768))
    assert len(corpus) == rows and time.perf_counter() - started < 3  # about 0.3 s; slack for a busy machine


# ---- corpora of others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", ["disk", "parquet"])
def test_a_class_label_is_read_by_its_name_whatever_its_number(tmp_path, saved):
    """`class_encode_column` orders names by the alphabet: its 0 is anger, and never our neutral."""
    columns = own_columns(label=None)
    features = datasets.Features({"label": datasets.ClassLabel(names=["anger", "happy", "neutral", "sad"])})
    labels = datasets.Dataset.from_dict({"label": [0, 1, 2, 3]}, features=features)
    rows = datasets.concatenate_datasets([datasets.Dataset.from_dict(columns), labels], axis=1)
    path = tmp_path / "own"
    if saved == "disk":
        rows.save_to_disk(str(path))
    else:
        path.mkdir()
        rows.to_parquet(str(path / "train.parquet"))
    corpus = load("own", path, audio_dim=3)
    assert [corpus.labels[i] for i in corpus.label_ids] == ["anger", "happy", "neutral", "sad"]


def test_class_labels_of_unknown_names_are_refused_by_name(tmp_path):
    """Read by their numbers, anger would be reported as neutral."""
    rows = datasets.Dataset.from_dict(own_columns(label=None)).add_column("label", [3, 1, 0, 2])
    names = ["Anger", "Happiness", "Neutral", "Sadness"]
    rows = rows.cast_column("label", datasets.ClassLabel(names=names))
    rows.save_to_disk(str(tmp_path / "own"))
    with pytest.raises(InputError, match="row 'u0' .*label 'Sadness' is not in the label map.*Anger") as caught:
        load("own", tmp_path / "own", audio_dim=3)
    assert all(name in str(caught.value) for name in names)
    classes = dict(zip(names, ["anger", "happy", "neutral", "sad"], strict=True))
    corpus = load("own", tmp_path / "own", audio_dim=3, label_map=classes)
    assert [corpus.labels[i] for i in corpus.label_ids] == ["sad", "happy", "anger", "neutral"]
    # A map of numbers alone speaks of the data set's own.
    numbers = {"0": "anger", "1": "happy", "2": "neutral", "3": "sad"}
    corpus = load("own", tmp_path / "own", audio_dim=3, label_map=numbers)
    assert [corpus.labels[i] for i in corpus.label_ids] == ["sad", "happy", "anger", "neutral"]
    assert any("0 (Anger), 1 (Happiness)" in note for note in corpus.notes)


@pytest.mark.parametrize("missing", ["", "  ", None])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_missing_speakers_are_nobody(tmp_path, missing, kind):
    columns = own_columns(speaker=["007", "007", missing, "8"], audio_features=None)
    file = tmp_path / f"own.{kind}"
    if kind == "csv":
        rows = [columns, *zip(*columns.values(), strict=True)]
        file.write_text("".join(",".join("" if v is None else str(v) for v in row) + "\n" for row in rows))
    else:
        pa.parquet.write_table(pa.table(columns), file)
    with pytest.raises(InputError, match="row 'u2' .number 2.: no speaker"):
        load("own", file, required=["label"])


def test_numbers_that_are_names_keep_their_zeros(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text("utterance_id,speaker,session,label,transcript\n000,007,01,sad,a\n001,7,02,happy,b\n")
    corpus = load("own", file, required=["label"])
    assert corpus.utterance_ids.tolist() == ["000", "001"] and corpus.sessions.tolist() == ["01", "02"]
    assert corpus.speakers.tolist() == ["own/007", "own/7"]


def test_nan_speakers_are_nobody(tmp_path):
    with pytest.raises(InputError, match="row 'u1' .number 1.: no speaker"):
        load("own", put(tmp_path, own_columns(speaker=[1.0, float("nan"), 2.0, 2.0])), audio_dim=3)


@pytest.mark.parametrize("role", ["speaker", "label", "transcript"])
def test_columns_of_lists_are_named(tmp_path, role):
    with pytest.raises(InputError, match=f"corpus own: column {role} .{role}.: it holds list<"):
        load("own", put(tmp_path, own_columns(**{role: [["a"]] * 4})), audio_dim=3)


def test_splits_may_be_folders(tmp_path):
    for split, rows in (("train", 4), ("test", 8)):
        (tmp_path / split).mkdir()
        put(tmp_path / split, own_columns(rows), "0.parquet")
    assert len(load("own", tmp_path, audio_dim=3)) == 4
    assert len(load("own", tmp_path, audio_dim=3, split="test")) == 8
    with pytest.raises(InputError, match="has no split 'dev' .there is test, train."):
        load("own", tmp_path, audio_dim=3, split="dev")


def test_a_split_that_no_file_name_tells_is_said(tmp_path):
    place = put(tmp_path, own_columns(), "data.parquet")
    told = "split is 'dev', but no file name tells of splits: all rows are read"
    for where in (tmp_path, place):
        assert told in load("own", where, audio_dim=3, split="dev").notes
        assert not [note for note in load("own", where, audio_dim=3).notes if "split" in note]
    assert not [note for note in load("own", place, audio_dim=3, split="data").notes if "split" in note]


def test_loading_keeps_no_second_copy_in_memory(tmp_path):
    """The rows are not pickled to be given a name, which took four times their memory and nearly all of the time."""
    features = np.zeros((500, 4, 768), np.float32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), 768)
    column = pa.ListArray.from_arrays(pa.array(np.arange(501) * 4, pa.int32()), flat)
    columns = own_columns(500, audio_features=None)
    table = pa.table({**columns, "audio_features": column})
    with pa.OSFile(str(tmp_path / "own.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    del features, flat, column, table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.arrow_dataset.generate_fingerprint", lambda *_: pytest.fail("the table is pickled"))
        corpus = load("own", tmp_path / "own.arrow", audio_dim=768)
    assert len(corpus) == 500 and corpus.audio.dim == 768
