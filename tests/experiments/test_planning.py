"""What an experiment reads and its folds, from a corpus' own folder: IEMOCAP's parts and scripts, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from release_folders_made import EVALUATION_HEADER
from release_folders_made import evaluation
from release_folders_made import write

from emomm.experiments.planning import folds_by_seed
from emomm.experiments.planning import load_data
from emomm.settings.settings import Settings

LABELS = ("neu", "hap", "sad", "ang")
DIALOGUES = ("script01_1", "script01_2", "script02_2", "impro01", "impro02")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Three sessions, each of which plays two scripts, one of them in two parts, and two scenarios: an utterance of
    each label and voice of each."""
    root, rng = tmp_path_factory.mktemp("IEMOCAP_full_release"), np.random.default_rng(0)
    for session in (1, 2, 3):
        place = root / f"Session{session}"
        for dialogue in DIALOGUES:
            name = f"Ses0{session}F_{dialogue}"
            turns = [(f"{name}_{voice}{turn:03}", label) for voice in "FM" for turn, label in enumerate(LABELS)]
            told = "".join(evaluation(turn, label, "3.0, 3.0, 3.0") for turn, label in turns)
            write(place / f"dialog/EmoEvaluation/{name}.txt", f"{EVALUATION_HEADER}\n\n{told}")
            words = "".join(f"{turn} [001.0000-002.0000]: {dialogue} {turn[-4:]}\n" for turn, _ in turns)
            write(place / f"dialog/transcriptions/{name}.txt", words)
            for turn, _ in turns:
                file = place / f"sentences/wav/{name}/{turn}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(file, rng.normal(size=1600) / 10, 16_000)
    return root


def planned(release, leave_out=None, **settings):
    """The data, and by fold the dialogues (session and name) that are tested, and those that are not."""
    corpora = {"IEMO": {"leave_out": leave_out}} if leave_out else {}
    given = {"modality": "audio", "voice_input": "recording", "store_dir": str(release.parent / "store"), "seeds": [1]}
    given |= {"corpora": corpora, "corpus": {"IEMO": str(release)}}
    data = load_data(Settings(**given, **settings), {})
    (folds,) = folds_by_seed(data).values()

    def dialogues(parts):
        ids = np.asarray(data.utterance_ids, str)[data.rows(parts)]
        return sorted({f"{name[4]} {name.split('_', 1)[1].rpartition('_')[0]}" for name in ids.tolist()})

    return data, {fold.name: (dialogues(fold.test), dialogues((*fold.train, *fold.validation))) for fold in folds}


def test_one_part_of_iemocap_alone(release):
    data, folds = planned(release, {"style": ["scripted"]})
    assert len(data.label_ids) == 3 * 2 * 8
    assert folds["session-2"] == (["2 impro01", "2 impro02"], ["1 impro01", "1 impro02", "3 impro01", "3 impro02"])
    data, folds = planned(release, {"style": ["improvised"]})
    assert len(data.label_ids) == 3 * 3 * 8
    assert folds["session-3"][0] == ["3 script01_1", "3 script01_2", "3 script02_2"]


def test_script_disjoint_folds_of_iemocap(release):
    data, folds = planned(release, evaluation_mode="leave_script_out", validation="random")
    names = ("impro01", "impro02", "script01", "script02")
    assert list(folds) == [f"session-{session}-{name}" for session in (1, 2, 3) for name in names]
    assert folds["session-1-script01"] == (
        ["1 script01_1", "1 script01_2"],
        ["2 impro01", "2 impro02", "2 script02_2", "3 impro01", "3 impro02", "3 script02_2"],
    )
    assert folds["session-3-impro02"] == (
        ["3 impro02"],
        [f"{session} {name}" for session in (1, 2) for name in ("impro01", "script01_1", "script01_2", "script02_2")],
    )
    tested = [dialogue for test, _ in folds.values() for dialogue in test]
    assert sorted(tested) == sorted(f"{session} {name}" for session in (1, 2, 3) for name in DIALOGUES)
    assert set(data.train[0].scripts.tolist()) == {f"IEMO/{name}" for name in names}


def test_scripts_told_by_the_ids_of_features_without_a_column(release):
    corpora = {
        "mine": {
            "path": str(release.parent / "mine.csv"),
            "id_pattern": "^(?P<speaker>Ses0(?P<session>\\d)[FM])_(?P<script>[a-z]+\\d+)",
        }
    }
    lines = ["utterance_id,label,transcript"]
    for session in (1, 2):
        for dialogue in ("script01_1", "script02_1", "impro05"):
            lines += [f"Ses0{session}{who}_{dialogue}_{i},{i % 2},words" for who in "FM" for i in range(4)]
    (release.parent / "mine.csv").write_text("\n".join(lines))
    corpora["mine"]["labels"] = ["calm", "loud"]
    settings = Settings(
        train_dataset="mine",
        modality="text",
        corpora=corpora,
        evaluation_mode="leave_script_out",
        seeds=[1],
        validation="random",
    )
    data = load_data(settings, {})
    assert sorted(set(data.train[0].scripts.tolist())) == ["mine/impro05", "mine/script01", "mine/script02"]
    (folds,) = folds_by_seed(data).values()
    assert len(folds) == 6
    with_column = replace(settings, disjoint_by=["script"], evaluation_mode="leave_speaker_out")
    with pytest.raises(Exception, match="leave_script_out"):
        folds_by_seed(load_data(with_column, {}))
