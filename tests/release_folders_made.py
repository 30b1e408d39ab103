"""Makes folders in the layout in which the labs ship IEMOCAP, MSP-IMPROV and MSP-Podcast, with tiny recordings, for
tests: the names, files, line formats and quirks of the real ones, with invented content.
"""

import wave
from pathlib import Path

EVALUATION_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
CSV_HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"


def write(file: Path, text: str, encoding: str = "utf-8") -> Path:
    """A text file with exactly these line ends, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode(encoding))
    return file


def wav(file: Path) -> Path:
    """A hundredth of a second of silence at 16 kHz."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(16000)
        opened.writeframes(bytes(320))
    return file


# ---- IEMOCAP


def evaluation(utterance: str, label: str, vad: str, start: float = 6.2901) -> str:
    """An utterance's paragraph of an EmoEvaluation file: the evaluation and, below it, its raters'."""
    return (
        f"[{start:.4f} - {start + 2:.4f}]\t{utterance}\t{label}\t[{vad}]\n"
        "C-E2:\tNeutral;\t()\nC-F1:\tNeutral;\t(curious)\nA-E3:\tval 3; act 2; dom  2;\t()\n"
        "A-M1:\tval 2; act 3; dom  3;\t(mildly aggravated but staying polite)\n\n"
    )


def iemocap(root: Path) -> Path:
    """Two sessions of IEMOCAP_full_release. In session 1: improvised, Unix line ends, a turn of either speaker, one
    without transcript, one without recording, a recording without label. In session 2: scripted, Windows line ends
    and characters, an ending in capitals, an unrated utterance. What macOS leaves is everywhere.
    """
    first, second = root / "Session1", root / "Session2"
    turns = [
        evaluation("Ses01F_impro01_F000", "neu", "2.5000, 3.0000, 2.0000"),
        evaluation("Ses01F_impro01_M000", "exc", "4.5000, 4.0000, 3.5000", 9.1),
        evaluation("Ses01F_impro01_F001", "xxx", "2.0000, 2.5000, 3.0000", 12.25),
        evaluation("Ses01F_impro01_M001", "fru", "2.0000, 2.5000, 3.0000", 15),
    ]
    write(first / "dialog/EmoEvaluation/Ses01F_impro01.txt", EVALUATION_HEADER + "\n\n" + "".join(turns))
    write(first / "dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt", "Ses01F_impro01_F000 :Neutral; ()\n")
    write(
        first / "dialog/transcriptions/Ses01F_impro01.txt",
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        "Ses01F_impro01_M000 [009.1000-011.1000]: Did you get the mail? [LAUGHTER]\n"
        "M: Yeah.\n"
        "Ses01F_impro01_M001 [015.0000-017.0000]: No.\n",
    )
    for name in ("F000", "M000", "F001", "FXX0"):
        wav(first / f"sentences/wav/Ses01F_impro01/Ses01F_impro01_{name}.wav")

    scripted = [
        evaluation("Ses02M_script01_1b_M000", "ang", "1.5000, 4.5000, 5.5000"),
        evaluation("Ses02M_script01_1b_F000", "sad", "nan, 2.0000, 2.0000", 9.1),
    ]
    text = (EVALUATION_HEADER + "\n" + "".join(scripted)).replace("\n", "\r\n")
    write(second / "dialog/EmoEvaluation/Ses02M_script01_1b.txt", text)
    write(
        second / "dialog/transcriptions/Ses02M_script01_1b.txt",
        "Ses02M_script01_1b_M000 [006.2901-008.2901]: A fianc\u00e9e\u2026 really?\r\n"
        "Ses02M_script01_1b_F000 [009.1000-011.1000]: \r\n",
        encoding="cp1252",
    )
    wav(second / "sentences/wav/Ses02M_script01_1b/Ses02M_script01_1b_M000.WAV")
    wav(second / "sentences/wav/Ses02M_script01_1b/Ses02M_script01_1b_F000.wav")

    for folder in (first, second):
        for place in ("dialog/EmoEvaluation", "dialog/transcriptions", "sentences/wav"):
            write(folder / place / ".DS_Store", "\x00\x01Bud1")
            write(folder / place / "._Ses01F_impro01.txt", "\x00\x05\x16\x07 Mac OS X", encoding="latin-1")
    write(first / "sentences/wav/Ses01F_impro01/._Ses01F_impro01_M001.wav", "\x00\x05\x16\x07")
    return root


# ---- MSP-IMPROV


def improv_paragraph(name: str, label: str, ratings: str, ends: str = "\n") -> str:
    """An utterance's paragraph of Evalution.txt: the evaluation and, below it, its raters'."""
    return (
        f"UTD-IMPROV-{name}.avi; {label}; {ratings}{ends}"
        f"20140119_EE4_29-p2; Neutral; Neutral,Other(calm); A:4.000000; V:3.000000; D:3.000000; N:4.000000;{ends}"
        f"20140119_EE4_30-p1; Angry; ; A:1.000000; V:3.000000; D:NaN; N:NaN;{ends}{ends}"
    )


def msp_improv(root: Path, label_file: str = "Evalution.txt", audio: str = "Audio", ends: str = "\n") -> Path:
    """Sessions 1 and 6: each kind of recording, both actors, a dominance that is NaN, a space before a semicolon, an
    utterance without transcript and one without recording, a transcript in Windows characters.
    """
    paragraphs = [
        ("S01A-F01-P-FM01", "N", "A:1.500000; V:4.250000; D:3.000000 ; N:4.142857;"),
        ("S01A-F01-S-MF02", "H", "A:2.000000; V:5.000000; D:NaN ; N:4.000000;"),
        ("S08H-M06-T-MF01", "S", "A:5.000000; V:1.000000; D:2.000000 ; N:3.000000;"),
        ("S08H-M06-R-MM01", "A", "A:1.000000; V:2.000000; D:4.000000 ; N:NaN;"),
        ("S08H-M06-S-MF07", "X", "A:3.000000; V:3.000000; D:3.000000 ; N:3.000000;"),
    ]
    write(root / label_file, "".join(improv_paragraph(*paragraph, ends) for paragraph in paragraphs))
    places = root / audio
    wav(places / "session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav")
    wav(places / "session1/S01A/S/MSP-IMPROV-S01A-F01-S-MF02.WAV")
    wav(places / "session6/S08H/T/MSP-IMPROV-S08H-M06-T-MF01.wav")
    wav(places / "session6/S08H/R/MSP-IMPROV-S08H-M06-R-MM01.wav")
    write(places / "session6/S08H/S/._MSP-IMPROV-S08H-M06-S-MF07.wav", "\x00")
    texts = root / "All_human_transcriptions"
    write(texts / "MSP-IMPROV-S01A-F01-P-FM01.txt", "So, what's next?" + ends)
    write(texts / "MSP-IMPROV-S08H-M06-T-MF01.txt", "I don\u2019t know", encoding="cp1252")
    write(texts / "MSP-IMPROV-S08H-M06-R-MM01.txt", " " + ends)
    return root


# ---- MSP-Podcast


def podcast_audio(root: Path, audios: str = "Audios") -> Path:
    """Recordings and transcripts: 0001_0010 has no recording, 0002_0033 no transcript, 0003_0001 no label."""
    wav(root / audios / "MSP-PODCAST_0001_0008.wav")
    wav(root / audios / "MSP-PODCAST_0001_0009.WAV")
    wav(root / audios / "MSP-PODCAST_0002_0033.wav")
    wav(root / audios / "MSP-PODCAST_0003_0001.wav")
    write(root / audios / "._MSP-PODCAST_0001_0010.wav", "\x00")
    write(root / "Transcripts/MSP-PODCAST_0001_0008.txt", "I think that's what it was.\n")
    write(root / "Transcripts/MSP-PODCAST_0001_0009.txt", "\ufeffWell, caf\u00e9s.\r\n")
    return root


def msp_podcast(root: Path, label_file: str = "Labels/labels_consensus.csv", ends: str = "\n") -> Path:
    """A release with a consensus csv: a known, a far-off and an unknown speaker, empty ratings, a blank line."""
    lines = [
        CSV_HEADER,
        "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1",
        "MSP-PODCAST_0001_0009.wav,C,3.5,1.25,6.75,501,Female,Train",
        "MSP-PODCAST_0001_0010.wav,H,3.5,5.0,4.0,501,Female,Train",
        "",
        "MSP-PODCAST_0002_0033.wav,X,,,,Unknown,Unknown,Development",
    ]
    write(root / label_file, ends.join(lines) + ends)
    return podcast_audio(root)


def msp_podcast_of_old(root: Path) -> Path:
    """The oldest layout: Labels.txt with raters' lines, speakers and partitions in files of their own."""
    write(
        root / "Labels/Labels.txt",
        "MSP-PODCAST_0001_0008.wav; N; A:2.200000; V:4.000000; D:2.600000;\n"
        "WORKER00000001; Neutral; Neutral,Other (calm); A:2.0; V:4.0; D:3.0;\n"
        "WORKER00000002; Neutral; ; A:2.4; V:4.0; D:2.2;\n\n"
        "MSP-PODCAST_0001_0009.wav; C; A:3.500000; V:1.250000; D:6.750000;\n"
        "WORKER00000001; Contempt; ; A:3.5; V:1.25; D:6.75;\n",
    )
    write(
        root / "Speaker_ids.txt",
        "Speaker_30; Male\nSpeaker_501; Female\n\nMSP-PODCAST_0001_0008.wav; 30\nMSP-PODCAST_0001_0009.wav; 501\n",
    )
    write(root / "Partitions.txt", "Test1; MSP-PODCAST_0001_0008.wav\nTrain; MSP-PODCAST_0001_0009.wav\n")
    return podcast_audio(root)
