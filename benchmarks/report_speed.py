"""How long a report takes, and how much memory: a fabricated job of 20 experiments, each of 5 runs of 10 000 rows.

    python benchmarks/report_speed.py [--experiments 20] [--seeds 1] [--folds 5] [--rows 10000]

The report is written by a process of its own, as `emomm report` does: imports are in the time.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if "emomm" not in sys.modules:
    sys.path.insert(0, str(ROOT))
    import run_emomm  # noqa: F401 makes this checkout the package `emomm`
from emomm.evaluation.predictions import Predictions  # noqa: E402
from emomm.evaluation.predictions import write_predictions  # noqa: E402
from emomm.job_folder import ExperimentFolder  # noqa: E402
from emomm.job_folder import JobFolder  # noqa: E402

LABELS = ["neutral", "happy", "sad", "anger"]
EPOCHS = 30

_REPORT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("emomm", sys.argv[1], submodule_search_locations=[sys.argv[2]])
sys.modules["emomm"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from emomm.cli.main import main
sys.exit(main(["report", sys.argv[3]]))
"""


def fabricate(folder: Path, experiments: int, seeds: int, folds: int, rows: int, speakers: int = 40) -> None:
    """A job's folder as far as a report reads it: `folds` sessions of `rows` rows, each experiment a bit better."""
    labels = np.random.default_rng(0).integers(0, len(LABELS), folds * rows)
    difficulty = np.random.default_rng(1).random(folds * rows).astype(np.float32)
    entries = []
    for number in range(experiments):
        name = f"experiment-{number}"
        runs = [_run(folder / name, seed, fold, number, labels, difficulty, rows, speakers, folds)
                for seed in range(1, seeds + 1) for fold in range(1, folds + 1)]  # fmt: skip
        card = {
            "name": "fabricated",
            "rows": len(labels),
            "classes": dict(zip(LABELS, np.bincount(labels).tolist(), strict=True)),
            "speakers": speakers,
            "sessions": {str(fold): rows for fold in range(1, folds + 1)},
            "licence": "none",
            "licence_url": "",
            "extractor": "none",
            "language": "none",
            "speech_encoder": None,
            "caveat": "",
            "citation": "",
            "notes": [],
        }
        about = {"name": name, "labels": LABELS, "corpora": [card], "text_encoder": None, "notes": []}
        entries.append({**about, "runs": runs, "summary": {}})
    environment = {"python": "3", "packages": {}, "accelerators": [], "processes": 1, "threads": 1, "commit": None}
    results = {"recipe": "fabricated", "protocol": ["made up"], "environment": environment, "experiments": entries}
    JobFolder(folder).results.write_text(json.dumps(results))


def _run(place: Path, seed: int, fold: int, skill: int, labels, difficulty, rows: int, speakers: int, folds: int):
    rng = np.random.default_rng([seed, fold, skill])
    chosen = np.arange((fold - 1) * rows, fold * rows)
    logits = rng.normal(0, 1, (rows, len(LABELS))).astype(np.float32)
    logits[np.arange(rows), labels[chosen]] += 1 + 0.1 * skill - difficulty[chosen]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predictions = Predictions.of(
        LABELS,
        utterance_id=np.array([f"utterance-{row:07d}" for row in chosen]),
        corpus=np.full(rows, "fabricated"),
        speaker=np.array([f"fabricated/{fold + folds * (row % (speakers // folds))}" for row in chosen]),
        session=np.full(rows, str(fold)),
        label=np.array(LABELS)[labels[chosen]],
        probabilities=probabilities,
        difficulty=difficulty[chosen],
    )
    run = ExperimentFolder(place).run(seed, f"session-{fold}")
    run.path.mkdir(parents=True)
    write_predictions(run.predictions, [predictions])
    run.record.write_text(json.dumps({"settings": {"evaluation_mode": "loso", "validation": "session"}}))
    history = []
    for epoch in range(EPOCHS):
        pool = {"curriculum/pool_fraction": min(1, 0.3 + epoch / 20), "curriculum/mean_difficulty": 0.5}
        pool |= {f"curriculum/class_{i}": 0.25 for i in range(len(LABELS))}
        history += [{**pool, "epoch": epoch}, {"loss": 1 / (epoch + 1), "epoch": epoch + 1.0}]
        history.append({"eval_loss": 1.1 / (epoch + 1), "eval_uar": 1 - 1 / (epoch + 2), "epoch": epoch + 1.0})
    run.history.write_text(json.dumps(history))
    part = {"rows": rows, "corpora": ["fabricated"], "speakers": [], "speaker_count": 8, "classes": {}}
    return {
        "seed": seed,
        "fold": f"session-{fold}",
        "status": "done",
        "parts": {name: part for name in ("train", "validation", "test")},
        "steps": 100,
        "best_epoch": EPOCHS,
        "train_seconds": 1.0,
        "validation": {"uar": 0.5 + skill / 100},
        "test": {"fabricated": {}},
    }


def main() -> None:
    from measuring import Benchmark  # tests take what this fabricates
    from measuring import parser
    from measuring import run_process

    known = parser(__doc__)
    for name, default in (("experiments", 20), ("seeds", 1), ("folds", 5), ("rows", 10_000)):
        known.add_argument(f"--{name}", type=int, default=default)
    options = known.parse_args()
    with Benchmark(__file__, options) as figures, tempfile.TemporaryDirectory() as folder:
        fabricate(Path(folder), options.experiments, options.seeds, options.folds, options.rows)
        ended = run_process([sys.executable, "-c", _REPORT, str(ROOT / "__init__.py"), str(ROOT), folder])
        size = JobFolder(Path(folder)).report.page.stat().st_size
        runs = options.experiments * options.seeds * options.folds
        told = {"CPU seconds": ended.cpu_seconds, "MB": ended.megabytes, "report.html (MB)": size / 1e6}
        what = f"{runs} runs of {options.rows} rows in {options.experiments} experiments"
        figures.add(what, seconds=ended.seconds, **told)


if __name__ == "__main__":
    main()
