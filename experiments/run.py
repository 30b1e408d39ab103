"""One run of a job, by what it is told apart from others, and how one fails."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..evaluation.folds import Fold
from ..evaluation.learning_checks import Warnings
from ..job_folder import RunFolder
from ..settings.settings import Settings


class RunFailed(RuntimeError):
    """A run that could not give a result; the job goes on with the others.

    Args:
        message: why.
        warnings: of `learning_checks`, where it learned nothing.
    """

    def __init__(self, message: str, warnings: Warnings = ()):
        super().__init__(message)
        self.warnings = list(warnings)


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Args:
        settings: the experiment.
        seed: of the weights, the order and the validation draw.
        fold: which rows train, validate and test.
        folder: where its files go.
        inputs: everything that can change its result, besides the seed and the fold: the settings, a hash of each
            corpus, the number of processes.
        stop_after_epoch: end there, with the schedules of all epochs. Goes with a fold without validation rows.
        epoch_steps: optimiser steps of every epoch, where they are not those of one pass over the training rows.
    """

    settings: Settings
    seed: int
    fold: Fold
    folder: Path
    inputs: dict[str, Any]
    stop_after_epoch: int | None = None
    epoch_steps: int | None = None

    @property
    def files(self) -> RunFolder:
        """What its folder holds."""
        return RunFolder(self.folder)

    @cached_property
    def identity(self) -> str:
        """Hash of everything that can change its result."""
        everything = {**self.inputs, "seed": self.seed, "fold": self.fold.name}
        return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.settings.name} · seed {self.seed} · {self.fold.name}"


__all__ = ["Run", "RunFailed"]
