"""The progress of a job on a terminal: its runs, and the epochs within each."""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import TrainerCallback

_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {postfix[0]} [{elapsed}<{remaining}{postfix[1]}]"
_LINE = "  {desc}"


@dataclass
class _Running:
    """A run under way: what is said of it, and which part is done."""

    text: str
    epoch: str = ""
    part: float = 0.0


class JobProgress:
    """A bar for the runs of a job that moves with every epoch; log lines go above it. Nothing without a terminal.

    Runs that go on side by side have a line each, below it.

    Args:
        name: of the job.
        runs: how many it has.
        shown: by this process.
        of: what a run is called.
    """

    def __init__(self, name: str, runs: int, shown: bool, of: str = "run"):
        self._bar = tqdm(
            total=runs,
            desc=name,
            bar_format=_FORMAT,
            postfix=["", ""],
            disable=None if shown else True,
            dynamic_ncols="TQDM_NCOLS" not in os.environ,
        )
        self._runs, self._done, self._best, self._of = runs, 0, 0.0, of
        self._running: dict[int | None, _Running] = {}
        self._lines: dict[int, tqdm] = {}
        self._around = contextlib.ExitStack()

    def __enter__(self) -> "JobProgress":
        if not self._bar.disable:
            loggers = [logging.getLogger(name) for name in (__package__.partition(".")[0], "transformers")]
            self._around.enter_context(logging_redirect_tqdm(loggers))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._around.close()
        for line in self._lines.values():
            line.close()
        self._bar.close()

    def callback(self, worker: int | None = None) -> TrainerCallback:
        """Tells it of the epochs of a run."""
        return EpochsBegin(lambda number, epochs: self.epoch(number, epochs, worker))

    def begin(self, run: str, worker: int | None = None) -> None:
        """A run begins.

        Args:
            run: experiment, seed and fold in words.
            worker: that takes it, from 0, where there are several.
        """
        number = f"{self._of} {self._done + 1}/{self._runs}, " if worker is None else ""
        self._running[worker] = _Running(f"{number}{run}")
        self._show()

    def epoch(self, number: int, epochs: int, worker: int | None = None) -> None:
        """An epoch of the run begins, counted from 0."""
        running = self._running[worker]
        running.epoch, running.part = f", epoch {number + 1}/{epochs}", number / epochs
        self._show()

    def end(self, outcome: dict[str, Any], worker: int | None = None) -> None:
        """The run has ended, with this outcome."""
        self._done += 1
        if outcome["status"] == "done":
            self._best = max(self._best, outcome["validation"]["uar"])
        running = self._running.pop(worker)
        self._show(running.text if worker is None else "")

    def leave(self, worker: int) -> None:
        """The run of a worker has not ended, and is not under way any more."""
        del self._running[worker]
        self._show()

    def skip(self, outcome: dict[str, Any], run: str) -> None:
        """A run was done before: it counts, and the time that others take is not reckoned from it."""
        self.begin(run, -1)
        if not self._bar.disable:
            self._bar.initial += 1
        self.end(outcome, -1)

    def _show(self, text: str = "") -> None:
        if self._bar.disable:
            return
        running = [*self._running.values()]
        alone = self._running.get(None)
        if alone is not None:
            text = alone.text + alone.epoch
        elif self._running or self._lines:
            text = f"{self._done}/{self._runs} {self._of}s, {len(self._running)} side by side"
        self._bar.n = self._done + sum(each.part for each in running)
        self._bar.postfix = [text, f", best validation UAR {self._best:.3f}" if self._best else ""]
        self._bar.refresh()
        for worker in {*self._running, *self._lines} - {None, -1}:
            self._line(worker).set_description_str(self._said(worker))

    def _said(self, worker: int) -> str:
        running = self._running.get(worker)
        return "" if running is None else running.text + running.epoch

    def _line(self, worker: int) -> tqdm:
        if worker not in self._lines:
            self._lines[worker] = tqdm(
                total=1, bar_format=_LINE, position=worker + 1, leave=False, dynamic_ncols=self._bar.dynamic_ncols
            )
        return self._lines[worker]


class EpochsBegin(TrainerCallback):
    """Tells of each epoch of a run as it begins.

    Args:
        tell: is called with its number, from 0, and how many there are.
    """

    def __init__(self, tell: Callable[[int, int], None]):
        self.tell = tell

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.tell(int(state.epoch or 0), int(args.num_train_epochs))


__all__ = ["EpochsBegin", "JobProgress"]
