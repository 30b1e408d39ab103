"""Protocols as data from the recipe to everything that shows the scores: each test part apart, what leaks said."""

import json
import re

import numpy as np
import pytest
from small_jobs import assert_same_run
from small_jobs import write_recipe

from emomm.cli import main as cli
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.evaluation.predictions import read_predictions
from emomm.experiments import job
from emomm.experiments.final_model import train_final_model
from emomm.reporting.findings import cross_corpus
from emomm.reporting.report_data import read_report
from emomm.reporting.score_tables import results_table
from emomm.reporting.words import caveats
from emomm.reporting.words import protocol_text
from emomm.settings.recipe import load_recipe
from emomm.sharing.hub import gather
from emomm.sharing.hub import model_folder
from emomm.sharing.uploading import Push

CLASSES = ["neutral", "happy", "sad", "anger"]
SPLITS = ["Train"] * 24 + ["Development"] * 8 + ["Test1"] * 8 + ["Test2"] * 8 + ["Test3"] * 8
FIELDS = {
    "train_dataset": "POD", "modality": "audio", "validation": "random", "use_curriculum_learning": False,
    "use_difficulty_scaling": False, "use_speaker_disentanglement": False, "curriculum_epochs": 0, "num_epochs": 1,
}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """A recipe of a corpus as MSP-Podcast's, with two speakers in a part: `written(name, rows={column: values})`."""

    def write(name="a", rows=None, corpora=None, **fields):
        drawn = np.random.default_rng(0).normal(size=(56, 4)).round(3)
        columns = {
            "utterance_id": [f"pod-{i}" for i in range(56)],
            "speaker": [str(i // 4) for i in range(56)],
            "emotion": [CLASSES[i % 4] for i in range(56)],
            "split": SPLITS,
            **{name: [3.0] * 56 for name in ("valence", "arousal", "dominance")},
            "text": [f"Sentence {i % 30}." for i in range(56)],
            "audio_features": (drawn + np.eye(4)[np.arange(56) % 4]).tolist(),
            **(rows or {}),
        }
        path = tmp_path / f"{name}.data.jsonl"
        lines = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        spec = {"path": str(path), "labels": CLASSES}
        given = {**FIELDS, "corpora": {"POD": spec, **(corpora or {})}, "evaluation_mode": "published", **fields}
        return load_recipe(write_recipe(tmp_path, name, **given))

    return write


def results_of(recipe):
    results = json.loads((recipe.output_dir / "results.json").read_text())
    return results, results["experiments"][0]


TESTS = ["POD:test1", "POD:test2", "POD:test3"]


def test_three_test_parts_are_apart_wherever_scores_are(written, tmp_path):
    recipe = written()
    outcome = job.run(recipe)
    assert outcome.failed == []
    results, entry = results_of(recipe)
    (run,) = entry["runs"]
    assert list(run["test"]) == list(entry["summary"]) == list(entry["statistics"]) == TESTS
    assert [run["test"][name]["n"] for name in TESTS] == [8, 8, 8]
    assert run["parts"]["test"]["parts"] == dict.fromkeys(TESTS, 8)
    assert [run["parts"][part]["rows"] for part in ("train", "validation", "test")] == [24, 8, 24]
    assert entry["selection"]["validation"] == "protocol published" and "overlap" not in entry
    assert list(entry["floors"]["corpora"]) == TESTS and list(entry["floors"]["corpora"][TESTS[0]])
    lines = [re.split(r" {2,}", line)[1] for line in outcome.text.splitlines() if re.match(r"small( !)? {2,}", line)]
    assert lines == TESTS
    # Sentences 0 to 25 are said again in Test2 and Test3 (rows 30 to 55): those of rows 0 to 31 were trained on.
    unseen = [entry["statistics"][name].get("unseen_sentences") for name in TESTS]
    known = {f"Sentence {i % 30}." for i in range(32)}
    for each, first in zip(unseen, (32, 40, 48), strict=True):
        rows = [i for i in range(first, first + 8) if f"Sentence {i % 30}." not in known]
        assert each["rows"] == len(rows) == 0 and each["of"] == 8 and each["uar"] is None
    data = read_report([recipe.output_dir])
    assert data.tested_corpora == TESTS and cross_corpus(data) is None
    assert [row[1] for row in results_table(data).rows] == TESTS
    (said, *_) = protocol_text(data)
    assert said.startswith("By published: The corpus' own split: its training part is trained on")
    assert job.run(recipe).text == outcome.text  # kept, not trained again
    final = train_final_model(*job.plan_experiment(recipe.experiments[0], recipe.output_dir))
    assert json.loads((final / "metrics.json").read_text())["parts"]["train"]["rows"] == 56


def test_scores_on_unseen_sentences_are_those_of_their_rows(written):
    """Test1 repeats four sentences of the training part; Test2 none."""
    text = [f"sentence {i}" for i in range(56)]
    text[32:36] = ["SENTENCE  0!", "Sentence 1", "sentence: 2", "sentence 3"]
    recipe = written(rows={"text": text})
    outcome = job.run(recipe)
    _, entry = results_of(recipe)
    found = entry["statistics"]["POD:test1"]["unseen_sentences"]
    assert (found["rows"], found["of"], found["classes"]) == (4, 8, 4)
    assert "unseen_sentences" not in entry["statistics"]["POD:test2"]
    file = recipe.output_dir / "small" / "seed-1" / "published" / "predictions.parquet"
    rows = read_predictions(file).by_corpus()["POD:test1"]
    assert rows.sentence_trained_on.tolist() == [True] * 4 + [False] * 4
    right = (rows.predictions == rows.references)[4:]
    assert found["uar"]["pooled"] == pytest.approx(right.mean())  # one row of each class
    assert f"small: UAR on unseen sentences {right.mean():.3f} " in outcome.text
    assert "(4 of the 8 test rows of POD:test1)." in outcome.text
    table = results_table(read_report([recipe.output_dir]))
    place = table.columns.index("UAR, unseen sentences")
    assert [str(row[place])[:5] for row in table.rows] == [f"{right.mean():.3f}", "–", "–"]


def leaky():
    """Speakers 0 and 1 of the training part are tested too, and a recording of it under another id."""
    speakers = [str(i // 4) for i in range(56)]
    speakers[32:36], speakers[40:44] = ["0"] * 4, ["1"] * 4
    features = np.random.default_rng(1).normal(size=(56, 4)).round(3)
    features[50] = features[2]
    return {"speaker": speakers, "audio_features": features.tolist()}


def test_what_leaks_is_refused_before_training_or_said_by_all_that_shows_scores(written, capsys):
    recipe = written(rows=leaky())
    with pytest.raises(InputError, match="fold published leaks: 2 of 6 tested speakers .POD/0, POD/1.") as error:
        job.run(recipe, dry_run=True)
    assert "recordings of 1 test rows, the first of them row 50 ('pod-50' of POD)" in str(error.value)
    assert cli.main(["run", str(recipe.path), "--dry_run"]) == 2 and "leaks" in capsys.readouterr().err
    assert not recipe.output_dir.exists()
    allowed = written(rows=leaky(), allow_overlap=True)
    outcome = job.run(allowed)
    assert outcome.failed == []
    results, entry = results_of(allowed)
    assert entry["overlap"] == [
        "tested speakers are trained on too (2 of the 6 tested speakers of all runs): the scores are of known "
        "speakers, higher than on new ones",
        "tested recordings are trained on too, under another id (1 of the 24 test rows of all runs): the scores are "
        "too high",
    ]
    for said in entry["overlap"]:
        assert f"§ small: {said}." in outcome.text.splitlines()
    assert outcome.text.count("POD:test1 §") == 1
    assert results["protocol"][0].endswith(
        "; tested speakers that are trained on too: 2; test rows whose recording is trained on too: 1"
    )
    data = read_report([allowed.output_dir])
    assert all(f"small: {said}." in caveats(data) for said in entry["overlap"])
    table = results_table(data)
    assert [row[1] for row in table.rows] == [f"{name} §" for name in TESTS]
    assert all(f"§ small: {said}." in table.note for said in entry["overlap"])
    # The speakers' training rows dropped: nothing leaks, and it is said how many.
    dropped = written("b", rows=leaky(), disjoint_by=["speaker", "recording"])
    outcome = job.run(dropped)
    _, entry = results_of(dropped)
    assert entry["runs"][0]["parts"]["train"]["dropped"] == {"speaker": 8, "recording": 1}
    assert entry["runs"][0]["parts"]["train"]["rows"] == 16 and "overlap" not in entry
    assert "(rows of all runs: speaker 8, recording 1)" in outcome.text and "§" not in outcome.text


def test_the_card_has_each_test_part_and_what_leaks(written):
    recipe = written(rows=leaky(), allow_overlap=True)
    job.run(recipe)
    wanted = Push(recipe.output_dir, "small", "someone/feelings")
    card = (gather(wanted, model_folder(wanted)) / "README.md").read_text(encoding="utf-8")
    table = [line.split(" | ")[0] for line in card.splitlines() if line.startswith("| POD:")]
    assert [f"| {name} §" for name in TESTS] == table[:3]
    assert "Known speakers.** Tested speakers are trained on too (2 of the 6 tested speakers of all runs)" in card
    assert "Known recordings.** Tested recordings are trained on too, under another id (1 of the 24" in card
    assert "no tested speaker is trained on" not in card
    assert (
        "By published: The corpus' own split" in card
        and "tested on rows of POD:test1, POD:test2 and POD:test3" in card
    )


def test_a_changed_split_is_another_run(written):
    job.run(written())
    moved = [*SPLITS[:20], *["Development"] * 4, *SPLITS[24:]]
    with pytest.raises(InputError, match="other settings or data .rows of the fold was .*, now "):
        job.run(written(rows={"split": moved}))
    assert job.run(written()).failed == []


def test_a_manifest_goes_on_to_the_same_after_an_interruption(written, tmp_path, monkeypatch):
    lines = [f"pod-{i},{fold},{'test' if i // 28 == fold else 'train'}" for fold in (0, 1) for i in range(56)]
    (tmp_path / "folds.csv").write_text("utterance_id,fold,part\n" + "\n".join(lines) + "\n")
    fields = {"evaluation_mode": "manifest", "manifest": "folds.csv", "seeds": [1, 2]}
    whole, cut = written("a", **fields), written("b", **fields, save_seconds=0)
    assert job.run(whole).failed == []
    step = CurriculumTrainer.training_step

    def interrupted(trainer, *args):
        if trainer.state.global_step == 3:
            raise KeyboardInterrupt
        return step(trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(CurriculumTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            job.run(cut)
    assert job.run(cut).failed == []
    _, entry = results_of(cut)
    assert [(run["seed"], run["fold"]) for run in entry["runs"]] == [
        (1, "fold-0"), (1, "fold-1"), (2, "fold-0"), (2, "fold-1"),
    ]  # fmt: skip
    assert entry["statistics"]["POD"]["rows"] == 56
    for run in entry["runs"]:
        place = f"small/seed-{run['seed']}/{run['fold']}"
        assert_same_run(whole.output_dir / place, cut.output_dir / place)


def test_three_corpora_each_left_out(written, tmp_path):
    other = {"generator": {"rows": 24, "speakers": 2, "sessions": 2, "audio_dim": 4, "frames": [1, 2]}}
    corpora = {"X": other, "Y": {"generator": {**other["generator"], "seed": 5}}}
    recipe = written(corpora=corpora, train_dataset=["POD", "X", "Y"], evaluation_mode="leave_corpus_out")
    assert job.run(recipe).failed == []
    _, entry = results_of(recipe)
    assert {name: said["rows"] for name, said in entry["statistics"].items()} == {"POD": 56, "X": 24, "Y": 24}
    assert [run["parts"]["train"]["corpora"] for run in entry["runs"]] == [["X", "Y"], ["POD", "Y"], ["POD", "X"]]
    matrix = cross_corpus(read_report([recipe.output_dir]))
    assert matrix.trained == ["the others of X + Y + POD"] and not matrix.within.any()
