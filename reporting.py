"""What a person sees of a job: trackers while it runs, a table when it ends."""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from .errors import InputError
from .settings import Settings

if TYPE_CHECKING:
    from .experiment import Run

logger = logging.getLogger(__name__)


_PACKAGES = {"wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX")}


def check_trackers(settings: Settings) -> None:
    """Raises InputError for a tracker in `report_to` whose package is not installed."""
    for tracker in settings.report_to:
        if not any(importlib.util.find_spec(package) for package in _PACKAGES[tracker]):
            raise InputError(
                f"experiment {settings.name!r}: report_to holds {tracker}, which is not installed: pip install "
                f"{tracker}, or take it out"
            )


@contextlib.contextmanager
def tracked(settings: Settings, run: "Run", job_folder: Path) -> Iterator[list[str]]:
    """Opens a tracker run for one run of the job, and closes it however the run ends.

    Weights & Biases: one run for each (experiment, seed, fold), grouped by experiment; offline where there is no key.
    TensorBoard: event files in the run's folder. A tracker that can't be started is left out, with a warning: it never
    stops a job. Yields the `report_to` of the run's Trainer.
    """
    from accelerate import PartialState

    trackers = list(settings.report_to)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.folder / "tensorboard")
    wandb_run = None
    if "wandb" in trackers and PartialState().is_main_process:
        try:
            wandb_run = _start_wandb(settings, run, job_folder)
        except Exception as error:  # noqa: BLE001 whatever the tracker raises, training goes on
            logger.warning("W&B could not be started (%s): this run is not tracked there", error)
            trackers.remove("wandb")
    elif "wandb" in trackers:
        trackers.remove("wandb")  # the main process alone reports
    exit_code = 1
    try:
        yield trackers
        exit_code = 0
    finally:
        if wandb_run is not None:
            try:
                wandb_run.finish(exit_code=exit_code)
            except Exception as error:  # noqa: BLE001
                logger.warning("W&B could not be closed (%s)", error)


def _start_wandb(settings: Settings, run: "Run", job_folder: Path):
    import wandb

    mode = os.environ.get("WANDB_MODE")
    if mode is None and not wandb.api.api_key:
        mode = "offline"
        logger.warning("no W&B key: tracking offline; `wandb sync %s/wandb/offline-run-*` sends it later", job_folder)
    job_folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        project=settings.wandb_project,
        group=settings.name,
        name=f"{settings.slug}-seed{run.seed}-{run.fold.name}",
        config={"experiment": settings.name, "seed": run.seed, "fold": run.fold.name},
        dir=str(job_folder),
        mode=mode,
        reinit="finish_previous",
        settings=wandb.Settings(silent=True),
    )


def results_table(results: dict[str, Any]) -> str:
    """The table at the end of a job: for each experiment and test corpus, mean ± standard deviation over runs."""
    header = ["experiment", "tested on", "runs", "UAR", "accuracy", "F1 macro", "F1 weighted", "UAR pooled [95 %]"]
    rows = [header]
    for experiment in results["experiments"]:
        runs = [run for run in experiment["runs"] if run["status"] == "done"]
        if not runs:
            rows.append([experiment["name"], "-", "0", *5 * ["-"]])
        for corpus, summary in experiment["summary"].items():
            cells = [
                f"{summary[metric]['mean']:.3f} ± {summary[metric]['std']:.3f}"
                for metric in ("uar", "accuracy", "f1_macro", "f1_weighted")
            ]
            tested = sum(corpus in run["test"] for run in runs)
            interval = summary["uar"]["ci95"]
            bounds = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
            rows.append([experiment["name"], corpus, str(tested), *cells, f"{summary['uar']['pooled']:.3f}{bounds}"])
    return format_table(rows)


def format_table(rows: list[list[str]]) -> str:
    """Rows of text, the first one the header, in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


__all__ = ["check_trackers", "format_table", "results_table", "tracked"]
