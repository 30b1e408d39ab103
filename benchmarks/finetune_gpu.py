"""Seconds of audio a second that fine-tuning takes in on a GPU: the Trainer against the same loop by hand.

    python benchmarks/finetune_gpu.py [--rounds 3] [--steps 20] [--json] [--cpu] [--small]

WavLM of base size (12 layers, 768 wide) with random weights, bf16, by LoRA and as a whole, batch 32 of 6 s. The two
take turns, on the first card alone, and who begins changes; the figures are medians over the rounds, without the first
step of each side. The loop has the same model, optimiser and batches, on the card before it begins; the Trainer reads
its own from mapped samples, extracts, pads and sends them, in two processes beside it, as a job does. Used memory is
the most that tensors took on the card, the batches of the loop left out.

Without a GPU it says so and ends; `--cpu --small` shows that it runs.
"""

import gc
import os
import statistics
import tempfile
from pathlib import Path

import torch
from measuring import Benchmark
from measuring import parser
from tuning_time import encoder_config
from tuning_time import loop_seconds
from tuning_time import model_of
from tuning_time import recordings_of
from tuning_time import rows_of
from tuning_time import trained
from tuning_time import trainer_of

from emomm.experiments.configuring import loading_arguments  # after tuning_time, which makes `emomm`
from emomm.experiments.emotion_rows import EmotionRows

SIZES = {"base": (32, 6.0), "small": (4, 1.0)}  # batch, seconds of each recording


def most_used(device: torch.device, began: int) -> float:
    """GiB that tensors took at most, above what was there when it began."""
    return (torch.cuda.max_memory_allocated() - began) / 2**30 if device.type == "cuda" else 0.0


def begin(device: torch.device) -> int:
    """Counts memory from now on; returns the bytes that are taken."""
    if device.type != "cuda":
        return 0
    gc.collect()  # a Trainer and its callbacks hold each other
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def by_trainer(
    tuning: str, size: str, rows: EmotionRows, folder: Path, steps: int, device: torch.device
) -> tuple[float, float]:
    """Seconds a step, and GiB."""
    began = begin(device)
    model = model_of(encoder_config("wavlm", size), "wavlm", tuning)
    batch, cpu = SIZES[size][0], device.type == "cpu"
    loading = loading_arguments(reads_recordings=True, gpu=not cpu)
    trainer, clock = trainer_of(model, rows, folder, batch, steps, bf16=True, use_cpu=cpu, **loading)
    return trained(trainer, clock), most_used(device, began)


def by_hand(
    tuning: str, size: str, rows: EmotionRows, folder: Path, steps: int, device: torch.device
) -> tuple[float, float]:
    """Seconds a step, and GiB."""
    model = model_of(encoder_config("wavlm", size), "wavlm", tuning)
    trainer, _ = trainer_of(model, rows, folder, SIZES[size][0], steps, bf16=True, use_cpu=device.type == "cpu")
    batches = [{name: value.to(device) for name, value in each.items()} for each in trainer.get_train_dataloader()]
    batches = batches[:steps]
    del model, trainer
    began = begin(device)
    seconds = loop_seconds(model_of(encoder_config("wavlm", size), "wavlm", tuning).to(device), batches, bf16=True)
    return seconds, most_used(device, began)


def compared(tuning: str, size: str, rounds: int, steps: int, device: torch.device) -> dict[str, float]:
    """Medians over rounds: seconds of audio a second and GiB of both, and the Trainer's speed by the loop's."""
    batch, seconds = SIZES[size]
    sides, found = {"trainer": by_trainer, "loop": by_hand}, []
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(recordings_of(Path(folder), batch * steps, seconds))
        for number in range(rounds):
            order = sorted(sides, reverse=number % 2 == 0)
            found.append({side: sides[side](tuning, size, rows, Path(folder), steps, device) for side in order})
    figures = {side: statistics.median(batch * seconds / each[side][0] for each in found) for side in sides}
    figures |= {f"{side}, GiB": statistics.median(each[side][1] for each in found) for side in sides}
    return {**figures, "ratio": statistics.median(each["loop"][0] / each["trainer"][0] for each in found)}


def main() -> None:
    known = parser(__doc__, rounds=3)
    known.add_argument("--steps", type=int, default=20)
    known.add_argument("--cpu", action="store_true", help="run where there is no GPU")
    known.add_argument("--small", action="store_true", help="a small encoder, 4 recordings of 1 s a batch")
    options = known.parse_args()
    if not torch.cuda.is_available() and not options.cpu:
        print("no GPU here: nothing was measured (--cpu --small shows that this runs)")
        return
    device = torch.device("cpu" if options.cpu else "cuda")
    size = "small" if options.small else "base"
    with Benchmark(__file__, options) as figures:
        figures.note(f"{size}, batch {SIZES[size][0]} of {SIZES[size][1]:g} s, bf16; GiB are counted on a GPU alone")
        for tuning in ("lora", "full"):
            found = compared(tuning, size, options.rounds, options.steps, device)
            told = {f"{side} (audio s/s)": found[side] for side in ("trainer", "loop")}
            told |= {f"{side} (GiB)": found[f"{side}, GiB"] for side in ("trainer", "loop")}
            figures.add(tuning, **told, **{"trainer / loop": found["ratio"]})


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # on several cards the Trainer's batch would be another
    main()
