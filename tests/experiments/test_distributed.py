"""Two real processes (gloo): the same order on both, also after a resume; evaluation as by one; a whole small job."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT
from finished_job import write_job_recipe
from local_hub import LocalHub
from made_recordings import recorded_recipe
from made_recordings import still_copy
from safetensors.torch import load_file
from small_jobs import SMALL
from small_jobs import write_recipe
from test_curriculum_trainer import LABELS
from test_curriculum_trainer import LOSSES
from test_curriculum_trainer import ROWS
from test_curriculum_trainer import SPEAKERS
from test_curriculum_trainer import new_trainer
from test_curriculum_trainer import rows
from test_curriculum_trainer import weighted_trainer
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import tiny_speech_encoder
from two_processes import STOPPED_AFTER
from two_processes import WEIGHTED

from emomm.curriculum.order import epoch_batches
from emomm.curriculum.order import epoch_order
from emomm.curriculum.pool import Curriculum
from emomm.experiments import job
from emomm.settings.recipe import load_recipe

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
TOKEN = "hf_0123456789"
# A curriculum of a user's: rows of odd numbers by what the model is sure of; a protocol whose folds are those of
# loso; and ones that no two processes agree on.
OWN = {"curriculum_type": "odd_rows", "evaluation_mode": "sessions"}
MINE = """
import os
import numpy as np
from emomm import Split, register_curriculum, register_protocol

@register_curriculum("odd_rows", needs=["confidence"])
def odd_rows(rows):
    order = rows.random_order() if rows.confidence is None else rows.descending("confidence")
    return order[order % 2 == 1][: 5 + rows.epoch]

@register_curriculum("of_a_process")
def of_a_process(rows):
    return [int(os.environ["RANK"])]

@register_protocol("sessions")
def sessions(rows):
    "As loso does it."
    for session in np.unique(rows.sessions):
        yield Split(f"session-{session}", rows.sessions != session, rows.sessions == session)

@register_protocol("folds_of_a_process")
def folds_of_a_process(rows):
    "Other folds in each process."
    return list(sessions(rows))[: 1 + int(os.environ["RANK"])]
"""


def tuned_recipe(folder, name, **fields):
    """Both encoders tuned on recordings, in random windows; nothing is drawn that hangs on the process."""
    tuned = {f"{of}_tuning": "lora" for of in ("speech", "text")} | {"text_tuned_layers": 1}
    still = {"max_seconds": 0.2, "dropout": 0.0, "modality_dropout": 0.0, "fusion_type": "concat"}
    rates = {"learning_rate": 1e-3, "speech_learning_rate": 1e-3, "text_learning_rate": 1e-3}
    named = {
        "speech_model_name": still_copy(tiny_speech_encoder(folder / "drops-speech", "wavlm"), folder / "speech"),
        "text_model_name": still_copy(tiny_encoder(folder / "drops-words", hidden=16), folder / "words"),
    }
    return recorded_recipe(folder, name, **named, **tuned, **still, **rates, evaluation_mode="loso", **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes have left what they saw, and a job."""
    folder = tmp_path_factory.mktemp("two")
    recipe = write_recipe(
        folder,
        text_model_name=tiny_encoder(folder / "encoder", hidden=16),
        fusion_type="adaptive",
        curriculum_module="mine.py",
        protocol_module="mine.py",
        experiments=[{"name": "both", "save_seconds": 0}, {"name": "words", "modality": "text", **OWN}],
    )
    (folder / "mine.py").write_text(MINE)
    (folder / "push").mkdir()
    to_push = write_job_recipe(folder / "push", seeds=[3])
    environment = {name: value for name, value in os.environ.items() if name != "ACCELERATE_USE_CPU"}
    recipes = (recipe, to_push, tuned_recipe(folder, "tuned", batch_size=2))
    with LocalHub(TOKEN) as hub:
        environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "hf")}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [*LAUNCHER, str(ROOT / "tests" / "two_processes.py"), str(folder), *map(str, recipes)],
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr[-5000:]
    (folder / "stderr.txt").write_text(done.stderr)
    pushed = {"routes": [route for _, route in hub.log], "files": sorted(hub.repositories["me/both"].files)}
    (folder / "hub.json").write_text(json.dumps(pushed))
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    """What each of the two saw."""
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def in_turn(ranks, name):
    """The batches of all steps as one list: those of rank 0 and rank 1 in turn."""
    return [batch for pair in zip(*(rank[name]["rows"] for rank in ranks), strict=True) for batch in pair]


def test_there_are_two(ranks):
    for rank in ranks:
        assert (rank["world"], rank["trainer_world"], rank["backend"], rank["exit"]) == (2, 2, "gloo", 0)


def test_ranks_take_the_batches_of_one_order_in_turn(ranks):
    """Epoch 0 in full; the others, whose pools depend on the model, as passes over a pool of the right size."""
    batches = in_turn(ranks, "whole")
    assert len(batches) == 3 * ROWS  # 13 steps of 2 batches of 1 row
    curriculum = Curriculum("model_confidence", "sqrt", 2, seed=5)
    pool = curriculum.pool(0, LABELS)
    assert np.concatenate(batches[:ROWS]).tolist() == epoch_order(pool, ROWS, 1, 5, 0).tolist()
    for epoch, size in ((0, int(ROWS * 0.5**0.5)), (1, ROWS), (2, ROWS)):
        order = np.concatenate(batches[epoch * ROWS : (epoch + 1) * ROWS])
        assert len(set(order[:size].tolist())) == size == len(set(order.tolist()))  # no row twice within a pass
    assert [rank["whole"]["rows"] for rank in ranks][0] != [rank["whole"]["rows"] for rank in ranks][1]


def test_both_ranks_draw_from_the_pools_of_a_users_own_curriculum(ranks):
    """Together the pool of each epoch, over and over, no row twice within a pass, whatever the model is sure of."""
    batches = in_turn(ranks, "own")
    for epoch, size in ((0, 5), (1, 6)):
        order = np.concatenate(batches[epoch * ROWS : (epoch + 1) * ROWS])
        pool = set(order.tolist())
        assert len(pool) == size and all(row % 2 for row in pool)
        for first in range(0, ROWS - size, size):
            assert set(order[first : first + size].tolist()) == pool
    assert sorted(np.concatenate(batches[2 * ROWS :])) == list(range(ROWS))
    assert ranks[0]["own"]["weights"] == ranks[1]["own"]["weights"]


def test_what_differs_between_processes_is_refused(ranks, folder):
    for rank in ranks:
        assert rank["disagreeing"] == [2, 2]
    said = (folder / "stderr.txt").read_text()
    assert said.count("gives is not the same in process 0 and process 1") == 2 and str(folder / "mine.py") in said


def test_speaker_batches_on_two_ranks(ranks):
    codes = np.unique(SPEAKERS, return_inverse=True)[1]
    count = epoch_batches(ROWS, 1, 4, codes)
    steps = [rank["speakers"]["epoch_steps"] for rank in ranks]
    assert steps == [count // 2] * 2 and len(in_turn(ranks, "speakers")) == 3 * count


def test_a_resume_within_an_epoch_sees_the_same(ranks):
    """Rows and dropout from step 20 on, final and best weights, and the logged loss."""
    for rank in ranks:
        whole, interrupted, resumed = rank["whole"], rank["interrupted"], rank["resumed"]
        assert interrupted["rows"] == whole["rows"][:STOPPED_AFTER]
        assert resumed["rows"] == whole["rows"][20:]
        assert resumed["dropout"] == whole["dropout"][20:] and whole["dropout"][26] == [0.4]
        assert resumed["weights"] == whole["weights"]
        assert resumed["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def test_a_state_without_the_part_of_one_rank_is_passed_over_by_all(ranks):
    """The first process decides: both go on from the state before, at step 13, to the same weights."""
    for rank in ranks:
        assert rank["damaged"]["rows"] == rank["whole"]["rows"][13:]
        assert rank["damaged"]["weights"] == rank["whole"]["weights"]


def test_a_signal_to_one_process_saves_a_state_of_all(ranks):
    """And the same command went on from there."""
    for rank in ranks:
        assert rank["terminated"] == 143 and len(rank["states"]) == 1
        assert (
            rank["states"][0] == "checkpoint-3"
        )  # of 3 steps an epoch: processes agree at its end, or every 10 steps


def test_both_ranks_hold_the_same_weights(ranks):
    for name in ("whole", "speakers", "resumed"):
        assert ranks[0][name]["weights"] == ranks[1][name]["weights"], name
    assert ranks[0]["best"] == ranks[1]["best"]


def test_steps_with_weights_equal_those_of_one_process(ranks, tmp_path):
    """What a loss is divided by counts the rows of both ranks and all that they accumulate."""
    whole = weighted_trainer(tmp_path, LOSSES["ratings"], **WEIGHTED, per_device_train_batch_size=4)
    whole.train()
    losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    for rank in ranks:
        assert rank["weighted"]["loss"] == pytest.approx(losses, rel=1e-6)
        for name, value in whole.model.state_dict().items():
            np.testing.assert_allclose(rank["weighted"]["weights"][name], value, atol=1e-6, rtol=1e-6)


def test_evaluation_equals_that_of_one_process(ranks, tmp_path):
    """The same weights: the same loss, score and logits, in the order of the rows; 26 rows don't divide into 2 · 8."""
    trainer = new_trainer(tmp_path)
    state = {name: torch.tensor(value) for name, value in ranks[0]["resumed"]["weights"].items()}
    trainer.model.load_state_dict(state)
    expected, logits = trainer.evaluate(rows()), trainer.predict(rows()).predictions
    for rank in ranks:
        np.testing.assert_allclose(rank["logits"], logits, atol=1e-6)
        assert rank["metrics"]["eval_loss"] == pytest.approx(expected["eval_loss"], abs=1e-6)
        assert rank["metrics"]["eval_uar"] == expected["eval_uar"]


def test_a_whole_job(folder):
    """Every run is done, and each test row is predicted exactly once."""
    results = json.loads((folder / "small" / "results.json").read_text())
    assert results["environment"]["processes"] == 2
    total = SMALL["corpora"]["synthetic"]["generator"]["rows"]
    for experiment in results["experiments"]:
        assert [run["status"] for run in experiment["runs"]] == ["done", "done"]
        tables = [pq.read_table(path) for path in (folder / "small" / experiment["name"]).rglob("predictions.parquet")]
        predicted = [row for table in tables for row in table["utterance_id"].to_pylist()]
        assert sorted(predicted) == sorted(f"row-{i}" for i in range(total)) and len(tables) == 2
        for run, table in zip(experiment["runs"], sorted(tables, key=lambda t: t["session"][0].as_py()), strict=True):
            right = np.mean([a == b for a, b in zip(table["label"], table["prediction"], strict=True)])
            assert run["test"]["synthetic"]["accuracy"] == pytest.approx(right)
            assert run["test"]["synthetic"]["n"] == len(table)
    # Voice, words and both in two sessions, fitted by one process.
    assert len(list((folder / "small" / "floors").iterdir())) == 6
    for experiment in results["experiments"]:
        found = experiment["floors"]["corpora"]["synthetic"]
        assert found["words"]["uar"]["pooled"] > 0 and found["comparison"]["difference"] < 1
    left = {path.name for path in (folder / "small").rglob("*")}
    assert not any(name.startswith(("checkpoint", "best.")) or name.endswith(".temporary") for name in left)


def test_encoders_tuned_by_two_processes_are_those_of_one(folder, ranks, tmp_path):
    """LoRA on recordings: two processes, half of each batch each, end where one process ends."""
    assert [rank["recorded"] for rank in ranks] == [0, 0]
    assert job.run(load_recipe(tuned_recipe(tmp_path, "tuned", batch_size=4))).failed == []
    compared = 0
    for session in ("session-1", "session-2"):
        by_two, by_one = (
            load_file(place / "tuned" / "small" / "seed-1" / session / "model" / "model.safetensors")
            for place in (folder, tmp_path)
        )
        assert by_two.keys() == by_one.keys()
        for name, value in by_one.items():
            np.testing.assert_allclose(by_two[name], value, atol=2e-5, err_msg=f"{session} {name}")
            compared += value.numel()
    assert compared > 10_000


def test_a_push_from_two_processes(ranks, folder):
    """The final model is trained by both, and one of them pushes it, once."""
    assert [rank["pushed"][0] for rank in ranks] == [0, 0]
    assert sum(rank["pushed"][1].count("pushed: ") for rank in ranks) == 1
    hub = json.loads((folder / "hub.json").read_text())
    assert hub["routes"].count("commit") == 1
    assert {"model.safetensors.index.json", "README.md"} <= set(hub["files"])
    final = json.loads((folder / "push" / "job" / "both-of-them" / "final" / "environment.json").read_text())
    assert final["processes"] == 2
