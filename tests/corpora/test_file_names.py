"""Folders of recordings that names tell of: odd names, copies, capitals, what is missing and what is more."""

import pytest
import release_names as named
from release_folders_made import write

from emomm.corpora.releases.release_folders import read_release
from emomm.corpora.releases.release_folders import release_kind
from emomm.errors import InputError


def test_partial_release_says_who_is_missing(tmp_path):
    named.touch(tmp_path, named.ravdess(actors=range(1, 23)))
    (tmp_path / "Audio_Actors/Actor_05/03-01-05-01-02-01-05.wav").unlink()
    notes = read_release(tmp_path).notes
    assert notes[1] == "not the whole release: 1319 of 1440 recordings; none of speaker 23, 24"


def test_more_than_the_release(tmp_path):
    named.touch(tmp_path, [*named.emovo(), "extra/rab-f1-b1 (copy).wav", "mine.flac", "f1/notes.txt"])
    notes = read_release(tmp_path).notes
    assert notes[1:] == [
        "the whole release: 588 recordings",
        "2 recordings aren't named as EMOVO's and left out (rab-f1-b1 (copy).wav, mine.flac)",
    ]


def test_more_takes_than_the_release_has(tmp_path):
    named.touch(tmp_path, [*named.emodb(), "wav/03a01Nz.wav", "wav/03a01Ny.wav"])
    assert read_release(tmp_path).notes[1] == "537 recordings, 2 more than the 535 of the release"


def test_copies_count_once_and_what_is_lossless_comes_first(tmp_path):
    names = named.ravdess(actors=[1, 2])
    named.touch(tmp_path, names)
    named.touch(tmp_path / "again", names)  # as the copy on Kaggle has it
    named.touch(tmp_path / "aac", [name.replace(".wav", ".m4a") for name in names])
    release = read_release(tmp_path)
    assert len(release.rows) == 120 and {row["path"].suffix for row in release.rows} == {".wav"}
    assert release.notes[2].startswith("240 recordings are copies of others and left out (03-01-01-01-01-01-01.m4a, ")


def test_capitals_and_hidden_files(tmp_path):
    named.touch(tmp_path, [name.upper() for name in named.cafe()])
    named.touch(tmp_path, ["JOIE/._01-J-1-1.WAV", ".ipynb_checkpoints/01-J-1-1.wav", "__MACOSX/02-J-1-1.wav"])
    release = read_release(tmp_path)
    assert release.corpus == "CaFE" and len(release.rows) == 936
    assert release.notes[1:] == ["the whole release: 936 recordings"]


def test_a_folder_of_few_or_mixed_recordings_is_nobody_s(tmp_path):
    named.touch(tmp_path / "few", named.emodb()[:9])
    assert release_kind(tmp_path / "few") is None
    assert len(read_release(tmp_path / "few", "EmoDB").rows) == 9
    named.touch(tmp_path / "mixed", [*named.emodb()[:20], *named.savee()[:20]])
    assert release_kind(tmp_path / "mixed") is None
    assert len(read_release(tmp_path / "mixed", "SAVEE").rows) == 20


def test_nothing_of_the_corpus(tmp_path):
    named.touch(tmp_path, ["a.wav", "b.wav"])
    with pytest.raises(InputError, match=r"EmoDB: .* holds no recording .* wav/03a01Wa.wav \(2 other recordings are"):
        read_release(tmp_path, "EmoDB")


def test_same_name_in_two_folders(tmp_path):
    """Of one subject and sentence: a copy. Of two subjects: each has an id of its own."""
    write(tmp_path / "subject 1/anger/sentence 1/s1_an_1.avi", "")
    write(tmp_path / "subject 1/anger/sentence 2/s01_an_1.avi", "")
    write(tmp_path / "subject 2/anger/sentence 1/s1_an_1.avi", "")
    release = read_release(tmp_path, "eNTERFACE05")
    assert [row["utterance_id"] for row in release.rows] == ["s1_an_1", "s2_an_1"]
    assert release.notes[-1] == "1 recordings are copies of others and left out (s01_an_1.avi)"


def test_ids_are_the_same_in_either_form(tmp_path):
    named.touch(tmp_path / "folders", named.savee())
    named.touch(tmp_path / "flat", named.savee("ALL/{}_{}.wav"))
    ids = [[row["utterance_id"] for row in read_release(tmp_path / each).rows] for each in ("folders", "flat")]
    assert sorted(ids[0]) == sorted(ids[1]) and len(set(ids[0])) == 480
