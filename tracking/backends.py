"""The trackers themselves: an open W&B run and TensorBoard's event files, with the same methods.

What leaves for a tracker holds no path and no name of this machine, no command line, no console output and no row of a
corpus. Two things can't be helped: TensorBoard puts the host's name into the *name* of an event file, and W&B keeps
debug logs with paths in `logs` beside a run, which it does not send.
"""

import html
import json
import logging
import os
import re
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_text
from ..interruption import heed

logger = logging.getLogger(__name__)

TITLES = {"wandb": "W&B", "tensorboard": "TensorBoard"}

_PATIENCE = 30  # seconds to wait for a server
_WANDB_ID = "wandb_id"  # in a run's folder, and in the job's for its summary: who goes on, goes on in the same W&B run


# ---- what fails, and is said once -----------------------------------------------------------------------------------

_warned: dict[Path, set[str]] = {}
"""What was said of each job that is under way: a line is said once, not for each of its runs."""


def warn_once(job_folder: Path, what: str, rest: str) -> None:
    """Warns of `what`, once in a job."""
    warned = _warned.setdefault(job_folder, set())
    if what not in warned:
        warned.add(what)
        logger.warning("%s%s", what, rest)


def attempt(job_folder: Path, what: str, do: Callable[[], Any]) -> Any:
    """What `do` gives; None, with a warning, where the tracker fails: training goes on."""
    try:
        return do()
    except Exception as error:  # noqa: BLE001 whatever a tracker raises
        warn_unsent(job_folder, what, error)
        return None


def warn_unsent(job_folder: Path, what: str, error: Exception) -> None:
    """Warns, once in a job and in one line, that `what` could not be sent. Raises Interrupted where that is a signal's
    doing."""
    heed()
    warn_once(job_folder, f"{what} could not be sent", f" ({_one_line(error)}); the job goes on without")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def forget(job_folder: Path) -> None:
    """The job is over: what it said can be said again."""
    _warned.pop(job_folder, None)


# ---- W&B ------------------------------------------------------------------------------------------------------------


class WandB:
    """An open W&B run."""

    title = TITLES["wandb"]

    def __init__(self, opened: Any, job_folder: Path):
        self.opened, self.job_folder = opened, job_folder

    def begin(self, step: int) -> None:
        """Nothing is left to open."""

    def parameters(self, parameters: dict[str, Any]) -> None:
        self.opened.config.update(parameters, allow_val_change=True)

    def scalars(self, values: dict[str, float], step: int) -> None:
        self.opened.log(values, step=step)

    def flush(self, step_is_whole: bool) -> None:
        """Lets go of the last step, which W&B otherwise holds until the next; it writes what it has every second."""
        if step_is_whole:
            self.opened.log({}, commit=True)

    def figure(self, name: str, pixels: np.ndarray, step: int) -> None:
        import wandb

        self.opened.log({name: wandb.Image(pixels)}, step=step)

    def confusion(self, name: str, matrix: np.ndarray, labels: list[str], step: int) -> None:
        """The (C, C) counts as a table, which needs no matplotlib."""
        rows = [[label, *counts] for label, counts in zip(labels, matrix.tolist(), strict=True)]
        self.table(f"{name}_counts", ["true \\ predicted", *labels], rows, step)

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int | None = None) -> None:
        """As HTML: a `wandb.Table` would go through the home folder, and keep its path."""
        import wandb

        lines = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in [columns, *rows]]
        text = f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
        self.opened.log({name: wandb.Html(text)}, step=step)

    def model(self, folder: Path) -> None:
        """The exported model as an artifact, read where it lies and not copied.

        Offline, its files are known by their places in the job's folder: it can be moved, and is to be synced from.
        """
        import wandb

        artifact = wandb.Artifact(_artifact_name(self.opened.name), type="model")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = artifact.add_file(str(path), name=path.relative_to(folder).as_posix(), policy="immutable")
            if self.opened.offline:
                entry.local_path = os.path.relpath(path, self.job_folder)
        self.opened.log_artifact(artifact)

    def close(self, exit_code: int) -> None:
        self.opened.finish(exit_code=exit_code)


def _artifact_name(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9._-]", "_", name)[:128]


def open_wandb(project: str, job_folder: Path, id_folder: Path, **about: Any) -> WandB:
    """A new W&B run, or the one whose id lies in `id_folder`, gone on with; offline without a key or a connection."""
    import wandb

    place = Path(os.environ.get("WANDB_DIR") or job_folder)
    place.mkdir(parents=True, exist_ok=True)
    options = {
        "project": project,
        "dir": str(place),
        "id": _wandb_id(id_folder),
        "resume": "allow",
        "reinit": "finish_previous",
        "settings": _wandb_settings(),
        **about,
    }
    mode = os.environ.get("WANDB_MODE") or None
    unreachable = "W&B can't be reached"
    if mode is None and (unreachable in _warned.get(job_folder, ()) or not wandb.login(prompt=False, verify=False)):
        mode = "offline"
    try:
        opened = wandb.init(mode=mode, **options)
    except Exception as error:  # noqa: BLE001 whatever W&B raises without a connection or with a wrong key
        if mode in ("offline", "disabled"):
            raise
        warn_once(job_folder, unreachable, f" ({_one_line(error)})")
        options["id"] = _wandb_id(id_folder, new=True)  # W&B holds the other in use
        opened = wandb.init(mode="offline", **options)
    if opened.offline:
        runs = os.path.relpath(place / "wandb", job_folder) if place == job_folder else str(place.resolve() / "wandb")
        command = f"cd {shlex.quote(str(job_folder))} && wandb sync {shlex.quote(runs)}/offline-run-*"
        warn_once(job_folder, "W&B: tracked offline", f"; to send it later: {command}")
    return WandB(opened, job_folder)


def _wandb_settings() -> Any:
    """Quiet; nothing of this machine, its command line, its console or its checkout; gives up on a lost connection."""
    import wandb

    wanted = {
        "silent": True,
        "console": "off",
        "host": "",
        "program": "",
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "x_disable_meta": True,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": 1,  # seconds; else a kill loses up to 15
        "init_timeout": _PATIENCE,
        "finish_timeout": 300,  # what is not sent by then stays on the disk
    }
    return wandb.Settings(**wanted)


def _wandb_id(folder: Path, new: bool = False) -> str:
    """The W&B id kept in a folder; made where there is none, or a `new` one is wanted."""
    path = folder / _WANDB_ID
    if new or not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, secrets.token_hex(8))
    return path.read_text()


# ---- TensorBoard ----------------------------------------------------------------------------------------------------


class TensorBoard:
    """Event files of a run. Of an interrupted run, what is past the state that it goes on from is void."""

    title = TITLES["tensorboard"]

    def __init__(self, folder: Path):
        self.folder, self.writer = folder, None

    def begin(self, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            from tensorboardX import SummaryWriter
        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1 if step else 0)

    def parameters(self, parameters: dict[str, Any]) -> None:
        lines = json.dumps(parameters, indent=2, default=str).splitlines()
        self.writer.add_text("hyper-parameters", "\n".join(f"    {line}" for line in lines))

    def scalars(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def flush(self, step_is_whole: bool) -> None:
        self.writer.flush()

    def figure(self, name: str, pixels: np.ndarray, step: int) -> None:
        self.writer.add_image(name, pixels, step, dataformats="HWC")

    def confusion(self, name: str, matrix: np.ndarray, labels: list[str], step: int) -> None:
        """The figure says it."""

    def model(self, folder: Path) -> None:
        """TensorBoard keeps no models."""

    def close(self, exit_code: int) -> None:
        if self.writer is not None:
            self.writer.close()


__all__ = ["TITLES", "TensorBoard", "WandB", "attempt", "forget", "open_wandb", "warn_once", "warn_unsent"]
