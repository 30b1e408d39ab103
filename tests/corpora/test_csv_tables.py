"""CSV and TSV as text: nothing guessed, encodings and separators named."""

import json

import numpy as np
import pytest
from raw_corpora import own_columns

from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError

TEXT = "utterance_id,speaker,session,label,transcript\nu0,A,1,happy,I don’t\nu1,B,2,sad,ho\n"


def load(path, **changes):
    return load_corpus(CorpusSpec.from_dict("own", {"path": str(path), **changes}))


def written(tmp_path, text, name="own.csv", encoding="utf-8"):
    file = tmp_path / name
    file.write_bytes(text.encode(encoding))
    return file


def test_spoken_words_are_words_and_only_an_empty_field_is_missing(tmp_path):
    said = ["null", "NA", "nan", "None", "N/A", "", "true"]
    rows = "".join(f"u{i},NA,NULL,sad,{word}\n" for i, word in enumerate(said))
    corpus = load(written(tmp_path, "utterance_id,speaker,session,label,transcript\n" + rows))
    assert corpus.transcripts == ["null", "NA", "nan", "None", "N/A", "[EMPTY]", "true"]
    assert set(corpus.speakers) == {"own/NA"} and set(corpus.sessions) == {"NULL"}


def test_codes_are_names_whatever_the_column_is_called(tmp_path):
    codes = {"01": "neutral", "03": "happy", "1": "sad", "3": "anger"}
    text = "Id,agent,take,Emotion\n" + "".join(f"{i},{code},{code},{code}\n" for i, code in enumerate(codes))
    columns = {"utterance_id": "id", "speaker": "Agent", "session": "take", "label": "emotion"}
    corpus = load(written(tmp_path, text), columns=columns, label_map=codes)
    assert corpus.speakers.tolist() == [f"own/{code}" for code in codes]
    assert corpus.sessions.tolist() == list(codes)
    assert [corpus.labels[i] for i in corpus.label_ids] == list(codes.values())


def test_whole_numbers_with_a_fraction_are_class_numbers(tmp_path):
    """As pandas writes them beside gaps."""
    text = "utterance_id,speaker,session,label\n" + "".join(f"u{i},{i}.0,{i},{i}.0\n" for i in range(4))
    corpus = load(written(tmp_path, text))
    assert corpus.label_ids.tolist() == [0, 1, 2, 3] and corpus.speakers.tolist() == [f"own/{i}" for i in range(4)]


def test_blanks_in_the_header_and_around_values(tmp_path):
    text = "\ufeff" + TEXT.replace(",", " , ")
    corpus = load(written(tmp_path, text))
    assert corpus.speakers.tolist() == ["own/A", "own/B"] and corpus.transcripts == ["I don’t", "ho"]
    assert [corpus.labels[i] for i in corpus.label_ids] == ["happy", "sad"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("separator", [";", "\t", "|", ",", ", "])
def test_what_a_file_is_instead_is_read_and_said(tmp_path, encoding, separator):
    corpus = load(written(tmp_path, TEXT.replace(",", separator), encoding=encoding))
    assert corpus.transcripts == ["I don’t", "ho"] and corpus.speakers.tolist() == ["own/A", "own/B"]
    shown = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}.get(separator)
    expected = [f"own.csv is in {encoding.upper()}"] if encoding != "utf-8-sig" else []
    expected += [f"own.csv: its columns are separated by {shown}"] if shown else []
    assert corpus.notes[: len(expected)] == expected
    assert not any("own.csv" in note for note in corpus.notes[len(expected) :])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_the_line_that_tells_excel_the_separator(tmp_path, separator, encoding):
    text = f"sep={separator}\n" + TEXT.replace(",", separator)
    corpus = load(written(tmp_path, text, "own.csv", encoding))
    assert corpus.transcripts == ["I don’t", "ho"]


def test_tabs_and_endings_of_any_case_in_a_folder(tmp_path):
    for name, text in (("a.tsv", TEXT.replace(",", "\t")), ("b.CSV", TEXT), ("c.TSV", TEXT)):
        folder = tmp_path / name[0]
        folder.mkdir()
        written(folder, text, name)
        corpus = load(folder)
        assert corpus.transcripts == ["I don’t", "ho"]
        assert ("c.TSV: its columns are separated by commas" in corpus.notes) == (name == "c.TSV")


def test_files_of_another_kind_in_a_folder_are_said(tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    for name, text in (("a.csv", TEXT), ("b.TSV", TEXT.replace(",", "\t")), ("c.tsv", TEXT.replace(",", "\t"))):
        written(folder, text, name)
    (folder / "readme.txt").write_text("not data")
    corpus = load(folder)
    assert len(corpus.transcripts) == 2
    assert "b.TSV and 1 more are passed over: of this folder the .csv files are read; name a file to read it" in (
        corpus.notes
    )
    (folder / "b.TSV").unlink()
    assert any(note.startswith("c.tsv is passed over") for note in load(folder).notes)
    (folder / "c.tsv").unlink()
    for name in ("extraction.json", "failed.jsonl"):  # what couldn't be read, which is no data
        (folder / name).write_text('{"input": {"rows": 0}}')
    assert not any("passed over" in note for note in load(folder).notes)


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        (TEXT, "cp1252", r"line 2 is not in UTF-8 .*don\\x92t.*Windows-1252.*save it as UTF-8"),
        (TEXT, "utf-16-le", "it holds zero bytes, as UTF-16 without its mark does; save it as UTF-8"),
        (TEXT + 'u2,C,3,sad,"oh\nu3,D,4,sad,no\n', "utf-8", "a quote in its last row is never closed"),
        (TEXT + "u2,C,3\n", "utf-8", "Expected 5 columns, got 3"),
        ("", "utf-8", "no first line with the names of its columns"),
        ("speaker,label, speaker\nA,sad,B\n", "utf-8", "two columns are called 'speaker'"),
    ],
)
def test_files_that_cannot_be_read_rightly(tmp_path, text, encoding, told):
    with pytest.raises(InputError, match=rf"corpus own: cannot read .*own.csv: .*{told}"):
        load(written(tmp_path, text, encoding=encoding))


def with_features(tmp_path, cells):
    columns = own_columns(len(cells), audio_features=None) | {
        "audio_features": cells,
        "valence": ["2", "NA", " ", "3.5"],
    }
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    text = "\n".join(",".join(f'"{value}"' for value in row) for row in rows)
    return load(written(tmp_path, text + "\n"))


def test_features_written_as_text(tmp_path):
    vectors = np.array([[0.5, -1.25e-3, 2.0], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
    cells = [json.dumps(vectors[0].tolist()), str(vectors[1]), "", json.dumps(vectors.tolist())]
    corpus = with_features(tmp_path, cells)
    assert corpus.audio.length.tolist() == [1, 1, 0, 3] and corpus.audio_dim == 3
    np.testing.assert_array_equal(corpus.audio[0], vectors[:1])
    np.testing.assert_array_equal(corpus.audio[1], vectors[1:2])
    np.testing.assert_array_equal(corpus.audio[3], vectors)
    assert corpus.vad[:, 0].tolist() == pytest.approx([2.0, np.nan, np.nan, 3.5], nan_ok=True)
    frames = [str(vectors), "[]", "0.1 0.2 0.3", "[[1,2,3]]"]
    assert with_features(tmp_path, frames).audio.length.tolist() == [3, 0, 1, 1]


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (str(np.arange(2000.0)), r"row 'u1' .*features are the text '\[0.*numpy's own text leaves numbers out"),
        ("[1, 2]", "row 'u1' .*2 wide; expected 3"),
        ("[1, 2, nan]", "row 'u1' .*features hold nan"),
        ("x.npy", "row 'u1' .*features are the text 'x.npy'"),
        (" 0.5", "row 'u1' .*are the one number 0.5, where a vector is due; write each"),
        ("[" * 50_000 + "1" + "]" * 50_000, "row 'u1' .*1 wide; expected 3"),
    ],
)
def test_features_that_the_text_does_not_hold(tmp_path, cell, told):
    with pytest.raises(InputError, match=told):
        with_features(tmp_path, ["[1, 2, 3]", cell.replace("\n", ""), "", ""])
