"""Tracking: a W&B run for each run of a job and one that sums it up, TensorBoard's event files."""

import contextlib
import importlib.util
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers import TrainerCallback
from transformers import TrainerState
from transformers import TrainingArguments

from ..errors import InputError
from ..evaluation.metrics import SCALARS
from ..evaluation.metrics import scalar_scores
from ..evaluation.predictions import Predictions
from ..evaluation.predictions import RunPredictions
from ..evaluation.predictions import pool_runs
from ..features.text_encoders import public_name
from ..interruption import heed
from ..processes import process_state
from ..settings.settings import Settings
from ..settings.settings import settings_identity
from .backends import TITLES
from .backends import TensorBoard
from .backends import WandB
from .backends import attempt
from .backends import forget
from .backends import open_wandb
from .backends import warn_once
from .backends import warn_unsent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..experiments.run import Run

_PACKAGES = {"wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX")}
_STEPS_AT_ONCE = 50  # losses of steps that are sent together: each asks the device for its value


def check_trackers(settings: Settings) -> None:
    """Raises InputError for a tracker in `report_to` whose package is not installed."""
    for tracker in settings.report_to:
        if not any(importlib.util.find_spec(package) for package in _PACKAGES[tracker]):
            raise InputError(
                f"experiment {settings.name!r}: report_to holds {tracker}, which is not installed: pip install "
                f"{tracker}, or take it out"
            )


def _wandb_run(run: "Run", job_folder: Path) -> WandB:
    settings = run.settings
    modality = settings.modality if isinstance(settings.modality, str) else "+".join(settings.modality)
    kind = settings.fusion_type if len(settings.modalities) > 1 else None
    curriculum = settings.curriculum_type if settings.use_curriculum_learning else "no curriculum"
    tags = [settings.slug, modality, kind, curriculum, settings.evaluation_mode, *settings.training_corpora]
    tags += [f"seed-{run.seed}", run.fold.name]
    return open_wandb(
        settings.wandb_project,
        job_folder,
        run.folder,
        name=f"{settings.slug}-seed{run.seed}-{run.fold.name}",
        group=settings.name[:128],
        tags=list(dict.fromkeys(tag[:64] for tag in tags if tag)),
    )


# ---- a run of the job -----------------------------------------------------------------------------------------------


class Tracker(TrainerCallback):
    """Sends what one run of the job logs, and what it ended with, to its trackers. To be given to its Trainer.

    One that fails is left out from there on, with a warning.

    Args:
        run: the run.
        job_folder: of its job.
        sinks: its open trackers; none on processes other than the first.
    """

    def __init__(self, run: "Run", job_folder: Path, sinks: list[WandB | TensorBoard]):
        self.run, self.job_folder, self.sinks = run, job_folder, sinks
        self._labels: list[str] = []
        self._losses: list[torch.Tensor] = []  # of the batches of this step
        self._steps: list[tuple[int, float, torch.Tensor]] = []  # step, learning rate, loss: not yet sent
        self._rate, self._step = math.nan, 0
        self._hook = None

    # ---- as callback ----

    def on_train_begin(self, args, state, control, model, **kwargs):
        if not self.sinks:
            return
        self._hook = model.register_forward_hook(self._keep_loss)
        self._begin(args, state.global_step, model)

    def _begin(self, args: TrainingArguments, step: int, model: PreTrainedModel) -> None:
        self._step = step
        self._labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
        self._send("this run", lambda sink: sink.begin(step))
        self._send(
            "its hyper-parameters",
            lambda sink: sink.parameters(_parameters(self.run, args.to_dict(), model.config.to_dict())),
        )

    def _keep_loss(self, model, inputs, output) -> None:
        if self.sinks and model.training and output.loss is not None:
            self._losses.append(output.loss.detach())

    def on_step_begin(self, args, state, control, optimizer, **kwargs):
        self._rate = optimizer.param_groups[0]["lr"]

    def on_step_end(self, args, state, control, **kwargs):
        if not self.sinks:
            return
        self._step = state.global_step
        if self._losses:
            self._steps.append((self._step, self._rate, torch.stack(self._losses).mean()))
            self._losses = []
        if len(self._steps) >= _STEPS_AT_ONCE:
            self._send_steps()

    def _send_steps(self) -> None:
        steps, self._steps = self._steps, []
        for step, rate, loss in steps:
            values = {"train/learning_rate": rate, "train/step_loss": loss.item()}
            self._send("its curves", lambda sink, values=values, step=step: sink.scalars(values, step))

    def on_log(self, args, state, control, logs, **kwargs):
        if not self.sinks:
            return
        self._send_steps()
        values = {self._name(key): value for key, value in logs.items() if key != "learning_rate"}
        self._send("its metrics", lambda sink: sink.scalars(values, state.global_step))

    def _name(self, key: str) -> str:
        """The name of what the Trainer logs: classes by their labels."""
        if key.startswith("curriculum/class_"):
            return f"curriculum/share_{self._labels[int(key.removeprefix('curriculum/class_'))]}"
        if key.startswith(("eval_", "curriculum/")):
            return key.replace("eval_", "eval/", 1)
        return f"train/{key}"

    def on_save(self, args, state, control, **kwargs):
        """What was tracked up to here is kept: a run that is interrupted goes on from here."""
        if self.sinks:
            self._send_steps()
            # At the end of an epoch the next one's pool belongs to this step as well.
            self._send("what is not yet on the disk", lambda sink: sink.flush(step_is_whole=bool(state.epoch % 1)))

    def on_train_end(self, args, state, control, **kwargs):
        if self.sinks:  # the Trainer has logged, and so sent, all steps
            self._draw("curriculum/pool", lambda: _curriculum_figure(state.log_history, self._labels))

    def replay(
        self,
        args: TrainingArguments,
        state: TrainerState,
        model: PreTrainedModel,
        losses: Sequence[float],
        rates: Sequence[float],
    ) -> None:
        """Sends what a run logged that has been trained by others, as if it were logged now.

        Args:
            losses, rates: of each of its steps.
        """
        if not self.sinks:
            return
        self._begin(args, 0, model)
        for entry in state.log_history:
            for step in range(self._step, entry["step"]):
                self._steps.append((step + 1, rates[step], torch.tensor(losses[step])))
            self._step = entry["step"]
            self._send_steps()
            values = {self._name(key): value for key, value in entry.items() if key not in ("learning_rate", "step")}
            self._send("its metrics", lambda sink, values=values: sink.scalars(values, self._step))
        self.on_train_end(args, state, None)

    # ---- the end ----

    def finished(self, result: dict[str, Any], predictions: list[Predictions], model: Path) -> None:
        """Sends what a run ended with: scores, confusion matrix and accuracy by difficulty, the exported model.

        Args:
            result: what `metrics.json` holds.
            predictions: the test rows of each corpus.
            model: folder of the export.
        """
        if self.sinks:
            attempt(self.job_folder, "what a run ended with", lambda: self._finished(result, predictions, model))

    def _finished(self, result: dict[str, Any], predictions: list[Predictions], model: Path) -> None:
        validation = result["validation"]  # none of a final model
        ended = {f"best/{name}": value for name, value in scalar_scores(validation).items()} if validation else {}
        if result["best_epoch"] is not None:
            ended["best/epoch"] = float(result["best_epoch"])
        for corpus, scores in result["test"].items():
            ended |= _flat(corpus, scores)
        self._send("its test scores", lambda sink: sink.scalars(ended, self._step))
        for corpus, scores in result["test"].items():
            self._confusion(f"test/{corpus}/confusion_matrix", scores)
        for tested in predictions:
            self._draw(f"test/{tested.corpora[0]}/difficulty", lambda rows=tested: _difficulty_figure(rows))
        self._send("its model", lambda sink: sink.model(model))

    def _confusion(self, name: str, scores: dict[str, Any]) -> None:
        labels, matrix = list(scores["recall_per_class"]), np.array(scores["confusion_matrix"])
        self._send("its confusion matrix", lambda sink: sink.confusion(name, matrix, labels, self._step))
        self._draw(name, lambda: _confusion_figure(matrix, labels))

    def close(self, exit_code: int) -> None:
        """Ends the run at its trackers; 0 is a run that is done."""
        if self._hook is not None:
            self._hook.remove()
        self._send_steps()
        for sink in self.sinks:
            attempt(self.job_folder, f"{sink.title}: the end of this run", lambda sink=sink: sink.close(exit_code))

    # ---- sending ----

    def _send(self, what: str, send: Callable[[WandB | TensorBoard], None]) -> None:
        """Lets each tracker send; one that fails is closed, and left out from there on."""
        for sink in list(self.sinks):
            try:
                send(sink)
            except Exception as error:  # noqa: BLE001 whatever a tracker raises
                warn_unsent(self.job_folder, f"{sink.title}: {what}", error)
                self.sinks.remove(sink)
                with contextlib.suppress(Exception):
                    sink.close(1)

    def _draw(self, name: str, draw: Callable[[], "Figure | None"]) -> None:
        """Sends a figure, if there is one to be drawn."""
        try:
            figure = draw()
            pixels = None if figure is None else _pixels(figure)
        except ImportError as error:
            warn_once(self.job_folder, "trackers: no figures", f" ({error}): pip install matplotlib")
        except Exception as error:  # noqa: BLE001 a run is worth more than its figure
            heed()
            warn_once(self.job_folder, "trackers: a figure is left out", f" ({name}: {' '.join(str(error).split())})")
        else:
            if pixels is not None:
                self._send("its figures", lambda sink: sink.figure(name, pixels, self._step))


@contextlib.contextmanager
def tracked(run: "Run", job_folder: Path) -> Iterator[Tracker]:
    """Opens the trackers of one run of the job, and closes them however the run ends.

    W&B: one run for each (experiment, seed, fold), grouped by experiment; offline where there is no key or no
    connection. TensorBoard: event files in the run's folder. A tracker that fails is left out, with a warning: it
    never stops a job.

    A run that was interrupted goes on in the W&B run it had: offline that is a second folder with the same id, which
    `wandb sync` sends after the first. The steps since the state that it goes on from are in both, with equal values.
    """
    openers = {
        "wandb": lambda: _wandb_run(run, job_folder),
        "tensorboard": lambda: TensorBoard(run.files.tensorboard),
    }
    sinks = []
    if process_state().is_main_process:  # it alone reports
        wanted = run.settings.report_to
        sinks = [attempt(job_folder, f"{TITLES[name]}: this run", openers[name]) for name in wanted]
    tracker = Tracker(run, job_folder, [sink for sink in sinks if sink is not None])
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.close(exit_code)


# ---- what is sent ---------------------------------------------------------------------------------------------------


def _parameters(run: "Run", arguments: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """The hyper-parameters: settings, and the Trainer's and the model's own."""
    about = {"experiment": run.settings.name, "seed": run.seed, "fold": run.fold.name}
    return _public({**about, **settings_identity(run.settings), "trainer": arguments, "model": model})


def _public(value: Any) -> Any:
    """As JSON, without what tells of this machine: tokens, and all of a path but its last part."""
    if isinstance(value, dict):
        hidden = ("_token", "_dir", "_or_path")
        return {str(key): _public(each) for key, each in value.items() if not str(key).endswith(hidden)}
    if isinstance(value, list | tuple):
        return [_public(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else public_name(str(value))


def _flat(corpus: str, scores: dict[str, Any]) -> dict[str, float]:
    recalls = {f"recall_{name}": value for name, value in scores["recall_per_class"].items() if value is not None}
    return {f"test/{corpus}/{name}": value for name, value in (scalar_scores(scores) | recalls).items()}


def _curriculum_figure(history: list[dict[str, Any]], labels: list[str]) -> "Figure | None":
    """The pool by epoch; None where nothing was logged of it, or it was always all rows."""
    from ..reporting.figures import curriculum_figure
    from ..reporting.report_data import Curves

    logged = [entry for entry in history if "curriculum/pool_fraction" in entry]
    names = {name for entry in logged for name in entry if name.startswith("curriculum/")}
    series = {name: np.array([[entry.get(name, math.nan) for entry in logged]]) for name in names}
    epochs = np.array([round(entry["epoch"]) + 1 for entry in logged])  # logged as the epoch begins
    curves = Curves(epochs, series, np.array([math.nan]))
    return curriculum_figure(curves, labels) if curves.has_curriculum else None


def _confusion_figure(matrix: np.ndarray, labels: list[str]) -> "Figure":
    from ..reporting.figures import confusion_figure

    return confusion_figure(matrix, labels, shares=False)


def _difficulty_figure(predictions: Predictions) -> "Figure | None":
    """Accuracy by difficulty of the test rows of a corpus; None where too few of them have one."""
    from ..reporting.figures import difficulty_figure
    from ..reporting.findings import difficulty_curve
    from ..reporting.report_data import Tested

    ((corpus, rows),) = pool_runs([RunPredictions(0, "", predictions)]).items()
    by_id = predictions.difficulty[np.argsort(predictions.utterance_ids)]  # `rows` are ordered so
    curve = difficulty_curve(Tested(corpus, rows, by_id, {}))
    return None if curve is None else difficulty_figure(curve)


def _pixels(figure: "Figure") -> np.ndarray:
    """(height, width, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


# ---- the whole job --------------------------------------------------------------------------------------------------


def summarise_job(results: dict[str, Any], settings: list[Settings], job_folder: Path) -> None:
    """A W&B run that holds the averages of the whole job, where any of its experiments reports there."""
    reporting = [each for each in settings if "wandb" in each.report_to]
    if reporting and process_state().is_main_process:
        attempt(job_folder, "W&B: the summary", lambda: _summary_run(results, reporting[0], job_folder))
    forget(job_folder)


def _summary_run(results: dict[str, Any], settings: Settings, job_folder: Path) -> None:
    columns = ["experiment", "corpus", *(f"{score} {part}" for score in SCALARS for part in ("pooled", "mean", "std"))]
    rows = [
        [entry["name"], corpus, *(summary[score][part] for score in SCALARS for part in ("pooled", "mean", "std"))]
        for entry in results["experiments"]
        for corpus, summary in entry["summary"].items()
    ]
    recipe = results["recipe"]
    sink = open_wandb(
        settings.wandb_project,
        job_folder,
        job_folder,
        name=f"{recipe}-summary",
        job_type="summary",
        tags=["summary", recipe[:64]],
    )
    opened = sink.opened
    try:
        opened.config.update({"recipe": recipe, "protocol": results["protocol"]}, allow_val_change=True)
        sink.table("results", columns, rows)
        for name, corpus, *values in rows:
            opened.summary.update(
                {f"{name}/{corpus}/{key}": value for key, value in zip(columns[2:], values, strict=True)}
            )
    finally:
        sink.close(0)


__all__ = ["Tracker", "check_trackers", "summarise_job", "tracked"]
