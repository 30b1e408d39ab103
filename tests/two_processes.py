"""What each process of test_distributed.py does, started by torchrun: `two_processes.py FOLDER RECIPE TO_PUSH`."""

import contextlib
import ctypes
import gc
import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path

# Killed with the launcher, which leaves its workers running where it is killed itself.
ctypes.CDLL(None).prctl(1, signal.SIGKILL)

import conftest  # noqa: E402, F401 makes the package importable
import numpy as np  # noqa: E402
import torch  # noqa: E402
from test_curriculum_trainer import LOSSES  # noqa: E402
from test_curriculum_trainer import ROWS  # noqa: E402
from test_curriculum_trainer import new_trainer  # noqa: E402
from test_curriculum_trainer import rows  # noqa: E402
from test_curriculum_trainer import weighted_trainer  # noqa: E402

from emomm.cli import main as cli  # noqa: E402
from emomm.curriculum_trainer import CurriculumTrainer  # noqa: E402
from emomm.resuming import resumable_trainer  # noqa: E402

# 13 steps an epoch: resume states of several processes come every tenth step.
ARGUMENTS = {
    "per_device_train_batch_size": 1,
    "num_train_epochs": 3,
    "dropout": 0.2,
    "curriculum_type": "model_confidence",
    "curriculum_epochs": 2,
    "post_curriculum_dropout": 0.4,
    "weights": (np.arange(ROWS) % 3 + 0.5).astype(np.float32),
    "save_seconds": 0.0,
}
# With class weights, ratings that are missing and rows that weigh more or less: a step of 4 rows in all.
WEIGHTED = {"weights": ARGUMENTS["weights"], "curriculum_type": "difficulty", "curriculum_epochs": 2}
OWN = ["--curriculum_type", "of_a_process"], ["--evaluation_mode", "folds_of_a_process"]
STOPPED_AFTER = 24  # in the middle of epoch 1; the newest resume state is that of step 20


def trained(folder, name, stop_after=None, **changes):
    """What a rank saw, its final weights, and the logged losses; interrupted after some steps where told so."""
    trainer = new_trainer(folder / name, **{**ARGUMENTS, **changes})
    trainer.seen.stop_after = stop_after
    try:
        trainer.train(resume_from_checkpoint=True)
    except KeyboardInterrupt:
        trainer.accelerator.wait_for_everyone()
    seen = {
        "rows": trainer.seen.rows,
        "dropout": [sorted(each) for each in trainer.seen.dropout],
        "loss": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "weights": {key: value.tolist() for key, value in trainer.model.state_dict().items()},
        "epoch_steps": trainer.sampler.batches // 2,
    }
    return trainer, seen


def terminated(recipe, rank):
    """The exit code of a job of which one process gets a SIGTERM in its second step."""
    step = CurriculumTrainer.training_step

    def training_step(trainer, *args):
        if rank == 1 and trainer.state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer, *args)

    CurriculumTrainer.training_step = training_step
    try:
        return cli.main(["run", recipe, "--no_report"])
    finally:
        CurriculumTrainer.training_step = step


def pushed(recipe):
    """What a job says that ends with a push."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = cli.main(["run", recipe, "--no_report", "--push_to_hub", "--hub_model_id", "me/both"])
    return code, said.getvalue()


def gone_on_from_damage(folder, rank):
    """The interrupted training, whose newest state lacks a part; only the first process looks at the states."""
    if rank == 0:
        shutil.copytree(folder / "interrupted", folder / "damaged")
        (folder / "damaged" / "checkpoint-20" / "rng_state_1.pth").unlink()
    else:
        newest, resumable_trainer.newest_state = resumable_trainer.newest_state, None
    torch.distributed.barrier()
    seen = trained(folder, "damaged")[1]
    if rank == 1:
        resumable_trainer.newest_state = newest
    return seen


def main(folder: Path, recipe: str, to_push: str, recorded: str) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # First, with nothing set up that counts the processes before the job does; and nobody has said that there is no
    # GPU: two processes must not take themselves for two jobs.
    results = {"world": world, "terminated": terminated(recipe, rank)}
    results["states"] = sorted(path.name for path in Path(recipe).with_suffix("").rglob("checkpoint-*"))
    results["exit"] = cli.main(["run", recipe, "--no_report"])
    results["recorded"] = cli.main(["run", recorded, "--no_report"])
    results["disagreeing"] = [cli.main(["run", recipe, "--experiment", "words", "--dry_run", *each]) for each in OWN]
    results["pushed"] = pushed(to_push)
    results["whole"] = trained(folder, "whole")[1]
    results["speakers"] = trained(folder, "speakers", speaker_batches=True, gradient_accumulation_steps=2)[1]
    own = {"curriculum_type": "odd_rows", "curriculum_module": str(folder / "mine.py")}
    results["own"] = trained(folder, "own", **own)[1]
    weighted = weighted_trainer(
        folder / "weighted",
        LOSSES["ratings"],
        **WEIGHTED,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
    )
    weighted.train()
    results["weighted"] = {
        "weights": {key: value.tolist() for key, value in weighted.model.state_dict().items()},
        "loss": [entry["loss"] for entry in weighted.state.log_history if "loss" in entry],
    }
    results["interrupted"] = trained(folder, "interrupted", STOPPED_AFTER)[1]
    results["damaged"] = gone_on_from_damage(folder, rank)
    trainer, results["resumed"] = trained(folder, "interrupted")
    results["trainer_world"], results["backend"] = trainer.args.world_size, torch.distributed.get_backend()
    results["metrics"] = trainer.evaluate(rows())
    results["logits"] = trainer.predict(rows()).predictions.tolist()
    trainer.load_best()
    results["best"] = {key: value.tolist() for key, value in trainer.model.state_dict().items()}
    (folder / f"rank-{rank}.json").write_text(json.dumps(results))
    del trainer
    gc.collect()
    torch.distributed.barrier()  # a rank that ends while the other still talks to it may abort
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # with this many trainers behind it, torch now and then aborts in the interpreter's own end


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
