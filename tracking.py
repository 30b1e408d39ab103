"""Trackers: a W&B run for each run of a job and one that sums it up, TensorBoard's event files."""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pyarrow as pa
from accelerate import PartialState

from .errors import InputError
from .metrics import SCALARS
from .metrics import scalar_scores
from .settings import Settings
from .settings import settings_identity

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


class Tracker:
    """The open tracker run of one run of the job.

    Args:
        report_to: what the run's Trainer reports to.
        wandb_run: the W&B run, on the main process, or None.
    """

    def __init__(self, report_to: list[str], wandb_run: Any = None):
        self.report_to = report_to
        self._wandb_run = wandb_run

    def finished(self, result: dict[str, Any], predictions: list[pa.Table], model: Path) -> None:
        """Sends what a run ended with: scores, confusion matrix and accuracy by difficulty, the exported model."""
        if self._wandb_run is None:
            return
        for corpus, scores in result["test"].items():
            _softly("its test scores", lambda c=corpus, s=scores: self._wandb_run.log(_flat(c, s)))
        for table in predictions:
            _softly("its confusion matrix", lambda t=table: self._log_rows(t))
        _softly("its model", lambda: self._log_model(model))

    def _log_rows(self, table: pa.Table) -> None:
        import wandb

        names = sorted({*table["label"].to_pylist(), *table["prediction"].to_pylist()})
        corpus = table["corpus"][0].as_py()
        matrix = wandb.plot.confusion_matrix(
            y_true=[names.index(name) for name in table["label"].to_pylist()],
            preds=[names.index(name) for name in table["prediction"].to_pylist()],
            class_names=names,
            title=f"confusion matrix, {corpus}",
        )
        right = [a == b for a, b in zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)]
        rows = [[d, int(r)] for d, r in zip(table["difficulty"].to_pylist(), right, strict=True) if d == d]
        logged = {f"test/{corpus}/confusion_matrix": matrix}
        if rows:
            points = wandb.Table(columns=["difficulty", "right"], data=rows)
            logged[f"test/{corpus}/difficulty"] = wandb.plot.scatter(points, "difficulty", "right")
        self._wandb_run.log(logged)

    def _log_model(self, model: Path) -> None:
        import wandb

        artifact = wandb.Artifact(self._wandb_run.name, type="model")
        artifact.add_dir(str(model), policy="immutable")  # read where it lies, not copied
        self._wandb_run.log_artifact(artifact)


@contextlib.contextmanager
def tracked(run: "Run", job_folder: Path) -> Iterator[Tracker]:
    """Opens the tracker run of one run of the job, and closes it however the run ends.

    W&B: one run for each (experiment, seed, fold), grouped by experiment; offline where there is no key. TensorBoard:
    event files in the run's folder. A tracker that fails is left out, with a warning: it never stops a job.
    """
    settings = run.settings
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run.folder / "tensorboard")
    trackers = list(settings.report_to)
    wandb_run = None
    if "wandb" in trackers:
        if PartialState().is_main_process:  # it alone reports
            wandb_run = _softly("this run", lambda: _start_run(run, job_folder))
        if wandb_run is None:
            trackers.remove("wandb")
    exit_code = 1
    try:
        yield Tracker(trackers, wandb_run)
        exit_code = 0
    finally:
        if wandb_run is not None:
            _softly("the end of this run", lambda: wandb_run.finish(exit_code=exit_code))


def summarise_job(results: dict[str, Any], settings: list[Settings], job_folder: Path) -> None:
    """A W&B run that holds the averages of the whole job, where any of its experiments reports there."""
    reporting = [each for each in settings if "wandb" in each.report_to]
    if reporting and PartialState().is_main_process:
        _softly("the summary", lambda: _summary_run(results, reporting[0], job_folder))


def _summary_run(results: dict[str, Any], settings: Settings, job_folder: Path) -> None:
    import wandb

    columns = ["experiment", "corpus", *(f"{score} {part}" for score in SCALARS for part in ("mean", "std", "pooled"))]
    rows = [
        [entry["name"], corpus, *(summary[score][part] for score in SCALARS for part in ("mean", "std", "pooled"))]
        for entry in results["experiments"]
        for corpus, summary in entry["summary"].items()
    ]
    opened = _start(settings.wandb_project, job_folder, name=f"{results['recipe']}-summary", job_type="summary")
    opened.config.update({"recipe": results["recipe"], "protocol": results["protocol"]})
    opened.log({"results": wandb.Table(columns=columns, data=rows)})
    for name, corpus, *values in rows:
        opened.summary.update(
            {f"{name}/{corpus}/{key}": value for key, value in zip(columns[2:], values, strict=True)}
        )
    opened.finish()


def _start_run(run: "Run", job_folder: Path):
    settings = run.settings
    about = {**settings_identity(settings), "experiment": settings.name, "seed": run.seed, "fold": run.fold.name}
    return _start(
        settings.wandb_project,
        job_folder,
        name=f"{settings.slug}-seed{run.seed}-{run.fold.name}",
        group=settings.name,
        tags=[settings.slug, settings.modality, f"seed-{run.seed}", run.fold.name],
        config={"emomm": about},
    )


def _start(project: str, job_folder: Path, **about: Any):
    import wandb

    mode = os.environ.get("WANDB_MODE")
    if mode is None and not wandb.api.api_key:
        mode = "offline"
        logger.warning("no W&B key: tracking offline; `wandb sync %s/wandb/offline-run-*` sends it later", job_folder)
    job_folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        project=project,
        dir=str(job_folder),
        mode=mode,
        reinit="finish_previous",
        settings=wandb.Settings(silent=True),
        **about,
    )


def _flat(corpus: str, scores: dict[str, Any]) -> dict[str, float]:
    recalls = {f"recall_{name}": value for name, value in scores["recall_per_class"].items() if value is not None}
    return {f"test/{corpus}/{name}": value for name, value in (scalar_scores(scores) | recalls).items()}


def _softly(what: str, do: Callable[[], Any]) -> Any:
    """What `do` gives; None, with a warning, where the tracker fails: training goes on."""
    try:
        return do()
    except Exception as error:  # noqa: BLE001 whatever a tracker raises
        logger.warning("W&B: %s could not be sent (%s)", what, error)
        return None


__all__ = ["Tracker", "check_trackers", "summarise_job", "tracked"]
