"""Columns on their way into the schema: which rows stay, names spelled one way, ratings on their scale, said ids."""

import json

import numpy as np
import pyarrow as pa
import pytest
from raw_corpora import own_columns
from raw_corpora import put
from raw_corpora import raw_table
from raw_corpora import write_triple

from emomm.corpora.builtin import resolve_specs
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError


def own(tmp_path, spec=None, rows=4, **changes):
    columns = own_columns(rows, **changes)
    return load_corpus(CorpusSpec.from_dict("own", {"path": str(put(tmp_path, columns)), **(spec or {})}))


# ---- names ----------------------------------------------------------------------------------------------------------


def test_one_speaker_and_session_in_other_bytes(tmp_path):
    people = ["Zoë", "Zoe\u0308", " Zoë\u00a0", "Z\u200boë", "7", "7.0", "\u20077\ufeff", "7 "]
    sessions = ["a b", "a\u00a0b", "a  b", "a b\t", "1", "1.0", "1", " 1"]
    corpus = own(tmp_path, rows=8, speaker=people, session=sessions)
    assert corpus.speakers.tolist() == ["own/Zoë"] * 4 + ["own/7"] * 4
    assert corpus.sessions.tolist() == ["a b"] * 4 + ["1"] * 4


def test_labels_and_the_map_are_spelled_alike(tmp_path):
    raw = ["Fro\u0308hlich", " Fröhlich", "Wut\u200b", "3.0"]
    spec = {"label_map": {"Fröhlich ": "happy\u00a0", "Wut": "anger", 3: "sad"}}
    corpus = own(tmp_path, spec, label=raw)
    assert [corpus.labels[i] for i in corpus.label_ids] == ["happy", "happy", "anger", "sad"]
    assert corpus.labels == ["happy", "anger", "sad"]
    with pytest.raises(InputError, match="one class for each raw label; '3' has two"):
        CorpusSpec("own", label_map={"3": "a", "3.0": "b"})


def test_numbers_beside_names_are_no_classes_until_somebody_says_which(tmp_path):
    """Whether as text or in a file of their own: the order of the names is not known to be theirs."""
    mixed = ["0", "happy", "neu", "3"]
    with pytest.raises(InputError, match=r"numbers in some rows \(0, 3\) and names in others \(happy, neu\): which"):
        own(tmp_path, label=mixed)
    with pytest.raises(InputError, match="numbers in some rows"):
        own(tmp_path, {"labels": ["anger", "happy", "neutral", "sad"]}, label=["0", "happy", "neutral", "3"])
    said = {"0": "sad", "3": "anger", "happy": "happy", "neu": "neutral"}
    corpus = own(tmp_path, {"label_map": said}, label=mixed)
    assert [corpus.labels[i] for i in corpus.label_ids] == ["sad", "happy", "neutral", "anger"]
    corpus = own(tmp_path, {"leave_out": {"label": [0, 3]}}, label=mixed)
    assert [corpus.labels[i] for i in corpus.label_ids] == ["happy", "neutral"]


def test_numbers_alone_are_taken_for_the_default_order_and_it_is_said(tmp_path):
    told = (
        'labels are numbers, taken for 0 (neutral), 1 (happy), 2 (sad), 3 (anger); "labels" in the corpus gives '
        "another order"
    )
    assert told in own(tmp_path, label=[0, 1, 2, 3]).notes
    corpus = own(tmp_path, {"labels": ["sad", "anger", "happy", "neutral"]}, label=[0, 1, 2, 3])
    assert [corpus.labels[i] for i in corpus.label_ids] == ["sad", "anger", "happy", "neutral"]
    for kept in (corpus, own(tmp_path, label=["happy", "sad", "anger", "neutral"])):
        assert not any("labels are numbers" in note for note in kept.notes)


def test_names_that_show_nothing_are_none(tmp_path):
    for nothing in (" ", "\u200b", "\ufeff\u00a0", None):
        with pytest.raises(InputError, match=r"row 'u2' .*no speaker \(1 such rows\)"):
            own(tmp_path, speaker=["a", "b", nothing, "c"])
    assert own(tmp_path, transcript=["\u200b", "\ufeff", "\x00 ", "words"]).transcripts == ["[EMPTY]"] * 3 + ["words"]


def test_speakers_of_another_corpus_are_spelled_too(tmp_path):
    assert own(tmp_path, {"speakers_of": "emodb "}).speakers[0] == "emodb/s0"


def test_an_id_with_a_nul_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"row 'u1\\x00' \(number 1\): its utterance_id holds a NUL"):
        own(tmp_path, utterance_id=["u0", "u1\0", "u1", "u2"])


@pytest.mark.parametrize("label", ["Anger", "angry"])
def test_an_unknown_label_is_told_with_the_others(tmp_path, label):
    told = rf"'{label}' is not in the label map .*\(2 labels there are not: {label}, calm\); Did you mean 'anger'\?"
    with pytest.raises(InputError, match=f"row 'u1' .*label {told}"):
        own(tmp_path, label=["sad", label, "calm", "sad"])


# ---- rows that are left out -----------------------------------------------------------------------------------------


def test_rows_are_left_out_by_value_and_for_what_they_lack(tmp_path):
    spec = {"leave_out": {"speaker": ["Unknown", None], "label": [None], "Take": [7, True, 0.5], "features": [None]}}
    corpus = own(
        tmp_path,
        spec,
        rows=9,
        speaker=["a", " Unknown", None, "\u200b", "b", "c", "d", "e", "f"],
        label=["sad", "happy", "oh", None, None, "anger", "nobody asked", "sad", "sad"],
        audio_features=[[1.0], [float("nan")], [1.0, 2.0], *[[1.0]] * 4, None, [2.0]],
        take=["1", "1", "1", "1", "1", "7.0", "true", "2", "0.50"],
    )
    assert corpus.utterance_ids.tolist() == ["u0", "u8"] and corpus.audio[1].tolist() == [[2.0]]
    assert corpus.notes[:2] == [
        "6 of 9 rows left out by leave_out: 1 of speaker Unknown, 2 without speaker, 2 without label, 1 of Take 7, "
        "1 of Take true, 0 of Take 0.5 Did you mean '0.50'?",
        "1 of 9 rows left out by leave_out: without features",
    ]


def test_rows_that_are_left_out_are_asked_for_nothing(tmp_path):
    changes = {
        "utterance_id": ["u0", "u0", None, "u3"],
        "speaker": ["a", None, None, "b"],
        "session": ["1", None, None, "2"],
        "valence": ["3", "high", "inf", "4"],
        "audio_features": [[1.0, 2.0], [1.0], [float("inf"), 1.0], [3.0, 4.0]],
        "part": ["train", "dev", "dev", "train"],
    }
    corpus = own(tmp_path, {"leave_out": {"part": ["dev"]}, "label_map": {"neutral": "x", "anger": "y"}}, **changes)
    assert corpus.utterance_ids.tolist() == ["u0", "u3"] and corpus.vad[:, 0].tolist() == [3.0, 4.0]
    assert corpus.audio[1].tolist() == [[3.0, 4.0]]
    # Nor are those whose label is dropped.
    spec = {"dropped_labels": ["happy", "sad"], "label_map": {"neutral": "x", "anger": "y"}}
    kept = own(tmp_path, spec, **changes | {"utterance_id": ["u0", "u1", "u2", "u3"]})
    assert kept.utterance_ids.tolist() == ["u0", "u3"]


def test_clips_without_an_annotation_and_speakers_nobody_knows_say_how(tmp_path):
    with pytest.raises(InputError, match=r"row 'u1' .*no label \(2 such rows\).*\"leave_out\": {\"label\": \[null\]}"):
        own(tmp_path, label=["sad", None, "", "happy"])
    assert len(own(tmp_path, {"leave_out": {"label": [None]}}, label=["sad", None, "", "happy"])) == 2
    table = raw_table("MSPP", 4, audio_dim=16)
    people = pa.array(["1", "Unknown", "Unknown", "501"])
    file = put(tmp_path, table.set_column(table.column_names.index("SpkrID"), "SpkrID", people))
    given = {"audio_dim": 16}
    with pytest.raises(InputError, match=r"no number \(2 such rows\).*\"leave_out\": {\"speaker\": \[\"Unknown\"\]}"):
        load_corpus(resolve_specs({"MSPP": given}, {"MSPP": str(file)})["MSPP"])
    for column in ("speaker", "SpkrID"):
        given = {"audio_dim": 16, "leave_out": {column: ["Unknown"]}}
        corpus = load_corpus(resolve_specs({"MSPP": given}, {"MSPP": str(file)})["MSPP"])
        assert corpus.speakers.tolist() == ["MSPP/1", "MSPP/501"] and corpus.sessions.tolist() == ["1", "2"]


def test_leaving_out_that_does_not_work(tmp_path):
    with pytest.raises(
        InputError, match="leave_out names the column 'speker', which isn't in .* Did you mean 'speaker'"
    ):
        own(tmp_path, {"leave_out": {"speker": ["a"]}})
    with pytest.raises(InputError, match="empty: 4 of 4 rows left out by leave_out: 4 without style"):
        own(tmp_path, {"leave_out": {"style": [None]}}, style=[None] * 4)
    with pytest.raises(InputError, match="empty: no row that stays has features"):
        own(tmp_path, {"leave_out": {"features": [None]}}, audio_features=None)
    for given in ({"speaker": "Unknown"}, {"speaker": []}, {"speaker": [["a"]]}, {"features": [0]}, ["speaker"]):
        with pytest.raises(InputError, match="corpus own: leave_out is "):
            CorpusSpec("own", leave_out=given)


# ---- what ids tell --------------------------------------------------------------------------------------------------


def test_ids_tell_speakers_and_sessions(tmp_path):
    ids = ["03-a01", "03-b02", "08-a01", "11-c"]
    spec = {"id_pattern": r"^(?P<speaker>\d+)-(?P<session>[a-z])"}
    corpus = own(tmp_path, spec, utterance_id=ids, speaker=None, session=["x"] * 4)
    assert corpus.speakers.tolist() == ["own/03", "own/03", "own/08", "own/11"]
    assert corpus.sessions.tolist() == ["a", "b", "a", "c"]
    rule = {"id_pattern": r"^(?P<speaker>\d+)", "session_rule": {"first": 3, "size": 5}}
    assert own(tmp_path, rule, utterance_id=ids, speaker=None).sessions.tolist() == ["1", "1", "2", "2"]
    with pytest.raises(InputError, match=r"row 'x' .*its utterance id doesn't match \"id_pattern\""):
        own(tmp_path, spec, utterance_id=[*ids[:3], "x"])
    assert len(own(tmp_path, spec | {"leave_out": {"utterance_id": ["x"]}}, utterance_id=[*ids[:3], "x"])) == 3


@pytest.mark.parametrize("pattern", ["(", r"^(\d+)", "no groups", "(?P<speaker>a)(?P<take>b)", 3])
def test_wrong_patterns_are_refused(pattern):
    with pytest.raises(InputError, match="corpus own: id_pattern is "):
        CorpusSpec("own", id_pattern=pattern)


def test_triples_of_any_corpus(tmp_path):
    """Ids of any kind, and blanks between id and label, as the format's own reader takes them."""
    ids, lengths = ["spk1_take1", "spk1_take2", "spk2_take1", "spk2_take2"], [1, 2, 3, 1]
    folder = write_triple(tmp_path / "t", ids, ["ang", "hap", "neu", "sad"], lengths, audio_dim=2)
    (folder / "train.emo").write_text("spk1_take1 ang\nspk1_take2   hap 3.5\nspk2_take1\t neu \n spk2_take2 \tsad\n")
    spec = {"path": str(folder), "id_pattern": "^(?P<speaker>[^_]+)_(?P<session>.*)"}
    corpus = load_corpus(CorpusSpec.from_dict("own", spec))
    assert corpus.utterance_ids.tolist() == ids and corpus.audio.length.tolist() == lengths
    assert [corpus.labels[i] for i in corpus.label_ids] == ["anger", "happy", "neutral", "sad"]
    assert corpus.speakers.tolist() == ["own/spk1"] * 2 + ["own/spk2"] * 2 and corpus.sessions[1] == "take2"
    with pytest.raises(InputError, match='say how the ids tell them, as in "id_pattern"'):
        load_corpus(CorpusSpec("own", path=str(folder)))
    assert len(load_corpus(CorpusSpec("own", path=str(folder), test_only=True))) == 4
    for lengths, told in (
        ([1, 2, 2**64, 1], "cannot read"),
        ([1, 2, 2**63 - 1, 1], "don't belong together: .*sum to 9223372036854775811"),
        ([2**62, 2**62, 2**62, 2**62 + 7], "don't belong together: .*sum to 18446744073709551623"),  # 7 in 64 bits
        ([1, 2, -3, 7], "don't belong together"),
    ):
        (folder / "train.lengths").write_text("".join(f"{length}\n" for length in lengths))
        with pytest.raises(InputError, match=told):
            load_corpus(CorpusSpec.from_dict("own", spec))
    (folder / "train.emo").write_text("spk1_take1\n")
    with pytest.raises(InputError, match="'spk1_take1' is no `utterance-id<TAB>label` line"):
        load_corpus(CorpusSpec.from_dict("own", spec))


# ---- ratings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "likely"), [(1, 7, "[1, 7]"), (-1, 1, "[-1, 1]"), (0, 1, "[0, 1]"), (0, 100, "[lowest, highest]")]
)
def test_ratings_of_another_scale_are_refused(tmp_path, low, high, likely):
    values = np.linspace(low, high, 40).tolist()
    with pytest.raises(InputError, match=r"rated rows are off the scale \[1, 5\]") as caught:
        own(tmp_path, rows=40, valence=values)
    told = str(caught.value)
    assert f"ratings run from {low} to {high}. " in told and f'"vad_scale": {likely}; ' in told
    assert '"columns": {"valence": null} passes a column over' in told
    corpus = own(tmp_path, {"vad_scale": [low, high]}, rows=40, valence=values)
    assert corpus.vad[[0, -1], 0].tolist() == pytest.approx([1, 5])
    assert not any("outside" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("rows", "off", "refused"), [(40, 3, False), (40, 4, True), (900, 9, False), (900, 10, True), (2, 2, True)]
)
def test_a_few_ratings_off_the_scale_are_noted(tmp_path, rows, off, refused):
    values = [0.0] * off + [3.0] * (rows - off)
    if refused:
        with pytest.raises(InputError, match=f"row 'u0' .*valence is 0: {off} of {rows} rated rows are off"):
            own(tmp_path, rows=rows, valence=values)
    else:
        corpus = own(tmp_path, rows=rows, valence=values)
        assert (
            f"{off} of {rows} rows have a rating outside the scale [1, 5]; of {off} it is so far outside that it "
            "counts as not rated"
        ) in corpus.notes
        assert np.isnan(corpus.vad[:, 0]).tolist() == [True] * off + [False] * (rows - off)


def test_a_rating_a_little_off_the_scale_stays_and_one_far_off_is_none(tmp_path):
    """As IEMOCAP's 5.5; one of 99 would weigh more than all other rows."""
    corpus = own(tmp_path, rows=40, valence=[5.5, 0.5, 99.0, *[3.0] * 37], arousal=[3.0] * 40)
    assert corpus.vad[:2, 0].tolist() == [5.5, 0.5] and np.isnan(corpus.vad[2, 0]) and corpus.vad[2, 1] == 3
    assert any("3 of 40 rows have a rating outside the scale [1, 5]; of 1 it is so far" in n for n in corpus.notes)
    corpus = own(tmp_path, {"vad_scale": [-1, 1]}, rows=40, valence=[1.25, 1.3, *[0.0] * 38])
    assert corpus.vad[0, 0] == 5.5 and np.isnan(corpus.vad[1, 0]) and corpus.vad[2, 0] == 3


def test_rows_that_do_not_stay_say_nothing_of_the_scale(tmp_path):
    labels, values = ["sad", "happy", "odd", "odd"] * 10, [2.0, 3.0, 9.0, 9.0] * 10
    assert len(own(tmp_path, {"dropped_labels": ["odd"]}, rows=40, label=labels, valence=values)) == 20
    with pytest.raises(InputError, match="20 of 40 rated rows"):
        own(tmp_path, {"label_map": {"sad": "a", "happy": "b", "odd": "a"}}, rows=40, label=labels, valence=values)


@pytest.mark.parametrize("values", [["high"] * 4, [[1.0]] * 4, [{"mean": 1.0}] * 4, ["3,5"] * 4])
def test_numbers_that_are_none_name_the_row(tmp_path, values):
    with pytest.raises(InputError, match="row 'u0' .*arousal is .*; column arousal must hold numbers, or nothing"):
        own(tmp_path, arousal=values)


def test_specs_of_wrong_types(tmp_path):
    for given, told in (
        ({"label_map": {"0": ["a"]}}, "raw label -> the name of a class"),
        ({"required": 3}, "required is 3; it must be a list of names"),
        ({"required": [["label"]]}, "it must be a list of names"),
        ({"columns": {"speaker": [None]}}, "a column name, names to try, or null"),
    ):
        with pytest.raises(InputError, match=told):
            CorpusSpec.from_dict("own", given)
    for name in ("", "a\0b", "x" * 101):
        with pytest.raises(InputError, match="its name must be 1 to 100 characters"):
            CorpusSpec(name)
    assert json.dumps(CorpusSpec("own").leave_out) == "{}"
