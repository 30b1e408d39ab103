"""What a training step takes in other precisions, compiled, and with other optimisers.

    python benchmarks/precision.py [--json] [--cpu] [--cases head,states,lora] [--of fp32,bf16] [--rounds 3] [--small]

Each by its name in TrainingArguments, through the settings of a recipe for `head` (the voice alone, one 768-wide
vector a row, 64 rows a step) and `states` (cross attention over 50 frames, 768 wide, and stored states of the words,
64 rows a step), and through the Trainer's arguments for `lora` (WavLM of base size with random weights, tuned by LoRA,
16 recordings of 4 s a step; on a GPU eight processes make the batches). All train on the same rows in the same order
from the same weights. They take turns, and who begins changes; figures are medians over the rounds of milliseconds a
step without the first steps, and of how many times as fast as `fp32` that is in the same round. `warm-up` is seconds
until those first steps were done, of the first round: compiling is in there. Of the losses it says how far that of any
step is from `fp32`'s at most, and by how much the loss moved in all.

fp32: float32 throughout, no TF32; default: no field given, which leaves convolutions of a GPU in TF32; tf32, bf16,
fp16; compile: torch_compile in fp32; bf16 compile: both; adamw_torch: the optimiser that isn't fused, which fp32 has.
On a processor tf32 and fp16 are left out.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measuring import Benchmark
from measuring import parser
from stack import device_of
from stack import text_encoder
from transformers import TrainerCallback
from transformers.utils.import_utils import enable_tf32
from tuning_time import Trainer
from tuning_time import encoder_config
from tuning_time import model_of
from tuning_time import now
from tuning_time import recordings_of
from tuning_time import rows_of
from tuning_time import trainer_of

from emomm.experiments.job import plan_experiment  # after tuning_time, which makes `emomm`
from emomm.experiments.run_folder import begin_run
from emomm.settings.recipe import load_recipe

VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "default": {},
    "tf32": {"tf32": True},
    "bf16": {"bf16": True},
    "fp16": {"fp16": True},
    "adamw_torch": {"optim": "adamw_torch"},
    "compile": {"torch_compile": True},
    "bf16 compile": {"bf16": True, "torch_compile": True},
}
GPU_ALONE = ("default", "tf32", "fp16")
CASES = ("head", "states", "lora")
WARM = 6  # steps
READERS = 8  # processes that make the batches of `lora` beside a GPU: the step is timed, and not the reading


class Watch(TrainerCallback):
    """Ends a training after some steps; knows when the warm-up and the last one ended.

    Args:
        steps: after the warm-up.
    """

    def __init__(self, steps: int):
        self.steps, self.done, self.began, self.warm, self.end = steps, 0, 0.0, 0.0, 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.done += 1
        if self.done == WARM:
            self.warm = now(args.device)
        elif self.done == WARM + self.steps:
            self.end = now(args.device)
            control.should_training_stop = True


@contextlib.contextmanager
def precision_of(variant: str, device: torch.device) -> Iterator[None]:
    """TF32 as the variant has it, which is a setting of the whole process."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.fp32_precision
    if variant != "default":
        torch.backends.fp32_precision = "ieee"
    enable_tf32.cache_clear()  # it remembers what it was asked, and does it once
    try:
        yield
    finally:
        torch.backends.fp32_precision = before


def recipe_of(folder: Path, case: str, variant: str, rows: int, encoder: str) -> Path:
    """A recipe of one experiment with the fields of a variant."""
    frames = [1, 1] if case == "head" else [50, 50]
    generator = {"rows": rows, "speakers": 10, "sessions": 5, "audio_dim": 768, "frames": frames, "words": [16, 32]}
    content = {
        "train_dataset": "synthetic",
        "corpora": {"synthetic": {"generator": generator}},
        "evaluation_mode": "loso",
        "seeds": [1],
        "batch_size": 64,
        "num_epochs": 50,
        "floors": False,
        "text_model_name": encoder,
        "store_dir": str(folder / "store"),
        **VARIANTS[variant],
        "experiments": [{"name": case, "modality": "audio" if case == "head" else "both"}],
    }
    path = folder / f"{case}-{variant.replace(' ', '-')}.json"
    path.write_text(json.dumps(content))
    return path


class Heads:
    """Trainings of `head` and `states`.

    Args:
        case: which.
        folder: for what they write.
        rows: of the corpus.
    """

    def __init__(self, case: str, folder: Path, rows: int):
        self.case, self.folder, self.rows = case, folder, rows
        self.encoder, self.loaded = text_encoder(folder / "encoder", 384, 6, 1536), ({}, {})

    def trained(self, variant: str, number: int, steps: int) -> tuple[Watch, torch.Tensor]:
        """Trains with the fields of a variant; when, and the losses."""
        recipe = recipe_of(self.folder, self.case, variant, self.rows, self.encoder)
        settings = load_recipe(str(recipe)).experiments[0]
        experiment, runs = plan_experiment(settings, self.folder / f"{variant}-{number}", *self.loaded)
        begin_run(runs[0])
        watch = Watch(steps)
        trainer = experiment.begin(runs[0], [watch], Trainer).trainer
        trainer.train()
        return watch, torch.stack(trainer.losses).double().cpu()


class Tuned:
    """Trainings of `lora`.

    Args:
        folder: for what they write.
        size: of the encoder.
        batch: recordings a step.
        steps: of each, the warm-up included.
        cpu: whether on the processor.
    """

    def __init__(self, folder: Path, size: str, batch: int, steps: int, cpu: bool):
        self.folder, self.size, self.batch, self.steps, self.cpu = folder, size, batch, steps, cpu
        self.rows = rows_of(recordings_of(folder, batch * steps, 4.0))

    def trained(self, variant: str, number: int, steps: int) -> tuple[Watch, torch.Tensor]:
        """As `Heads.trained`."""
        model = model_of(encoder_config("wavlm", self.size), "wavlm", "lora", dropout=0.0)
        given = {**VARIANTS[variant], "use_cpu": self.cpu, "dataloader_num_workers": 0 if self.cpu else READERS}
        trainer, _ = trainer_of(model, self.rows, self.folder, self.batch, self.steps, **given)
        watch = Watch(steps)
        trainer.add_callback(watch)
        trainer.train()
        return watch, torch.stack(trainer.losses).double().cpu()


def compared(case: str, names: list[str], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Of each variant the medians over rounds, and its losses beside those of the first."""
    device = torch.device("cpu" if options.cpu else "cuda")
    steps = options.steps if case != "lora" else max(2, options.steps // 4)
    if case == "lora":
        size, batch = ("small", 2) if options.small else ("base", 16)
        side: Heads | Tuned = Tuned(folder, size, batch, WARM + steps, options.cpu)
    else:
        side = Heads(case, folder, 400 if options.small else 2000)
    rounds: list[dict[str, float]] = []
    losses: dict[str, torch.Tensor] = {}
    warm: dict[str, float] = {}
    for number in range(options.rounds):
        rounds.append({})
        for name in names if number % 2 == 0 else names[::-1]:
            with precision_of(name, device):
                watch, losses[name] = side.trained(name, number, steps)
            rounds[-1][name] = 1000 * (watch.end - watch.warm) / steps
            warm.setdefault(name, watch.warm - watch.began)
            if number == 0:
                said = f"{case:6} {name:12} {rounds[-1][name]:9.2f} ms in the first round"
                print(said, file=sys.stderr, flush=True)
    first = names[0]
    moved = losses[first].max() - losses[first].min()
    return {
        name: {
            "ms": round(statistics.median(each[name] for each in rounds), 3),
            f"{first} / this": round(statistics.median(each[first] / each[name] for each in rounds), 3),
            "warm-up, s": round(warm[name], 2),
            "losses differ": round(float((losses[name] - losses[first]).abs().max()), 6),
            "loss moved": round(float(moved), 4),
        }
        for name in names
    }


def main() -> None:
    known = parser(__doc__, rounds=3)
    known.add_argument("--cpu", action="store_true", help="run on the processor")
    known.add_argument("--small", action="store_true", help="few rows, a small encoder, 2 recordings a step")
    known.add_argument("--steps", type=int, default=80, help="after the warm-up; of lora a quarter")
    known.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    known.add_argument("--of", default=",".join(VARIANTS), help=f"of {', '.join(VARIANTS)}; fp32 is added")
    options = known.parse_args()
    given = [name for name in options.of.split(",") if name != "fp32"]
    if unknown := (set(given) - VARIANTS.keys()) | (set(options.cases.split(",")) - set(CASES)):
        known.error(f"there is no {sorted(unknown)[0]}")
    if device_of(options) is None:
        return
    given = [name for name in given if not options.cpu or name not in GPU_ALONE]
    with Benchmark(__file__, options) as figures:
        for case in options.cases.split(","):
            with tempfile.TemporaryDirectory() as folder:
                found = compared(case, ["fp32", *given], Path(folder), options)
            for name, row in found.items():
                figures.add(f"{case}, {name}", **row)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # several cards would be one large batch
    main()
