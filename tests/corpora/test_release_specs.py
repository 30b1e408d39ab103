"""Release corpora by name: from a folder to a corpus of recordings, and what their specs promise."""

from dataclasses import replace

import numpy as np
import pytest
import release_names as named
import soundfile
from release_folders_made import write

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.builtin import resolve_specs
from emomm.corpora.loading import load_corpus
from emomm.corpora.release_specs import CAMEO
from emomm.corpora.release_specs import RELEASES
from emomm.corpora.releases.release_folders import RECOGNISED
from emomm.corpora.releases.release_folders import release_labels
from emomm.corpora.releases.sentences import EMODB
from emomm.corpora.shared_labels import FOUR
from emomm.errors import InputError
from emomm.experiments.data import ExperimentData
from emomm.recordings.recorded_corpus import load_recorded_corpus
from emomm.recordings.recordings import read_input
from emomm.settings.settings import Settings

SOME = {
    "RAVDESS": ["Actor_01/03-01-05-01-02-01-01.wav", "A/03-01-03-01-02-01-03.wav", "A/03-01-08-01-02-01-03.wav"],
    "RAVDESS-song": ["Actor_01/03-02-05-01-02-01-01.wav", "Actor_03/03-02-03-01-02-01-03.wav"],
    "CREMA-D": ["AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1091_DFA_HAP_XX.wav", "AudioWAV/1091_DFA_FEA_XX.wav"],
    "TESS": ["OAF_back_angry.wav", "YAF_back_happy.wav", "YAF_back_ps.wav"],
    "SAVEE": ["DC/a01.wav", "KL/h01.wav", "KL/su01.wav"],
    "EmoDB": ["wav/03a01Wa.wav", "wav/16b10Fa.wav", "wav/16b10La.wav"],
    "ESD": ["0011/Angry/0011_000351.wav", "0001/Happy/0001_000701.wav", "0001/Surprise/0001_001401.wav"],
    "nEMO": ["samples/WR0_anger_1.wav", "samples/EB0_happiness_1.wav", "samples/EB0_fear_1.wav"],
    "EMOVO": ["f1/rab-f1-b1.wav", "m3/gio-m3-b1.wav", "m3/dis-m3-b1.wav"],
    "CaFE": ["Colère/Fort/01-C-2-1.wav", "Joie/Fort/12-J-2-1.wav", "Peur/Fort/12-P-2-1.wav"],
    "JL": ["female1_angry_1a_1.wav", "male2_happy_1a_1.wav", "male2_assertive_1a_1.wav"],
    "AESDD": ["anger/a01 (1).wav", "happiness/h01 (6).wav", "fear/f01 (6).wav"],
    "eNTERFACE05": ["subject 1/anger/sentence 1/s1_an_1.wav", "subject 44/x/sentence 1/s44_ha_1.wav"],
    "EmoTale": ["wav/DK_001_A_1.wav", "wav/EN_017_H_1.wav", "wav/EN_017_B_1.wav"],
}  # fmt: skip


def wav(file):
    """A fifth of a second of noise that no other file of the name has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(file.name.encode())).normal(size=3200)
    soundfile.write(file, (noise * 1000).astype(np.int16), 16_000)


@pytest.mark.parametrize("corpus", SOME)
def test_from_recordings(tmp_path, corpus):
    """The usual four classes, of speakers and sessions that are the corpus'; a third recording is of none."""
    for name in SOME[corpus]:
        wav(tmp_path / "release" / name)
    spec = resolve_specs({}, {corpus: str(tmp_path / "release")})[corpus]
    found = load_recorded_corpus(spec, store_dir=tmp_path / "store")
    assert sorted(found.labels[i] for i in found.label_ids) == ["anger", "happy"]
    assert len(set(found.speakers)) == len(set(found.sessions)) == 2
    assert all(name.startswith(f"{spec.speakers_of}/") for name in found.speakers)
    assert any(note.startswith(f"a release folder of {spec.release}") for note in found.notes)
    assert found.audio.length.tolist() == [3200, 3200]
    everything = resolve_specs({corpus: {"classes": "all"}}, {corpus: str(tmp_path / "release")})[corpus]
    assert len(load_recorded_corpus(everything, store_dir=tmp_path / "store")) == len(SOME[corpus])


def test_votes(tmp_path):
    for name in SOME["CREMA-D"]:
        wav(tmp_path / name)
    lines = ["1001_DFA_ANG_XX,N", "1091_DFA_HAP_XX,H:N", "1091_DFA_FEA_XX,S"]
    write(tmp_path / "processedResults/summaryTable.csv", "\n".join(["FileName,VoiceVote", *lines]))
    spec = replace(BUILTIN["CREMA-D-votes"], path=str(tmp_path))
    found = load_recorded_corpus(spec, store_dir=tmp_path / "store")
    told = {name: found.labels[label] for name, label in zip(found.utterance_ids, found.label_ids, strict=True)}
    assert told == {"1001_DFA_ANG_XX": "neutral", "1091_DFA_FEA_XX": "sad"}
    assert set(found.speakers) == {"CREMA-D/1001", "CREMA-D/1091"}


def test_the_folder_of_another_corpus_is_refused(tmp_path):
    for name in named.savee()[:12]:
        wav(tmp_path / name)
    spec = resolve_specs({}, {"EmoDB": str(tmp_path)})["EmoDB"]
    with pytest.raises(InputError, match="corpus EmoDB: .* is a release folder of SAVEE, and not of EmoDB"):
        load_recorded_corpus(spec, store_dir=tmp_path / "store")


def test_a_folder_that_is_no_release_says_how_one_looks(tmp_path):
    wav(tmp_path / "first.wav")
    spec = resolve_specs({}, {"EmoDB": str(tmp_path)})["EmoDB"]
    with pytest.raises(InputError, match=r"corpus EmoDB: .* isn't named as in EmoDB \(wav/03a01Wa.wav\)"):
        load_recorded_corpus(spec, store_dir=tmp_path / "store")


def test_a_table_of_the_user_s_own_is_read(tmp_path):
    """A folder that isn't named as the release, with a table that says the same."""
    wav(tmp_path / "first.wav")
    wav(tmp_path / "second.wav")
    write(tmp_path / "metadata.csv", "file,label,speaker,session\nfirst.wav,anger,03,1\nsecond.wav,sadness,08,1\n")
    found = load_recorded_corpus(replace(BUILTIN["EmoDB"], path=str(tmp_path)), store_dir=tmp_path / "store")
    assert [found.labels[label] for label in found.label_ids] == ["anger", "sad"]


@pytest.mark.parametrize("spec", [*RELEASES, *CAMEO], ids=lambda spec: spec.name)
def test_specs_say_who_and_how(spec):
    assert spec.licence_url.startswith("http") and spec.citation and spec.caveat.startswith(f"{spec.name} is ")
    assert spec.language != "not stated" and set(spec.labels) <= set(FOUR)
    if spec.release:
        assert spec.release in RECOGNISED
        assert set(release_labels(spec.release)) <= {*spec.label_map, *spec.dropped_labels}


def test_people_of_two_corpora_are_the_same():
    assert BUILTIN["EmoDB"].speakers_of == BUILTIN["emodb"].speakers_of
    assert BUILTIN["CAMEO-crema_d"].speakers_of == BUILTIN["CREMA-D-votes"].speakers_of == "CREMA-D"
    assert BUILTIN["RAVDESS-song"].speakers_of == BUILTIN["RAVDESS"].speakers_of


def test_words_of_a_release_without_its_voices(tmp_path):
    """A model of words needs no recordings to be decoded; one of the voice is told how to take them."""
    named.touch(tmp_path, SOME["EmoDB"])
    spec = resolve_specs({}, {"EmoDB": str(tmp_path)})["EmoDB"]
    found = load_corpus(spec)
    assert found.transcripts == ["Der Lappen liegt auf dem Eisschrank."] + [EMODB["b10"]]
    assert not found.has_audio and found.notes[0].startswith("it is a release folder, of which voice_input: recording")
    with pytest.raises(InputError, match="EmoDB has no voice features; set voice_input to recording, or"):
        ExperimentData(Settings(name="a", train_dataset="EmoDB", modality="audio"), [found], [])


def test_extraction_takes_what_the_names_say(tmp_path):
    named.touch(tmp_path, named.ravdess(actors=[2]))
    found = read_input(str(tmp_path))
    row = dict(zip(found.columns.column_names, (each[0].as_py() for each in found.columns.columns), strict=True))
    assert found.columns.num_rows == 60 and "a release folder of RAVDESS, whose name is the corpus'" in found.notes
    assert row["utterance_id"] == "03-01-01-01-01-01-02" and row["label"] == "neutral" and row["gender"] == "f"
    assert (
        row["transcript"] == "Kids are talking by the door" and row["session"] == "1" and row["intensity"] == "normal"
    )
