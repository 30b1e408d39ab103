"""How much longer a training step of EmoMM takes than the same step in a hand-written torch loop.

    python benchmarks/step_time.py [--json] [--rounds 7] [--steps 40] [--cases default audio_only tokens]

One process. The Trainer (sampler, row gathering, collator, callbacks, clipping, schedule) and the loop (same model,
optimiser and clipping on tensors loaded before) take turns of an epoch each. A step is all from the end of one to the
end of the next, and a way's figure is the median of its steps of all rounds, so that neither a step that other work
interrupts nor a round in which the machine is slower moves it; the ratio is that of these medians. `rounds` are the
least and the greatest ratio of a single round's medians: how far the figure can be trusted. `means` is the ratio of
the means of all steps, in which rare costs count as well, and so does what interrupts.

Beside them the Trainer with a model as the original has it: no standardising, noise, hidden modalities or norms, and
one learning rate for all. The last ratio is what these cost.

default: cross attention, 768 + 768 pooled, hidden 512, batch 64. audio_only: voice alone, 768. tokens: cross attention
with 24 tokens x 768 from a store of states and 50 frames x 768 from a corpus in float16, as they come from disk.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measuring import Benchmark
from measuring import in_turn
from measuring import parser
from transformers import TrainerCallback

from emomm.configuration_emomm import EmoMMConfig
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.curriculum_trainer import CurriculumTrainingArguments
from emomm.data_collator import EmoMMDataCollator
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.sequences import Sequences
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.settings.settings import FIELDS

BATCH, DIM, CLASSES = 64, 768, 4
CASES = {
    "default": {"modality": "both", "frames": 1, "tokens": 1},
    "audio_only": {"modality": "audio", "frames": 1, "tokens": 0},
    "tokens": {"modality": "both", "frames": 50, "tokens": 24},
}


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.perf_counter())


def memory_mapped(folder: Path, name: str, rows: int, length: int) -> Sequences:
    """float16 vectors on disk, as the store and a corpus have them."""
    values = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (rows * length, DIM))
    values[:] = np.random.default_rng(0).standard_normal(values.shape).astype(np.float16)
    return Sequences.from_arrays(np.load(folder / f"{name}.npy", mmap_mode="r"), np.full(rows, length))


def rows_of(case: dict, folder: Path, rows: int) -> EmotionRows:
    audio = memory_mapped(folder, "audio", rows, case["frames"])
    audio = audio.pooled("mean") if case["frames"] == 1 else audio
    text = None
    if case["tokens"]:
        text = memory_mapped(folder, "text", rows, case["tokens"])
        text = text.pooled("cls") if case["tokens"] == 1 else text
    return EmotionRows(audio=audio, text=text, labels=np.arange(rows) % CLASSES)


def model_of(case: dict, plain: bool = False) -> EmoMMForEmotionClassification:
    torch.manual_seed(0)
    labels = {i: str(i) for i in range(CLASSES)}
    more = {}
    if not plain:  # what a small corpus gets by default
        names = ("feature_normalization", "fusion_block", "modality_dropout")
        more = {name: FIELDS[name].default for name in names}
        more["feature_noise"] = {name: 0.5**0.5 for name in ("audio", "text") if case["modality"] in (name, "both")}
    config = EmoMMConfig(
        modality=case["modality"], id2label=labels, label2id={v: k for k, v in labels.items()}, **more
    )
    return EmoMMForEmotionClassification(config)


def seconds_of_steps(ends: list[float]) -> np.ndarray:
    """Of each step but the first three, by when each ended."""
    return np.diff(ends[2:])


def trainer_steps(case: dict, rows: EmotionRows, folder: Path, steps: int, plain: bool = False) -> np.ndarray:
    """Seconds of each step of an epoch in the Trainer, but the first three."""
    clock = Clock()
    widths = () if plain else ("lr_base_width", "lr_width_limit")
    args = CurriculumTrainingArguments(
        output_dir=str(folder / "run"),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-4,
        **{name: FIELDS[name].default for name in widths},
        eval_strategy="no",
        disable_tqdm=True,
        report_to=[],
        dataloader_pin_memory=False,
        save_seconds=3600,
    )
    trainer = CurriculumTrainer(
        model=model_of(case, plain),
        args=args,
        train_dataset=rows,
        data_collator=EmoMMDataCollator(),
        callbacks=[clock],
    )
    trainer.train()
    assert len(clock.ends) == steps
    return seconds_of_steps(clock.ends)


def loop_steps(case: dict, rows: EmotionRows, steps: int) -> np.ndarray:
    """Seconds of each step in the hand-written loop, but the first three."""
    batch = EmoMMDataCollator()([rows[i] for i in range(len(rows))])  # everything, loaded and padded before
    batch = {name: value for name, value in batch.items() if not name.endswith("_mask")}
    model = model_of(case).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    order = torch.randperm(len(rows))
    ends = []
    for step in range(steps):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        loss = model(**{name: value[chosen] for name, value in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
    return seconds_of_steps(ends)


def ratios(found: list[dict[str, np.ndarray]], above: str, below: str) -> tuple[float, float, list[float]]:
    """Of one way's steps by another's: of the medians of all rounds, of the means, and of each round's medians."""
    both = [np.concatenate([each[way] for each in found]) for way in (above, below)]
    of_rounds = [float(np.median(each[above]) / np.median(each[below])) for each in found]
    return float(np.divide(*map(np.median, both))), float(np.divide(*map(np.mean, both))), of_rounds


def measured(case: dict, rounds: int, steps: int) -> dict[str, float]:
    """Milliseconds a step of each way, and the Trainer's by the others'."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = rows_of(case, folder, BATCH * steps)
        ways = {
            "Trainer": lambda: trainer_steps(case, rows, folder, steps),
            "loop": lambda: loop_steps(case, rows, steps),
            "plain": lambda: trainer_steps(case, rows, folder, steps, plain=True),
        }
        found = in_turn(ways, rounds, warm=1)
    middle, mean, of_rounds = ratios(found, "Trainer", "loop")
    return {
        **{f"{way} (ms)": 1000 * float(np.median([each[way] for each in found])) for way in ways},
        "Trainer / loop": middle,
        "rounds": f"{min(of_rounds):.2f} to {max(of_rounds):.2f}",
        "means": mean,
        "Trainer / plain": ratios(found, "Trainer", "plain")[0],
    }


def main() -> None:
    known = parser(__doc__, rounds=7)
    known.add_argument("--steps", type=int, default=40)
    known.add_argument("--cases", nargs="+", choices=[*CASES], default=[*CASES])
    options = known.parse_args()
    with Benchmark(__file__, options) as figures:
        for name in options.cases:
            figures.add(name, **measured(CASES[name], options.rounds, options.steps))


if __name__ == "__main__":
    main()
