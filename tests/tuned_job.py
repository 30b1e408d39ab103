"""A finished small job that reads recordings and tunes both encoders by LoRA, whose model can be pushed."""

from pathlib import Path

from made_recordings import encoders
from made_recordings import recorded_recipe
from made_recordings import recordings

from emomm.experiments.job import run
from emomm.settings.recipe import load_recipe

EXPERIMENTS = [
    {"name": "Adapted", "speech_tuning": "lora", "text_tuning": "lora"},
    {"name": "Frozen", "speech_layers": "weighted", "modality": "audio", "seeds": [1]},
]


def tuned_job(folder: Path) -> Path:
    """Runs the job; returns its folder. Its recordings are in `folder/tuned.parquet`."""
    folder.mkdir(exist_ok=True)
    fields = {**encoders(folder), "num_epochs": 1, "validation_fraction": 0.5, "max_eval_seconds": 0.15}
    recipe = recorded_recipe(folder, "tuned", recordings(16), experiments=EXPERIMENTS, **fields)
    assert not run(load_recipe(recipe)).failed
    return folder / "tuned"
