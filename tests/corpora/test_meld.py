"""MELD's release: three tables, three folders in which recordings have the same names."""

import pytest
import release_names as named
from release_folders_made import write

from emomm.corpora.releases import meld
from emomm.corpora.releases.release_folders import read_release
from emomm.corpora.releases.release_folders import release_kind
from emomm.errors import InputError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"


def made(root):
    """Train: a damaged recording, Windows characters, a stranger. Dev: one that isn't there. Test: a leftover."""
    write(
        root / "train/train_sent_emo.csv",
        f'{HEADER}\n1,"also, you\u0092re late",Chandler,neutral,neutral,0,0,8,21,"00:16:16,059","00:16:21,731"\n'
        '2,"No.",Monica,anger,negative,125,3,8,21,"00:16:16,059","00:16:21,731"\n'
        '3,"Hi",Phoebe Sr,joy,positive,0,1,8,21,"00:16:16,059","00:16:21,731"\n',
    )
    write(
        root / "dev_sent_emo.csv",
        f"\ufeff{HEADER}\n1,What?,Monica,surprise,negative,110,7,4,7,a,b\n".replace("\n", "\r\n"),
    )
    write(root / "test_sent_emo.csv", f"{HEADER}\n1,Why?,Ross,sadness,negative,0,0,3,19,a,b\n")
    named.touch(
        root, [f"train/train_splits/{name}.mp4" for name in ("dia0_utt0", "dia0_utt1", "dia125_utt3", "dia9_utt9")]
    )
    named.touch(root, ["output_repeated_splits_test/dia0_utt0.mp4", "output_repeated_splits_test/._dia0_utt1.mp4"])
    named.touch(root, ["output_repeated_splits_test/final_videos_testdia0_utt0.mp4"])
    return root


def test_rows(tmp_path):
    assert release_kind(made(tmp_path)) == "MELD"
    release = read_release(tmp_path)
    keys = ("utterance_id", "speaker", "session", "label", "transcript", "gender", "split", "sentiment")
    assert [tuple(row[key] for key in keys) for row in release.rows] == [
        ("train_dia0_utt0", "Chandler", "Chandler", "neutral", "also, you\u2019re late", "m", "train", "neutral"),
        ("train_dia0_utt1", "Phoebe Sr.", "others", "joy", "Hi", "", "train", "positive"),
        ("test_dia0_utt0", "Ross", "Ross", "sadness", "Why?", "m", "test", "negative"),
    ]  # fmt: skip
    assert release.rows[2]["path"] == tmp_path / "output_repeated_splits_test/dia0_utt0.mp4"
    assert release.notes == [
        "3 rows: joy 1, neutral 1, sadness 1",
        "not the whole release: 3 of 13706 recordings",
        "train_dia125_utt3 is left out: it is damaged in the release",
        "1 labelled utterances left out: their recording is missing (dev_dia110_utt7)",
        "2 recordings left out: the tables don't have them (final_videos_testdia0_utt0.mp4, dia9_utt9.mp4)",
    ]


def test_audio_before_video_and_tables_missing(tmp_path):
    made(tmp_path)
    (tmp_path / "dev_sent_emo.csv").unlink()
    named.touch(tmp_path, ["audio/train/dia0_utt0.flac"])
    release = read_release(tmp_path)
    assert release.rows[0]["path"].suffix == ".flac"
    assert release.notes[1] == "not the whole release: 3 of 13706 recordings; no dev_sent_emo.csv"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,Why?,Ross,glee,negative,0,0,3,19,a,b", "line 2: emotion 'glee' is none of anger, disgust"),
        ("1,Why?,Ross,joy,negative,zero,0,3,19,a,b", "line 2: Dialogue_ID and Utterance_ID must be whole numbers"),
        ("1,Why, me?,Ross,joy,negative,0,0,3,19,a,b", "line 2: it has 12 fields; expected 11"),
    ],
)
def test_bad_line(tmp_path, line, said):
    made(tmp_path)
    write(tmp_path / "test_sent_emo.csv", f"{HEADER}\n{line}\n")
    with pytest.raises(InputError, match="test_sent_emo.csv") as error:
        read_release(tmp_path)
    assert said in str(error.value)


def test_no_recordings(tmp_path):
    write(tmp_path / "test_sent_emo.csv", f"{HEADER}\n1,Why?,Ross,joy,negative,0,0,3,19,a,b\n")
    with pytest.raises(InputError, match="none of the 1 labelled utterances has a recording below"):
        read_release(tmp_path, meld.CORPUS)
