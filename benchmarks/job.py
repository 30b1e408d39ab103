"""A whole training with words, against a loop by hand that encodes each batch anew, as the original system does.

    python benchmarks/job.py [--rows 1000] [--epochs 30] [--batches 6] [--json]

Cross attention over one 768-wide voice vector and a frozen text encoder of BERT base's size (random weights);
sentences as long as turns of a conversation (made_texts.py); batch 64. 80 % of the rows train, 10 % choose the epoch,
10 % are tested. `job`: from the plan of the run to all that it leaves, with an empty store: encoding, training,
evaluation each epoch, test, predictions, exported model. `loop`: the same model, optimiser and clipping; it tokenizes
and encodes the sentences of each batch as the batches come, padded to the longest of each. It would take half an hour:
`--batches` of training and as many of evaluation are timed, medians, and the whole is these times their number;
`--batches 0` runs all of it. `step` is an optimiser step with all that it needs. Imports are in neither. CPU times are
of all threads.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from made_texts import SIZES
from made_texts import sentences
from made_texts import text_encoder
from measuring import Benchmark
from measuring import parser
from transformers import TrainerCallback

from emomm.experiments.job import plan_experiment
from emomm.experiments.run_folder import begin_run
from emomm.experiments.training import Experiment
from emomm.features.text_encoders import load_encoder
from emomm.features.text_encoders import load_tokenizer
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.settings.recipe import load_recipe

BATCH, WIDTH, LONGEST = 64, 768, 128
LABELS = ("neutral", "happy", "sad", "anger")
PARTS = ("train",) * 8 + ("development", "test")
WARM = 2  # steps that don't count


@dataclass
class Times:
    """When something ended, by the clock and by the processor.

    Args:
        wall, cpu: seconds, of each end.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def mark(self) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())

    def of_each(self, warm: int = 0) -> dict[str, float]:
        """Medians of what lies between two ends, without the first ones."""
        found = {"wall": self.wall, "cpu": self.cpu}
        return {name: statistics.median(np.diff(ends[warm:])) for name, ends in found.items()}

    def whole(self) -> dict[str, float]:
        """From the first end to the last."""
        return {"wall": self.wall[-1] - self.wall[0], "cpu": self.cpu[-1] - self.cpu[0]}


class Clock(TrainerCallback):
    """Seconds of each step, from its begin to its end: evaluations are not in it."""

    def __init__(self):
        self.begins, self.ends = Times(), Times()

    def on_step_begin(self, args, state, control, **kwargs):
        self.begins.mark()

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.mark()

    def of_each(self) -> dict[str, float]:
        return {
            name: statistics.median(np.subtract(getattr(self.ends, name), getattr(self.begins, name))[WARM:])
            for name in ("wall", "cpu")
        }


def write_job(folder: Path, rows: int, epochs: int, size: str) -> Path:
    """A corpus of its own split, an encoder, and a recipe of one run."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((rows, WIDTH), dtype=np.float32).reshape(-1)
    columns = {
        "utterance_id": [str(row) for row in range(rows)],
        "speaker": [f"{PARTS[row % 10]} {row % 3}" for row in range(rows)],
        "split": [PARTS[row % 10] for row in range(rows)],
        "label": [LABELS[label] for label in random.permutation(np.arange(rows) % len(LABELS))],
        "transcript": sentences(rows, "turns"),
        "audio_features": pa.FixedSizeListArray.from_arrays(pa.array(vectors), WIDTH),
    }
    pq.write_table(pa.table(columns), folder / "made.parquet")
    recipe = {
        "train_dataset": "made",
        "corpora": {"made": {"path": str(folder / "made.parquet")}},
        "evaluation_mode": "published",
        "seeds": [1],
        "text_model_name": text_encoder(folder / "encoder", size),
        "text_max_length": LONGEST,
        "num_epochs": epochs,
        "batch_size": BATCH,
        "store_dir": str(folder / "store"),
        "experiments": [{"name": "both"}],
    }
    path = folder / "recipe.json"
    path.write_text(json.dumps(recipe))
    return path


def by_job(recipe: Path, folder: Path) -> tuple[dict[str, float], dict[str, float], Experiment]:
    """A step and the whole, and the experiment."""
    whole, clock = Times(), Clock()
    whole.mark()
    experiment, (run,) = plan_experiment(load_recipe(str(recipe)).experiments[0], folder)
    experiment.callbacks.append(clock)
    begin_run(run)
    experiment.train(run)
    whole.mark()
    return clock.of_each(), whole.whole(), experiment


class Loop:
    """The hand-written one.

    Args:
        experiment: whose rows and model it takes.
    """

    def __init__(self, experiment: Experiment):
        (self.corpus,), name = experiment.data.corpora, experiment.settings.text_model_name
        self.encoder, self.tokenizer = load_encoder(name), load_tokenizer(name)
        self.voices = torch.from_numpy(np.concatenate([self.corpus.audio[row] for row in range(len(self.corpus))]))
        torch.manual_seed(1)
        self.model = EmoMMForEmotionClassification(experiment.config(self.corpus.label_ids))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)

    def outputs(self, rows: Sequence[int]) -> Any:
        """Of the model, for the rows of a batch: their sentences are encoded on the way."""
        texts = [self.corpus.transcripts[row] for row in rows]
        tokens = self.tokenizer(texts, truncation=True, max_length=LONGEST, padding=True, return_tensors="pt")
        with torch.no_grad():
            states = self.encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        mask = tokens["attention_mask"][:, :, None]
        words = (states.last_hidden_state * mask).sum(1) / mask.sum(1)
        labels = torch.from_numpy(self.corpus.label_ids[rows]).long()
        return self.model(audio_features=self.voices[rows], text_features=words, labels=labels)

    def step(self, rows: Sequence[int]) -> None:
        self.model.train()
        self.outputs(rows).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def evaluate(self, rows: Sequence[int]) -> None:
        self.model.eval()
        self.outputs(rows)

    def batches(self, part: str, random: np.random.Generator) -> list[np.ndarray]:
        """Row numbers of a part, in an order of chance."""
        rows = random.permutation(np.flatnonzero(np.array(PARTS)[np.arange(len(self.corpus)) % 10] == part))
        return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def by_loop(experiment: Experiment, epochs: int, batches: int) -> tuple[dict[str, float], dict[str, float]]:
    """A step, and the whole: all of it, or so many batches of each kind by how many there are."""
    loop, random = Loop(experiment), np.random.default_rng(1)
    whole, steps, evaluations = Times(), Times(), Times()
    trained, chosen, tested = (loop.batches(part, random) for part in dict.fromkeys(PARTS))
    if not batches:
        whole.mark()
        for _ in range(epochs):
            for rows in loop.batches("train", random):
                steps.mark()
                loop.step(rows)
            steps.mark()
            for rows in chosen:
                loop.evaluate(rows)
        for rows in tested:
            loop.evaluate(rows)
        whole.mark()
        return steps.of_each(), whole.whole()
    for times, work, some in ((steps, loop.step, trained), (evaluations, loop.evaluate, chosen + tested)):
        for number in range(batches + 1):  # the first warms up
            times.mark()
            work(some[number % len(some)])
        times.mark()
    step, evaluation = steps.of_each(1), evaluations.of_each(1)
    counts = epochs * len(trained), epochs * len(chosen) + len(tested)
    return step, {name: counts[0] * step[name] + counts[1] * evaluation[name] for name in step}


def measured(rows: int, epochs: int, batches: int, size: str = "base") -> dict[str, dict[str, float]]:
    """Of both, and of the loop by the job."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_job(folder, rows, epochs, size)
        step, whole, experiment = by_job(recipe, folder / "job")
        found = {"job": (step, whole), "loop": by_loop(experiment, epochs, batches)}
    told = {
        case: {
            "step (ms)": 1000 * step["wall"],
            "whole (s)": whole["wall"],
            "step (CPU ms)": 1000 * step["cpu"],
            "whole (CPU s)": whole["cpu"],
        }
        for case, (step, whole) in found.items()
    }
    return {**told, "loop / job": {key: told["loop"][key] / told["job"][key] for key in told["job"]}}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=1000)
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--batches", type=int, default=6, help="of the loop, of each kind; 0: all of it")
    options.add_argument("--size", choices=[*SIZES], default="base", help="of the encoder")
    given = options.parse_args()
    with Benchmark(__file__, given) as figures:
        for case, row in measured(given.rows, given.epochs, given.batches, given.size).items():
            figures.add(case, **row)


if __name__ == "__main__":
    main()
