"""Corpora whose file names carry the labels: whole releases as their authors name them."""

import math
from collections import Counter

import pytest
import release_names as named
from release_folders_made import write

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.releases import file_names
from emomm.corpora.releases.layouts import LAYOUTS
from emomm.corpora.releases.release_folders import read_release
from emomm.corpora.releases.release_folders import release_kind

# Corpus -> names of a whole release, rows of it, how many of each label: as its paper or EmoBox' list has them.
WHOLE = {
    "RAVDESS": (named.ravdess, 1440, {"neutral": 96, "calm": 192, "happy": 192, "sad": 192, "angry": 192,
                                      "fearful": 192, "disgust": 192, "surprised": 192}),
    "RAVDESS-song": (lambda: named.ravdess("02", 6, [n for n in range(1, 25) if n != 18]), 1012,
                     {"neutral": 92, "calm": 184, "happy": 184, "sad": 184, "angry": 184, "fearful": 184}),
    "CREMA-D": (named.crema_d, 7441, None),
    "TESS": (named.tess, 2800, dict.fromkeys(
        ("angry", "disgust", "fear", "happy", "neutral", "pleasant surprise", "sad"), 400)),
    "SAVEE": (named.savee, 480, {"neutral": 120} | dict.fromkeys(
        ("anger", "disgust", "fear", "happiness", "sadness", "surprise"), 60)),
    "EmoDB": (named.emodb, 535, None),
    "EMOVO": (named.emovo, 588, dict.fromkeys(
        ("disgust", "joy", "neutral", "fear", "anger", "surprise", "sadness"), 84)),
    "CaFE": (named.cafe, 936, {"neutral": 72} | dict.fromkeys(
        ("anger", "disgust", "happiness", "fear", "surprise", "sadness"), 144)),
    "JL": (named.jl, 2400, None),
    "AESDD": (named.aesdd, 604, {"anger": 121, "disgust": 122, "fear": 120, "happiness": 119, "sadness": 122}),
    "eNTERFACE05": (named.enterface, 1287, {"happiness": 212} | dict.fromkeys(
        ("anger", "disgust", "fear", "sadness", "surprise"), 215)),
    "EmoTale": (named.emotale, 800, dict.fromkeys(("anger", "boredom", "happiness", "neutral", "sadness"), 160)),
}  # fmt: skip

# Corpus, a path -> what its row says: id, speaker, session, label, gender, sentence, intensity, language, transcript.
ROWS = [
    ("RAVDESS", "Actor_12/03-01-06-01-02-01-12.wav",
     ("03-01-06-01-02-01-12", "12", "6", "fearful", "f", "02", "normal", "en", "Dogs are sitting by the door")),
    ("RAVDESS-song", "03-02-05-02-01-02-23.flac",
     ("03-02-05-02-01-02-23", "23", "12", "angry", "m", "01", "strong", "en", "Kids are talking by the door")),
    ("CREMA-D", "AudioMP3/1008_IEO_DIS_MD.mp3",
     ("1008_IEO_DIS_MD", "1008", "2", "disgust", "f", "ieo", "medium", "en", "It's eleven o'clock")),
    ("TESS", "OAF_neutral/OA_bite_neutral.wav",
     ("OA_bite_neutral", "OAF", "OAF", "neutral", "f", "bite", "", "en", "Say the word bite")),
    ("TESS", "YAF_pleasant_surprised/YAF_back_ps.wav",
     ("YAF_back_ps", "YAF", "YAF", "pleasant surprise", "f", "back", "", "en", "Say the word back")),
    ("SAVEE", "AudioData/KL/sa07.wav", ("KL_sa07", "KL", "KL", "sadness", "m", "sa07", "", "en", None)),
    ("SAVEE", "ALL/JK_n30.wav", ("JK_n30", "JK", "JK", "neutral", "m", "n30", "", "en", None)),
    ("EmoDB", "wav/16b10Td.wav",
     ("16b10Td", "16", "5", "sadness", "f", "b10", "", "de",
      "Die wird auf dem Platz sein, wo wir sie immer hinlegen.")),
    ("EmoDB", "FLAC/08A05WA.FLAC",
     ("08A05WA", "08", "1", "anger", "f", "a05", "", "de",
      "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.")),
    ("ESD", "0015/Surprise/test/0015_001425.wav",
     ("0015_001425", "0015", "6", "surprise", "f", "en025", "", "en", None)),
    ("nEMO", "samples/WR0_surprised_64.wav",
     ("WR0_surprised_64", "WR0", "WR0", "surprised", "", "64", "", "pl", None)),
    ("EMOVO", "m2/rab-m2-d1.wav", ("rab-m2-d1", "m2", "m2", "anger", "m", "d1", "", "it", "Sabato sera cosa farà?")),
    ("CaFE", "Joie/Fort/11-J-2-4.aiff",
     ("11-J-2-4", "11", "6", "happiness", "m", "4", "strong", "fr", "Quatre vieilles truies éléphantesques")),
    ("JL", "JL(wav+txt)/female2_assertive_13a_2.wav",
     ("female2_assertive_13a_2", "female2", "female2", "assertive", "f", "13a", "", "en", None)),
    ("AESDD", "fear/f10 (01).wav", ("f10 (01)", "1", "1", "fear", "", "10", "", "el", None)),
    ("AESDD", "sadness/s01 (5)b.wav", ("s01 (5)b", "5", "5", "sadness", "", "01", "", "el", None)),
    ("eNTERFACE05", "subject 11/anger/sentence 2/s12_an_2.avi",
     ("s11_an_2", "11", "3", "anger", "", "an2", "", "en", None)),
    ("eNTERFACE05", "subject 16/surprise/sentence 3/s16_su_3avi.avi",
     ("s16_su_3", "16", "4", "surprise", "", "su3", "", "en", None)),
    ("eNTERFACE05", "s_3_fe_5.wav", ("s3_fe_5", "3", "1", "fear", "", "fe5", "", "en", None)),
    ("EmoTale", "wav/dk_019_S_2.WAV",
     ("dk_019_S_2", "019", "019", "sadness", "m", "2", "", "da",
      "Det sorte ark papir er placeret deroppe ved siden af tømmerstykket.")),
    ("EmoTale", "wav/EN_004_H_5.wav",
     ("EN_004_H_5", "004", "004", "happiness", "m", "5", "", "en", "In seven hours it will be morning.")),
]  # fmt: skip


@pytest.mark.parametrize("corpus", WHOLE)
def test_whole_release(tmp_path, monkeypatch, corpus):
    """Of thousands of files, not made: `test_file_names` reads folders."""
    make, rows, labels = WHOLE[corpus]
    monkeypatch.setattr(file_names, "_recordings", lambda folder: (f"{folder}/{name}" for name in make()))
    assert release_kind(tmp_path) == corpus
    release = read_release(tmp_path)
    assert release.corpus == corpus and len(release.rows) == rows
    assert any(note.startswith("the whole release: ") for note in release.notes), release.notes
    told = Counter(row["label"] for row in release.rows)
    assert set(told) == set(LAYOUTS[corpus].labels.values())
    assert labels is None or told == labels
    speakers = {row["speaker"] for row in release.rows}
    assert speakers == set(LAYOUTS[corpus].speakers)
    assert {row["session"] for row in release.rows} == set(LAYOUTS[corpus].sessions.values()) - {"unknown"}
    # A speaker is in one session.
    assert len({(row["speaker"], row["session"]) for row in release.rows}) == len(speakers)


@pytest.mark.parametrize(("corpus", "path", "told"), ROWS)
def test_rows(tmp_path, corpus, path, told):
    named.touch(tmp_path, [path])
    (row,) = read_release(tmp_path, corpus).rows
    keys = ("utterance_id", "speaker", "session", "label", "gender", "sentence", "intensity", "language", "transcript")
    assert tuple(row[key] for key in keys) == told
    assert row["path"] == tmp_path / path
    assert math.isnan(row["valence"])


@pytest.mark.parametrize("corpus", WHOLE)
def test_capitals_what_is_missing_and_what_is_more(tmp_path, monkeypatch, corpus):
    """The names in capitals, one recording less, and two that are nobody's: the same rows but for that one."""
    layout, names = LAYOUTS[corpus], WHOLE[corpus][0]()
    monkeypatch.setattr(file_names, "_recordings", lambda folder: (f"{folder}/{name}" for name in names))
    plain = read_release(tmp_path, corpus).rows
    gone = plain[len(plain) // 2]
    shouted = [name.upper() for name in names if not f"{tmp_path}/{name}" == str(gone["path"])]
    shouted += ["README.WAV", f"mine/{names[0].rpartition('/')[2].rpartition('.')[0]} (copy).wav"]
    monkeypatch.setattr(file_names, "_recordings", lambda folder: (f"{folder}/{name}" for name in shouted))
    release = read_release(tmp_path, corpus)
    told = ("speaker", "session", "label", "gender", "sentence", "intensity", "transcript", "style")

    def counted(rows):
        return Counter(tuple(row[key] for key in told) for row in rows)

    assert counted(plain) - counted(release.rows) == counted([gone]) and len(release.rows) == len(plain) - 1
    assert f"not the whole release: {layout.files - 1} of {layout.files} recordings" in release.notes
    (said,) = (note for note in release.notes if "aren't named as" in note)
    assert said.startswith(f"2 recordings aren't named as {corpus}'s and left out (") and " (copy).wav" in said


def test_esd_parts_are_numbered(tmp_path):
    named.touch(tmp_path, named.esd([4, 20]))
    release = read_release(tmp_path)
    assert release.corpus == "ESD"
    assert release.notes[1].startswith("not the whole release: 3500 of 35000 recordings; none of speaker 0001, 0002")
    assert Counter(row["split"] for row in release.rows) == {"evaluation": 200, "test": 300, "train": 3000}
    by_folder = {row["path"].parent.name.lower() == row["label"] for row in release.rows}
    assert by_folder == {True}
    assert {row["language"] for row in release.rows if row["speaker"] == "0004"} == {"zh"}
    assert {row["session"] for row in release.rows} == {"1", "10"}


def test_two_women_are_never_a_session_of_a_pair():
    for corpus in ("RAVDESS", "CaFE", "ESD", "EmoDB"):
        layout = LAYOUTS[corpus]
        sessions: dict[str, set[str]] = {}
        for speaker, session in layout.sessions.items():
            sessions.setdefault(session, set()).add(layout.speakers.get(speaker, "m"))
        assert set(map(frozenset, sessions.values())) == {frozenset("fm")}, corpus


def test_emodb_has_the_sessions_of_the_sample_corpus():
    from emomm.corpora.loading import load_corpus

    sample = load_corpus(BUILTIN["emodb"])
    pairs = {tuple(sorted(set(sample.speakers[sample.sessions == each]))) for each in set(sample.sessions)}
    ours: dict[str, list[str]] = {}
    for speaker, session in LAYOUTS["EmoDB"].sessions.items():
        ours.setdefault(session, []).append(f"{BUILTIN['EmoDB'].speakers_of}/{speaker}")
    assert {tuple(sorted(pair)) for pair in ours.values()} == pairs


def test_crema_d_knows_48_men_and_43_women():
    assert Counter(LAYOUTS["CREMA-D"].speakers.values()) == {"m": 48, "f": 43}


def test_uncut_and_twice_named_recordings_of_enterface(tmp_path):
    named.touch(tmp_path, named.enterface())
    release = read_release(tmp_path)
    note = "6 recordings of subject 6 hold all five sentences, uncut: left out (s6_an.avi, s6_di.avi, s6_fe.avi, ...)"
    assert note in release.notes
    ids = [row["utterance_id"] for row in release.rows]
    assert len(set(ids)) == len(ids) and "s11_an_1" in ids and "s12_an_1" in ids
    assert Counter(row["speaker"] for row in release.rows)["23"] == 27


def test_crema_d_without_sound_is_left_out(tmp_path):
    named.touch(tmp_path, ["AudioWAV/1076_MTI_SAD_XX.wav", "AudioWAV/1076_MTI_FEA_XX.wav"])
    release = read_release(tmp_path, "CREMA-D")
    assert [row["utterance_id"] for row in release.rows] == ["1076_MTI_FEA_XX"]
    assert "1076_MTI_SAD_XX.wav is left out: there is no sound in it" in release.notes


def test_songs_beside_speech(tmp_path):
    named.touch(tmp_path, [*named.ravdess(actors=[1, 2]), *named.ravdess("02", 6, [1, 2])])
    assert release_kind(tmp_path) == "RAVDESS"
    assert len(read_release(tmp_path, "RAVDESS").rows) == 120
    assert len(read_release(tmp_path, "RAVDESS-song").rows) == 88


def test_pictures_of_ravdess_are_no_recordings(tmp_path):
    stems = [name.rsplit("/", 1)[1][3:-4] for name in named.ravdess(actors=[1])]
    named.touch(
        tmp_path, [f"Video_Speech_Actor_01/Actor_01/{kind}-{stem}.mp4" for kind in ("01", "02") for stem in stems]
    )
    release = read_release(tmp_path, "RAVDESS")
    assert len(release.rows) == 60 and all(row["utterance_id"].startswith("01-") for row in release.rows)
    named.touch(tmp_path, named.ravdess(actors=[1]))
    assert all(row["utterance_id"].startswith("03-") for row in read_release(tmp_path, "RAVDESS").rows)


def test_table_of_the_user_s_own_comes_first(tmp_path):
    named.touch(tmp_path, named.emodb())
    write(tmp_path / "Metadata.csv", "file,label,speaker\nwav/03a01Wa.wav,x,1\n")
    assert release_kind(tmp_path) is None
