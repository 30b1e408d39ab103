"""Release folders as the labs ship them: whole rows, every quirk, and errors that name file and line."""

import math
import os
import shutil
from pathlib import Path

import pytest
from release_folders_made import evaluation
from release_folders_made import iemocap
from release_folders_made import improv_paragraph
from release_folders_made import msp_improv
from release_folders_made import msp_podcast
from release_folders_made import msp_podcast_of_old
from release_folders_made import wav
from release_folders_made import write

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.releases.release_folders import PARSERS
from emomm.corpora.releases.release_folders import four_classes
from emomm.corpora.releases.release_folders import read_release
from emomm.corpora.releases.release_folders import release_kind
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError

MAKERS = {"IEMO": iemocap, "MSPI": msp_improv, "MSPP": msp_podcast}
NAN = float("nan")
IMPROV_LINE = "expected 'UTD-IMPROV-S01A-F01-P-FM01.avi; label; A:number; "


def row(utterance_id, path, speaker, session, label, transcript, vad, style, gender, split="", **more):
    """A row in full, as text, so that one NaN equals another."""
    ratings = dict(zip(("valence", "arousal", "dominance"), vad, strict=True))
    told = {"utterance_id": utterance_id, "path": path, "speaker": speaker, "session": session, "label": label}
    return repr({**told, "transcript": transcript, **ratings, "style": style, "gender": gender, "split": split} | more)


def same(release, expected):
    assert [repr(found) for found in release.rows] == expected


# ---- IEMOCAP


def test_iemocap_rows(tmp_path):
    release = read_release(iemocap(tmp_path))
    assert release.corpus == "IEMO"
    improvised = tmp_path / "Session1/sentences/wav/Ses01F_impro01"
    scripted = tmp_path / "Session2/sentences/wav/Ses02M_script01_1b"
    first, second, third = (improvised / f"Ses01F_impro01_{turn}.wav" for turn in ("F000", "M000", "F001"))
    man, woman = scripted / "Ses02M_script01_1b_M000.WAV", scripted / "Ses02M_script01_1b_F000.wav"
    laughing = "Did you get the mail? [LAUGHTER]"
    scenario, script = {"script": "impro01"}, {"script": "script01"}
    same(
        release,
        [
            row(first.stem, first, "1", "1", "neutral", "Excuse me.", (2.5, 3.0, 2.0), "improvised", "f", **scenario),
            row(second.stem, second, "2", "1", "excited", laughing, (4.5, 4.0, 3.5), "improvised", "m", **scenario),
            row(third.stem, third, "1", "1", "no agreement", None, (2.0, 2.5, 3.0), "improvised", "f", **scenario),
            row(
                man.stem,
                man,
                "4",
                "2",
                "anger",
                "A fianc\u00e9e\u2026 really?",
                (1.5, 4.5, 5.5),
                "scripted",
                "m",
                **script,
            ),
            row(woman.stem, woman, "3", "2", "sad", None, (NAN, 2.0, 2.0), "scripted", "f", **script),
        ],
    )
    assert release.notes == [
        "5 rows: anger 1, excited 1, neutral 1, no agreement 1, sad 1",
        "not the whole release: no Session3, no Session4, no Session5",
        "1 labelled utterances left out: their wav is missing",
        "1 wav files left out: the label files don't have them",
        "2 rows have no transcript",
        "1 rows lack a rating of valence, arousal or dominance",
        "1 rows have a rating outside 1-5",
    ]


def test_iemocap_every_label(tmp_path):
    codes = ["neu", "hap", "sad", "ang", "exc", "fru", "sur", "fea", "dis", "oth", "xxx"]
    names = [f"Ses03F_impro02_F{number:03}" for number in range(len(codes))]
    turns = "".join(evaluation(name, code, "3.0, 3.0, 3.0") for name, code in zip(names, codes, strict=True))
    write(tmp_path / "Session3/dialog/EmoEvaluation/Ses03F_impro02.txt", turns)
    for name in names:
        wav(tmp_path / f"Session3/sentences/wav/Ses03F_impro02/{name}.wav")
    labels = [found["label"] for found in read_release(tmp_path).rows]
    words = "neutral happy sad anger excited frustration surprise fear disgust other".split()
    assert labels == [*words, "no agreement"]


def test_iemocap_whole_release_is_compared_with_the_literature(tmp_path, monkeypatch):
    for session in range(1, 6):
        name = f"Ses0{session}F_impro01"
        turns = evaluation(f"{name}_F000", "hap", "3.0, 3.0, 3.0") + evaluation(f"{name}_M000", "exc", "3, 3, 3")
        write(tmp_path / f"Session{session}/dialog/EmoEvaluation/{name}.txt", turns)
        for voice in "FM":
            wav(tmp_path / f"Session{session}/sentences/wav/{name}/{name}_{voice}000.wav")
    release = read_release(tmp_path)
    assert release.notes[-1] == (
        "four classes, excited counted as happy: 10 rows; the whole release has 5531 "
        "(neutral 1708, happy 1636, sad 1084, anger 1103)"
    )
    assert [found["speaker"] for found in release.rows] == [str(number) for number in range(1, 11)]
    monkeypatch.setattr(PARSERS["IEMO"], "FOUR_CLASSES", {"happy": 10})
    assert "four classes" not in " ".join(read_release(tmp_path).notes)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, 2.5]", "expected '[start - end]<TAB>utterance id"),
        ("[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, high, 2.5]", "expected '[start - end]<TAB>utterance id"),
        ("[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, inf, 2.5]", "expected '[start - end]<TAB>utterance id"),
        ("[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5] 3", "expected '[start - end]<TAB>utterance id"),
        ("[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu", "expected '[start - end]<TAB>utterance id"),
        ("[6.2901 - 8.2357]\tSes01F_impro01_F000\tjoy\t[2.5, 2.5, 2.5]", "label 'joy' is none of neu, hap"),
        ("[6.2901 - 8.2357]\tSes07F_impro01_F000\tneu\t[2.5, 2.5, 2.5]", "'Ses07F_impro01_F000' is no utterance id"),
    ],
)
def test_iemocap_bad_line(tmp_path, line, said):
    file = iemocap(tmp_path) / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    write(file, f"% header\n\n{line}\n")
    with pytest.raises(InputError) as error:
        read_release(tmp_path)
    assert str(error.value).startswith(f"{file}, line 3: {line!r}; ")
    assert said in str(error.value)


def test_iemocap_turns_that_begin_before_the_recording(tmp_path):
    file = iemocap(tmp_path) / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    before = len(read_release(tmp_path).rows)
    write(file, file.read_text().replace("[6.2901 - ", "[-0.0100 - "))
    assert "-0.0100" in file.read_text() and len(read_release(tmp_path).rows) == before


def test_iemocap_strange_lines_are_said(tmp_path):
    file = iemocap(tmp_path) / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    write(file, file.read_text() + "to be continued\n")
    assert (
        "Ses01F_impro01.txt: 1 lines left out that are neither evaluations nor raters'" in read_release(tmp_path).notes
    )


def test_copies_that_systems_leave_are_passed_over(tmp_path):
    """Of an archive made by macOS, of a notebook, of a wastebasket: neither a second release nor second recordings."""
    folder = iemocap(tmp_path / "IEMOCAP_full_release")
    expected = [repr(found) for found in read_release(folder).rows]
    shutil.copytree(folder, tmp_path / "kept" / "IEMOCAP_full_release")
    for copy in ("__MACOSX/IEMOCAP_full_release", ".Trash-0/files/IEMOCAP_full_release"):
        shutil.copytree(tmp_path / "kept" / "IEMOCAP_full_release", tmp_path / copy)
    wavs = folder / "Session1/sentences/wav"
    shutil.copytree(wavs / "Ses01F_impro01", wavs / "__MACOSX" / "Ses01F_impro01")
    shutil.copytree(wavs / "Ses01F_impro01", wavs / ".ipynb_checkpoints")
    shutil.rmtree(tmp_path / "kept")
    assert [repr(found) for found in read_release(tmp_path).rows] == expected


def test_labelled_twice(tmp_path):
    file = iemocap(tmp_path) / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    shutil.copy(file, file.with_name("Ses01F_impro01 copy.txt"))
    with pytest.raises(InputError, match=r"'Ses01F_impro01_F000' is labelled 2 times.*\(4 are not\)"):
        read_release(tmp_path)


# ---- MSP-IMPROV


@pytest.mark.parametrize(
    ("label_file", "audio", "ends"),
    [("Evalution.txt", "Audio", "\n"), ("Evaluation.txt", ".", "\r\n"), ("evaluation.TXT", "audio", "\r")],
)
def test_msp_improv_rows(tmp_path, label_file, audio, ends):
    release = read_release(msp_improv(tmp_path, label_file, audio, ends))
    assert release.corpus == "MSPI"
    places = tmp_path / audio
    talk = places / "session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav"
    improvised = places / "session1/S01A/S/MSP-IMPROV-S01A-F01-S-MF02.WAV"
    target = places / "session6/S08H/T/MSP-IMPROV-S08H-M06-T-MF01.wav"
    asking, unsure = "So, what's next?", "I don\u2019t know"
    read = places / "session6/S08H/R/MSP-IMPROV-S08H-M06-R-MM01.wav"
    same(
        release,
        [
            row(talk.stem, talk, "947", "1", "neutral", asking, (4.25, 4.5, 3.0), "natural interaction", "f"),
            row(improvised.stem, improvised, "947", "1", "happy", None, (5.0, 4.0, NAN), "other improvised", "f"),
            row(target.stem, target, "958", "6", "sad", unsure, (1.0, 1.0, 2.0), "target improvised", "m"),
            row(read.stem, read, "958", "6", "anger", None, (2.0, 5.0, 4.0), "target read", "m"),
        ],
    )
    assert release.notes == [
        "4 rows: anger 1, happy 1, neutral 1, sad 1",
        "activation is turned round (6 - A): the release rates the most active with 1",
        "1 labelled utterances left out: their wav is missing",
        "2 rows have no transcript",
        "1 rows lack a rating of valence, arousal or dominance",
    ]


def test_msp_improv_speakers_and_labels(tmp_path):
    names = [f"S01A-{voice}0{session}-S-FM01" for session in range(1, 7) for voice in "FM"]
    codes = "AHSNOX" * 2
    text = "".join(improv_paragraph(n, c, "A:3; V:3; D:3; N:3;") for n, c in zip(names, codes, strict=True))
    write(tmp_path / "Evalution.txt", text)
    for name in names:
        wav(tmp_path / f"session{name[7]}/S01A/S/MSP-IMPROV-{name}.wav")
    rows = read_release(tmp_path).rows
    assert [found["speaker"] for found in rows] == [str(number) for number in range(947, 959)]
    assert [found["session"] for found in rows] == [str(session) for session in range(1, 7) for _ in "FM"]
    assert [found["label"] for found in rows] == ["anger", "happy", "sad", "neutral", "other", "no agreement"] * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; Q; A:3.0; V:3.0; D:3.0 ; N:3.0;", "label 'Q' is none of A, H, S, N, O, X"),
        (
            "UTD-IMPROV-S01A-F07-P-FM01.avi; N; A:3.0; V:3.0; D:3.0 ; N:3.0;",
            IMPROV_LINE,
        ),
        (
            "UTD-IMPROV-S01A-F01-Q-FM01.avi; N; A:3.0; V:3.0; D:3.0 ; N:3.0;",
            IMPROV_LINE,
        ),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.0; D:3.0 ; N:3.0;", IMPROV_LINE),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:3.0; V:-; D:3.0 ; N:3.0;", IMPROV_LINE),
        ("UTD-IMPROV-S01A-F01-P-FM01.avi", IMPROV_LINE),
    ],
)
def test_msp_improv_bad_line(tmp_path, line, said):
    file = msp_improv(tmp_path) / "Evalution.txt"
    write(file, f"\n{line}\n")
    with pytest.raises(InputError) as error:
        read_release(tmp_path)
    assert str(error.value).startswith(f"{file}, line 2: {line!r}; ")
    assert said in str(error.value)


def test_msp_improv_transcripts_at_any_depth(tmp_path):
    folder = msp_improv(tmp_path)
    before = [each["transcript"] for each in read_release(tmp_path).rows]
    (folder / "Audio" / "text").mkdir()
    (folder / "All_human_transcriptions").rename(folder / "Audio" / "text" / "All_human_transcriptions")
    assert [each["transcript"] for each in read_release(tmp_path).rows] == before and any(before)


def test_msp_improv_packed_transcripts_and_doubled_recordings(tmp_path):
    shutil.rmtree(msp_improv(tmp_path) / "All_human_transcriptions")
    write(tmp_path / "Human_transcriptions.zip", "PK")
    wav(tmp_path / "Audio_16k/MSP-IMPROV-S01A-F01-P-FM01.wav")
    release = read_release(tmp_path)
    assert "Human_transcriptions.zip is not unpacked" in release.notes
    assert "1 wav files left out: another folder has one of the same name" in release.notes
    assert release.rows[0]["path"].parent == tmp_path / "Audio/session1/S01A/P"


# ---- MSP-Podcast


def podcast_rows(root):
    known, far = root / "Audios/MSP-PODCAST_0001_0008.wav", root / "Audios/MSP-PODCAST_0001_0009.WAV"
    said, coffee = "I think that's what it was.", "Well, caf\u00e9s."
    return [
        row(known.stem, known, "30", "1", "neutral", said, (4.0, 2.2, 2.6), "spontaneous", "m", "Test1"),
        row(far.stem, far, "501", "2", "contempt", coffee, (1.25, 3.5, 6.75), "spontaneous", "f", "Train"),
    ]


@pytest.mark.parametrize(
    ("label_file", "ends"),
    [
        ("Labels/labels_consensus.csv", "\n"),
        ("Labels/labels_concensus.csv", "\r\n"),
        ("labels_consensus.csv", "\r"),
        ("labels/Labels/labels_consensus.csv", "\n"),
    ],
)
def test_msp_podcast_rows(tmp_path, label_file, ends):
    release = read_release(msp_podcast(tmp_path, label_file, ends))
    assert release.corpus == "MSPP"
    lost = tmp_path / "Audios/MSP-PODCAST_0002_0033.wav"
    nobody = (lost.stem, lost, "unknown", "unknown", "no agreement", None, (NAN, NAN, NAN), "spontaneous", "")
    same(release, [*podcast_rows(tmp_path), row(*nobody, "Development")])
    assert release.notes == [
        "3 rows: contempt 1, neutral 1, no agreement 1",
        f"labels from {Path(label_file).name}",
        "1 labelled utterances are of unknown speakers (speaker and session 'unknown'): not for speaker batches or "
        "splits by speaker",
        "1 labelled utterances left out: their wav is missing",
        "1 wav files left out: the label files don't have them",
        "1 rows have no transcript",
        "1 rows lack a rating of valence, arousal or dominance",
    ]


def test_msp_podcast_of_old(tmp_path):
    release = read_release(msp_podcast_of_old(tmp_path))
    same(release, podcast_rows(tmp_path))
    assert release.notes[1] == "labels from Labels.txt"


def test_msp_podcast_csv_without_speakers_takes_them_from_their_files(tmp_path):
    msp_podcast_of_old(tmp_path)
    write(
        tmp_path / "Labels/labels_concensus.csv",
        "EmoClass,FileName,EmoVal,EmoAct,EmoDom\n"
        "N,MSP-PODCAST_0001_0008.wav,4.0,2.2,2.6\nC,MSP-PODCAST_0001_0009.wav,1.25,3.5,6.75\n",
    )
    release = read_release(tmp_path)
    same(release, podcast_rows(tmp_path))
    assert release.notes[1] == "labels from labels_concensus.csv"


def test_msp_podcast_every_label(tmp_path):
    lines = [f"MSP-PODCAST_0001_00{n:02}.wav,{code},1,1,1,{n + 1},Male,Train" for n, code in enumerate("NHSACDFUOX")]
    header = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
    write(tmp_path / "Labels/labels_consensus.csv", "\n".join([header, *lines]))
    for line in lines:
        wav(tmp_path / "Audios" / line.split(",")[0])
    labels = [found["label"] for found in read_release(tmp_path).rows]
    words = "neutral happy sad anger contempt disgust fear surprise other".split()
    assert labels == [*words, "no agreement"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("MSP-PODCAST_0001_0008.wav,Q,2.2,4.0,2.6,30,Male,Test1", "label 'Q' is none of N, H, S"),
        ("MSP-PODCAST_0001_0008.wav,N,2.2,much,2.6,30,Male,Test1", "ratings must be numbers"),
        ("MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male", "it has 7 fields; expected 8: filename,emoclass"),
        ("MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,me,Male,Test1", "speaker 'me' is neither a number from 1 on nor"),
        ("MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,0,Male,Test1", "speaker '0' is neither a number from 1 on nor"),
        ("some.mp3,N,2.2,4.0,2.6,30,Male,Test1", "FileName must be such as 'MSP-PODCAST_0001_0008.wav'"),
    ],
)
def test_msp_podcast_bad_line(tmp_path, line, said):
    file = msp_podcast(tmp_path) / "Labels/labels_consensus.csv"
    write(file, file.read_text() + line + "\n")
    with pytest.raises(InputError) as error:
        read_release(tmp_path)
    assert str(error.value).startswith(f"{file}, line 7: {line!r}; ")
    assert said in str(error.value)


def test_msp_podcast_partitions_without_labels_and_speakers_as_pandas_writes_them(tmp_path):
    file = msp_podcast(tmp_path) / "Labels/labels_consensus.csv"
    before = file.read_text()
    assert ",30," in before
    write(file, before.replace(",30,", ",30.0,") + "MSP-PODCAST_0009_0001.wav,,,,,,,Test3\n")
    wav(tmp_path / "Audios/MSP-PODCAST_0009_0001.wav")
    release = read_release(tmp_path)
    assert "1 utterances left out: they have no label" in release.notes
    assert [each["speaker"] for each in release.rows][:2] == ["30", "501"]


def test_msp_podcast_bad_csv(tmp_path):
    file = msp_podcast(tmp_path) / "Labels/labels_consensus.csv"
    text = file.read_text()
    write(file, text.replace("EmoVal", "Pleasure"))
    with pytest.raises(InputError, match="labels_consensus.csv, line 1: no column EmoVal; columns there: filename,"):
        read_release(tmp_path)
    write(file, text + "MSP-PODCAST_" + "1" * 200000 + ".wav,N\n")
    with pytest.raises(InputError, match="labels_consensus.csv, line 7: field larger than field limit"):
        read_release(tmp_path)


def test_msp_podcast_of_old_bad_line(tmp_path):
    file = msp_podcast_of_old(tmp_path) / "Labels/Labels.txt"
    write(file, "\nMSP-PODCAST_0001_0008.wav; N; A:2.2; D:2.6;\n")
    with pytest.raises(InputError, match="Labels.txt, line 2: .* expected 'MSP-PODCAST_0001_0008.wav; label"):
        read_release(tmp_path)


# ---- which corpus a folder is


@pytest.mark.parametrize("corpus", MAKERS)
@pytest.mark.parametrize("inner", [".", "release", "unzipped/release"])
def test_a_release_is_recognised_from_above(tmp_path, corpus, inner):
    MAKERS[corpus](tmp_path / inner)
    write(tmp_path / "notes/readme.txt", "mine")
    assert release_kind(tmp_path) == corpus
    assert release_kind(str(tmp_path)) == corpus
    release = read_release(tmp_path)
    assert release.corpus == corpus
    assert all(found["path"].is_absolute() and found["path"].is_file() for found in release.rows)


def test_three_levels_down_is_too_far(tmp_path):
    iemocap(tmp_path / "a/b/c")
    assert release_kind(tmp_path) is None


def test_relative_folder_gives_absolute_paths(tmp_path, monkeypatch):
    msp_improv(tmp_path / "MSP-IMPROV")
    monkeypatch.chdir(tmp_path)
    rows = read_release(Path("MSP-IMPROV")).rows
    assert rows[0]["path"] == tmp_path / "MSP-IMPROV/Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav"


def test_unknown_folder(tmp_path):
    write(tmp_path / "Evaluation.txt", "our seminar was good\n")
    write(tmp_path / "labels.txt", "cat\ndog\n")
    assert release_kind(tmp_path) is None
    with pytest.raises(InputError, match="no release folder that is known: IEMOCAP_full.*MSP-IMPROV.*MSP-Podcast"):
        read_release(tmp_path)
    with pytest.raises(InputError, match="there is no folder .*nowhere"):
        release_kind(tmp_path / "nowhere")


@pytest.mark.parametrize(("corpus", "part"), [("IEMO", "Session1"), ("MSPI", "Audio"), ("MSPP", "Labels")])
def test_a_part_of_a_release_points_to_the_whole(tmp_path, corpus, part):
    MAKERS[corpus](tmp_path / "release")
    assert release_kind(tmp_path / "release" / part) is None
    with pytest.raises(InputError, match=f"It is part of .*: name {tmp_path / 'release'}$"):
        read_release(tmp_path / "release" / part)


def test_several_releases(tmp_path):
    iemocap(tmp_path / "one")
    msp_podcast(tmp_path / "two")
    with pytest.raises(InputError, match=f"holds several releases; name one: {tmp_path / 'one'}, {tmp_path / 'two'}"):
        release_kind(tmp_path)


@pytest.mark.parametrize(("corpus", "audio"), [("IEMO", "Session*/sentences"), ("MSPI", "Audio"), ("MSPP", "Audios")])
def test_no_recordings_at_all(tmp_path, corpus, audio):
    MAKERS[corpus](tmp_path)
    for folder in tmp_path.glob(audio):
        shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"none of the \d labelled utterances has a recording in .* are 0 wav files"):
        read_release(tmp_path)


def test_a_folder_of_recordings_that_cannot_be_read(tmp_path, monkeypatch):
    msp_improv(tmp_path)
    original = os.scandir

    def scandir(path):
        if str(path).endswith("S01A"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="cannot read the folder .*S01A: Permission denied"):
        read_release(tmp_path)


# ---- in a corpus


@pytest.mark.parametrize("corpus", MAKERS)
def test_four_classes_fit_a_corpus_spec(tmp_path, corpus):
    label_map, dropped = four_classes(corpus)
    four = {name: name for name in ("neutral", "happy", "sad", "anger")}
    assert label_map == {**four, **({"excited": "happy"} if corpus == "IEMO" else {})}
    spec = CorpusSpec(corpus, label_map=label_map, dropped_labels=dropped)
    assert spec.labels == ["neutral", "happy", "sad", "anger"]
    rows = read_release(MAKERS[corpus](tmp_path)).rows
    assert {found["label"] for found in rows} <= {*label_map, *dropped}
    assert {*label_map, *dropped} == set(PARSERS[corpus].LABELS.values())


@pytest.mark.parametrize("corpus", MAKERS)
def test_the_built_in_spec_knows_every_label_of_the_release(corpus):
    label_map, dropped = four_classes(corpus)
    spec = BUILTIN[corpus]
    assert {label: spec.label_map.get(label) for label in label_map} == label_map
    assert set(dropped) <= set(spec.dropped_labels)


def test_excited_is_merged_or_left_out():
    label_map, dropped = four_classes("IEMO")
    assert label_map["excited"] == "happy" and "excited" not in dropped
    label_map, dropped = four_classes("IEMO", merge_excited=False)
    assert "excited" not in label_map and "excited" in dropped
    assert label_map == {name: name for name in ("neutral", "happy", "sad", "anger")}
    with pytest.raises(InputError, match="'SAMSEMO' is none of IEMO, MSPI, MSPP"):
        four_classes("SAMSEMO")


@pytest.mark.parametrize("corpus", MAKERS)
def test_sessions_and_ratings_follow_the_built_in_corpus(tmp_path, corpus):
    spec = BUILTIN[corpus]
    assert list(PARSERS[corpus].SCALE) == spec.vad_scale
    for found in read_release(MAKERS[corpus](tmp_path)).rows:
        if found["speaker"] != "unknown":
            rule = spec.session_rule
            assert found["session"] == str((int(found["speaker"]) - rule["first"]) // rule["size"] + 1)
        assert math.isnan(found["valence"]) or spec.vad_scale[0] <= found["valence"] <= spec.vad_scale[1]
