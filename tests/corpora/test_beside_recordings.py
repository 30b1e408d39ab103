"""Tables and texts of releases beside recordings whose names say the rest."""

import math

import pytest
import release_names as named
from release_folders_made import write

from emomm.corpora.releases.release_folders import read_release
from emomm.errors import InputError


def by_id(release):
    return {row["utterance_id"]: row for row in release.rows}


def test_crema_d_votes(tmp_path):
    stems = ["1001_DFA_ANG_XX", "1001_DFA_HAP_XX", "1002_IEO_SAD_LO", "1003_TAI_FEA_XX"]
    named.touch(tmp_path, [f"AudioWAV/{stem}.wav" for stem in stems])
    assert (
        "no listeners' votes: processedResults/summaryTable.csv isn't there" in read_release(tmp_path, "CREMA-D").notes
    )
    write(
        tmp_path / "processedResults/summaryTable.csv",
        '\ufeff"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\r\n'
        '"1","1001_DFA_ANG_XX","N","70.1","A","80","A","72"\r\n'
        '"2","1001_DFA_HAP_XX","H:N","60:55","H","80","H","72"\r\n'
        '"3","1002_IEO_SAD_LO","S","60","S","80","N:S","72:60"\r\n',
    )
    release = read_release(tmp_path, "CREMA-D")
    rows = by_id(release)
    assert [rows[stem]["voice_vote"] for stem in stems] == ["neutral", "no agreement", "sad", None]
    assert [rows[stem]["face_vote"] for stem in stems] == ["anger", "happy", "sad", None]
    assert rows["1002_IEO_SAD_LO"]["multimodal_vote"] == "no agreement"
    assert [rows[stem]["label"] for stem in stems] == ["anger", "happy", "sad", "fear"]
    assert "1 recordings are not in summaryTable.csv" in release.notes


def test_nemo(tmp_path):
    named.touch(tmp_path, ["samples/WR0_surprised_64.wav", "samples/EB0_anger_1.wav", "samples/EB0_anger_2.WAV"])
    write(
        tmp_path / "data.tsv",
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        'WR0_surprised_64.wav\tsurprised\tUcho wykrywa "dźwięki".\tucho wykrywa dźwięki\tWR0\tmale\t23\n'
        "EB0_anger_1.wav\tanger\tTak.\ttak\tEB0\tfemale\t24\n",
    )
    release = read_release(tmp_path, "nEMO")
    rows = by_id(release)
    first = rows["WR0_surprised_64"]
    assert (first["transcript"], first["gender"], first["age"]) == ('Ucho wykrywa "dźwięki".', "m", "23")
    assert rows["EB0_anger_2"]["transcript"] is None and rows["EB0_anger_1"]["gender"] == "f"
    assert release.notes[1] == "not the whole release: 3 of 4481 recordings"
    assert release.notes[-1] == "1 recordings are not in data.tsv"
    write(tmp_path / "data.tsv", "file\ttext\na\tb\n")
    with pytest.raises(InputError, match="data.tsv, line 1: no column file_id, raw_text; columns there: file, text"):
        read_release(tmp_path, "nEMO")


def test_emotale_ratings_are_means_of_the_annotators(tmp_path):
    named.touch(tmp_path, named.emotale()[:3])
    header = "file,a1_A,a1_V,a1_D,a1_cat,a2_A,a2_V,a2_D,a2_cat,gt_emotion\n"
    file = write(tmp_path / "annotations.csv", f"{header}DK_001_A_1.wav,4.0,1.5,4.5,A,5.0,2.5,,A,A\n")
    release = read_release(tmp_path, "EmoTale")
    rated, unrated = release.rows[0], release.rows[1]
    assert (rated["valence"], rated["arousal"], rated["dominance"]) == (2.0, 4.5, 4.5)
    assert math.isnan(unrated["valence"])
    assert "2 recordings are not in annotations.csv" in release.notes
    write(file, f"{header}DK_001_A_1.wav,4.0,7,4.5,A,5.0,2.5,,A,A\n")
    with pytest.raises(InputError, match=r"annotations.csv, line 2: '7' is no rating from 1 to 5"):
        read_release(tmp_path, "EmoTale")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_esd_texts_in_their_encodings(tmp_path, encoding):
    named.touch(tmp_path, ["0003/Angry/0003_000351.wav", "0003/Angry/0003_000352.wav"])
    write(
        tmp_path / "0003/0003.txt",
        "0003_000001\t打远一看。\t中立\r\n0003_000351\t打远一看，真好。\t生气\r\n",
        encoding,
    )
    first, second = read_release(tmp_path, "ESD").rows
    assert first["transcript"] == "打远一看，真好。" and second["transcript"] is None


def test_jl_texts(tmp_path):
    named.touch(tmp_path, ["JL(wav+txt)/male1_angry_1a_1.wav", "JL(wav+txt)/male1_angry_1a_2.wav"])
    write(tmp_path / "JL(wav+txt)/male1_angry_1a_1.txt", "Carl leaps into a jeep.\n")
    release = read_release(tmp_path, "JL")
    assert [row["transcript"] for row in release.rows] == ["Carl leaps into a jeep.", None]
    assert release.notes[-1] == "1 rows have no transcript"
