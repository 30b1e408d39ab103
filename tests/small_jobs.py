"""Small jobs for the tests, what kills a process in the middle of one, and what it must have left all the same."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

# Voice and words, 2 sessions of 2 speakers: two runs of about 18 training rows.
SMALL = {
    "train_dataset": "synthetic",
    "corpora": {
        "synthetic": {
            "generator": {
                "rows": 48,
                "speakers": 4,
                "sessions": 2,
                "audio_dim": 6,
                "frames": [1, 3],
                "words": [2, 5],
            }
        }
    },
    "validation": "random",
    "validation_fraction": 0.25,
    "seeds": [1],
    "text_max_length": 16,
    "text_pooling": "mean",
    "fusion_hidden_dim": 8,
    "num_attention_heads": 2,
    "hidden_dim": 8,
    "num_epochs": 2,
    "use_curriculum_learning": True,
    "use_difficulty_scaling": True,
    "use_speaker_disentanglement": True,
    "curriculum_epochs": 1,
    "batch_size": 4,
    "learning_rate": 0.01,
}


def write_recipe(folder: Path, name: str = "small", **fields: Any) -> Path:
    """A recipe of `SMALL` with changes; its results go to `folder/name`, its states to `folder/store`."""
    path = folder / f"{name}.json"
    recipe = {**SMALL, "output_dir": str(folder / name), "store_dir": str(folder / "store"), **fields}
    path.write_text(json.dumps({"experiments": [{"name": "small"}], **recipe}))
    return path


def die() -> None:
    """Ends this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(owner: Any, name: str, when, before=lambda *args, **kwargs: None) -> None:
    """Kills this process when `owner.name` is called with arguments for which `when` holds, after `before`."""
    original = getattr(owner, name)

    def wrapper(*args, **kwargs):
        if when(*args, **kwargs):
            before(*args, **kwargs)
            die()
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)


def run_files(run: Path) -> dict[str, Any]:
    """What a run left that must be the same whatever happened on the way: weights, predictions, metrics, history."""
    metrics = json.loads((run / "metrics.json").read_text())
    history = [
        {key: value for key, value in entry.items() if not key.endswith(("runtime", "per_second"))}
        for entry in json.loads((run / "history.json").read_text())
        if "train_runtime" not in entry  # the last entry: it tells of the last process alone
    ]
    weights = {}
    for path in sorted((run / "model").glob("*.safetensors")):
        weights.update(load_file(path))
    return {
        "weights": weights,
        "predictions": pq.read_table(run / "predictions.parquet"),
        "metrics": {key: value for key, value in metrics.items() if key not in ("train_seconds", "identity")},
        "history": history,
    }


def assert_same_run(a: Path, b: Path) -> None:
    """Two runs ended with the same files, bit for bit."""
    one, two = run_files(a), run_files(b)
    assert one["history"] == two["history"]
    assert [[*entry] for entry in one["history"]] == [[*entry] for entry in two["history"]]  # the keys' order
    assert one["metrics"] == two["metrics"]
    assert one["predictions"].equals(two["predictions"])
    assert one["weights"].keys() == two["weights"].keys()
    for name in one["weights"]:
        np.testing.assert_array_equal(one["weights"][name], two["weights"][name], err_msg=name)
