"""How long the runs of an experiment take as one model with stacked weights (`--stack`), and one by one.

    python benchmarks/stack.py [--json] [--cpu] [--rounds 1] [--epochs 10] [--seeds 3] [--rows 1000]

15 runs: leave one session out, five sessions, three seeds, on 1 000 made rows of one 768-wide voice vector and about
12 words, with the defaults of a recipe: `voice`, the voice alone; `both`, cross attention over stored states of the
words (of a text encoder of one layer with random weights, made on the spot: nothing is downloaded). Each way goes from
planned runs to everything a run leaves: training with an evaluation each epoch, test, predictions, exported model. The
two take turns on the same device after a warm-up; the figures are medians over the rounds. `training` is without test
and files. Beside the seconds it says how many runs one by one take as long as the stack, and the mean UAR of both.

Without a GPU it says so and ends, unless `--cpu` is given.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import Benchmark
from measuring import parser
from transformers import BertConfig
from transformers import BertModel
from transformers import BertTokenizer

from emomm.corpora.synthetic import CUE_WORDS
from emomm.corpora.synthetic import FILLER_WORDS
from emomm.experiments.job import plan_experiment
from emomm.experiments.run_folder import begin_run
from emomm.settings.recipe import load_recipe
from emomm.stacking.training import train_stacked

MODALITIES = {"voice": "audio", "both": "both"}
Loaded = tuple[dict, dict]


def device_of(options: argparse.Namespace) -> torch.device | None:
    """What is measured: a GPU, or with `--cpu` the processor; None, which is said, where there is no GPU."""
    if options.cpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
        return torch.device("cpu")
    if not torch.cuda.is_available():
        print("no GPU here: nothing was measured (--cpu runs it on the processor)")
        return None
    return torch.device("cuda")


def text_encoder(folder: Path, width: int = 768, layers: int = 1, intermediate: int = 768) -> str:
    """A text encoder with random weights."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CUE_WORDS, *FILLER_WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=intermediate,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return str(folder)


def recipe_of(folder: Path, name: str, stack: bool, options: argparse.Namespace, encoder: str) -> Path:
    """A recipe of one experiment, on a corpus of five sessions."""
    generator = {"rows": options.rows, "speakers": 10, "sessions": 5, "audio_dim": 768, "frames": [1, 1]}
    path = folder / f"{name}-{stack}.json"
    content = {
        "train_dataset": "synthetic",
        "corpora": {"synthetic": {"generator": {**generator, "words": [8, 16]}}},
        "evaluation_mode": "loso",
        "seeds": list(range(1, options.seeds + 1)),
        "num_epochs": options.epochs,
        "floors": False,
        "stack": stack,
        "text_model_name": encoder,
        "store_dir": str(folder / "store"),
        "experiments": [{"name": name, "modality": MODALITIES[name]}],
    }
    path.write_text(json.dumps(content))
    return path


def timed(recipe: Path, out: Path, loaded: Loaded, device: torch.device, most: int | None = None) -> dict[str, float]:
    """Seconds of all runs of a recipe, and of their training; their mean UAR on the test rows."""
    settings = load_recipe(str(recipe)).experiments[0]
    experiment, runs = plan_experiment(settings, out, *loaded)
    runs = runs[:most]
    experiment.inputs.rows(experiment.data.rows(runs[0].fold.train))  # states are stored, or read
    for run in runs:
        begin_run(run)
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    if settings.stack:
        outcomes = [end() for _, end in train_stacked(experiment, runs)]
    else:
        outcomes = [experiment.train(run) for run in runs]
    if device.type == "cuda":
        torch.cuda.synchronize()
    uar = [scores["uar"] for outcome in outcomes for scores in outcome["test"].values()]
    return {
        "whole": time.perf_counter() - began,
        "training": sum(outcome["train_seconds"] for outcome in outcomes),
        "runs": len(runs),
        "uar": statistics.mean(uar),
    }


def compared(name: str, folder: Path, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Medians over rounds of both ways, and their ratios."""
    encoder, loaded = text_encoder(folder / "encoder"), ({}, {})
    recipes = {way: recipe_of(folder, name, way == "stacked", options, encoder) for way in ("alone", "stacked")}
    for way, recipe in recipes.items():  # libraries, kernels and memory of the device
        timed(recipe, folder / f"warm-{way}", loaded, device, most=2)
    rounds = []
    for number in range(options.rounds):
        order = sorted(recipes, reverse=number % 2 == 1)
        rounds.append({way: timed(recipes[way], folder / f"{way}-{number}", loaded, device) for way in order})
    found: dict[str, Any] = {
        way: {key: round(statistics.median(each[way][key] for each in rounds), 4) for key in rounds[0][way]}
        for way in recipes
    }
    for what in ("whole", "training"):
        ratios = [each["alone"][what] / each["stacked"][what] for each in rounds]
        found[f"{what}, alone / stacked"] = round(statistics.median(ratios), 2)
        found[f"{what}, stack in runs"] = round(found["alone"]["runs"] / statistics.median(ratios), 2)
    return found


def runs_parser(text: str) -> argparse.ArgumentParser:
    """Of the options that say which runs there are, and where."""
    known = parser(text, rounds=1)
    known.add_argument("--cpu", action="store_true", help="run on the processor")
    known.add_argument("--epochs", type=int, default=10)
    known.add_argument("--seeds", type=int, default=3, help="each of five runs")
    known.add_argument("--rows", type=int, default=1000)
    return known


def main() -> None:
    known = runs_parser(__doc__)
    known.add_argument("--of", default=",".join(MODALITIES), help=f"of {', '.join(MODALITIES)}")
    options = known.parse_args()
    device = device_of(options)
    if device is None:
        return
    logging.getLogger("emomm").setLevel(logging.ERROR)
    with Benchmark(__file__, options) as figures:
        for name in options.of.split(","):
            with tempfile.TemporaryDirectory() as folder:
                found = compared(name, Path(folder), options, device)
            for what in ("whole", "training"):
                ratio, runs = found[f"{what}, alone / stacked"], found[f"{what}, stack in runs"]
                told = {"one by one (s)": found["alone"][what], "stacked (s)": found["stacked"][what]}
                figures.add(f"{name}, {what}", **told, ratio=ratio, **{"the stack in runs": runs})
            figures.note(
                f"{name}, mean UAR of {found['alone']['runs']} runs: one by one {found['alone']['uar']:.3f}, stacked "
                f"{found['stacked']['uar']:.3f}"
            )


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # several cards would be one large batch
    main()
