"""An experiment whose settings differ by fold, as a nested search finds them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..curriculum_trainer import CurriculumTrainer
from ..curriculum_trainer import CurriculumTrainingArguments
from ..errors import InputError
from ..errors import nearest
from ..settings.fold_settings import settings_of_fold
from .data import ExperimentData
from .run import Run
from .text_encoder import Encoders
from .training import Begun
from .training import Experiment


class FoldExperiments(Experiment):
    """As `Experiment`, with the settings `by_fold` in the folds that they name, and the others elsewhere.

    That of the fold that was asked for last is kept: runs come fold by fold, and a fold's inputs take memory.
    """

    def __init__(
        self, data: ExperimentData, job_folder: Path, offline_ok: bool = False, encoders: Encoders | None = None
    ):
        super().__init__(data, job_folder, offline_ok, encoders)
        self._given = (job_folder, offline_ok, encoders)
        self._last: tuple[str, Experiment] | None = None

    def of_fold(self, fold: str) -> Experiment:
        """With the settings that hold in a fold. Raises InputError where they can't be trained."""
        if self._last is None or self._last[0] != fold:
            settings = settings_of_fold(self.settings, fold)
            self._last = fold, Experiment(replace(self.data, settings=settings), *self._given)
        return self._last[1]

    def check_folds(self, names: Sequence[str]) -> None:
        """Raises InputError where settings are given of what is no fold.

        Args:
            names: of all folds.
        """
        for fold in self.settings.by_fold:
            if fold not in names:
                raise InputError(
                    f"experiment {self.settings.name!r}: by_fold names {fold!r}, which is no fold."
                    f"{nearest(fold, names)} Folds: {', '.join(dict.fromkeys(names))}"
                )

    def check(self, run: Run) -> None:
        """As `Experiment`."""
        self.of_fold(run.fold.name).check(run)

    def arguments(self, run: Run) -> CurriculumTrainingArguments:
        """As `Experiment`."""
        return self.of_fold(run.fold.name).arguments(run)

    def steps(self, run: Run, world_size: int) -> int:
        """As `Experiment`."""
        return self.of_fold(run.fold.name).steps(run, world_size)

    def train(self, run: Run) -> dict[str, Any]:
        """As `Experiment`."""
        of_fold = self.of_fold(run.fold.name)
        of_fold.callbacks = self.callbacks
        return of_fold.train(run)

    def begin(
        self, run: Run, callbacks: Sequence[TrainerCallback], kind: type[CurriculumTrainer] = CurriculumTrainer
    ) -> Begun:
        """As `Experiment`."""
        return self.of_fold(run.fold.name).begin(run, callbacks, kind)


__all__ = ["FoldExperiments"]
