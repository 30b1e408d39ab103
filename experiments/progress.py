"""The progress of a job on a terminal: its runs, and the epochs within each."""

import contextlib
import logging
import os
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import TrainerCallback

_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {postfix[0]} [{elapsed}<{remaining}{postfix[1]}]"


class JobProgress:
    """A bar for the runs of a job that moves with every epoch; log lines go above it. Nothing without a terminal.

    Args:
        name: of the job.
        runs: how many it has.
        shown: by this process.
    """

    def __init__(self, name: str, runs: int, shown: bool):
        self._bar = tqdm(
            total=runs,
            desc=name,
            bar_format=_FORMAT,
            postfix=["", ""],
            disable=None if shown else True,
            dynamic_ncols="TQDM_NCOLS" not in os.environ,
        )
        self._runs, self._done, self._best = runs, 0, 0.0
        self._run = ""
        self.callback: TrainerCallback = _Epochs(self)
        self._around = contextlib.ExitStack()

    def __enter__(self) -> "JobProgress":
        if not self._bar.disable:
            loggers = [logging.getLogger(name) for name in (__package__.partition(".")[0], "transformers")]
            self._around.enter_context(logging_redirect_tqdm(loggers))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._around.close()
        self._bar.close()

    def begin(self, run: str) -> None:
        """A run begins: experiment, seed and fold in words."""
        self._run = f"run {self._done + 1}/{self._runs}, {run}"
        self._show(0.0, self._run)

    def epoch(self, number: int, epochs: int) -> None:
        """An epoch of the run begins, counted from 0."""
        self._show(number / epochs, f"{self._run}, epoch {number + 1}/{epochs}")

    def end(self, validation_uar: float | None) -> None:
        """The run has ended; None where it gave no result."""
        self._done += 1
        self._best = max(self._best, validation_uar or 0.0)
        self._show(0.0, self._run)

    def _show(self, part: float, text: str) -> None:
        if not self._bar.disable:
            self._bar.n = self._done + part
            self._bar.postfix = [text, f", best validation UAR {self._best:.3f}" if self._best else ""]
            self._bar.refresh()


class _Epochs(TrainerCallback):
    def __init__(self, progress: JobProgress):
        self.progress = progress

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.progress.epoch(int(state.epoch or 0), int(args.num_train_epochs))


__all__ = ["JobProgress"]
