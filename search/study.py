"""A study: the trials of an experiment in one fold, on its training and validation rows. It has no others."""

import math
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.pruners import BasePruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.storages import JournalStorage
from transformers import TrainerCallback

from ..corpora.corpus import Corpus
from ..curriculum_trainer import CurriculumTrainer
from ..errors import InputError
from ..evaluation.folds import Fold
from ..evaluation.folds import Part
from ..experiments.data import ExperimentData
from ..experiments.run import Run
from ..experiments.run import RunFailed
from ..experiments.running import Crowded
from ..experiments.running import lacks_memory
from ..experiments.text_encoder import Encoders
from ..experiments.training import Begun
from ..experiments.training import Experiment
from ..settings.fold_settings import as_block
from ..settings.fold_settings import with_values
from ..settings.settings import Settings
from .journal import ENDED
from .journal import RepeatableSampler
from .space import Space

_STARTUP = 5  # completed trials until one is pruned
_PATIENCE = 4  # a trial is pruned after this part of its epochs at the earliest


@dataclass
class Study:
    """A study, and what its trials need.

    Args:
        settings: of the experiment; trials have others in place of some.
        corpora: what is trained on, without the test rows of the fold.
        fold: its training and validation rows in these corpora; no others.
        name: of the study in the journal: experiment and fold.
        space: what is searched.
        seed: of all trials.
        folder: of the search.
        prunes: whether trials end early that do worse than the median of those before.
        encoders: as in `Experiment`.
        callbacks: of each trial's Trainer.
        alone: whether a trial has its device for itself.
    """

    settings: Settings
    corpora: list[Corpus]
    fold: Fold
    name: str
    space: Space
    seed: int
    folder: Path
    prunes: bool = True
    encoders: Encoders = field(default_factory=dict)
    callbacks: list[TrainerCallback] = field(default_factory=list)
    alone: bool = True

    @property
    def direction(self) -> str:
        """Which scores are better, as Optuna says it."""
        return "minimize" if self.settings.metric_for_best_model == "loss" else "maximize"

    @property
    def run(self) -> Run:
        """What a trial trains, with the experiment's own settings."""
        return Run(self.settings, self.seed, self.fold, self.folder, {})

    @property
    def pruner(self) -> BasePruner:
        """What ends a trial early, by the highest score of its epochs so far."""
        if not self.prunes:
            return NopPruner()
        return MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=max(1, self.settings.num_epochs // _PATIENCE))

    def experiment(self, settings: Settings) -> Experiment:
        """The experiment with some settings, of these rows alone. Raises InputError where it can't be trained."""
        return Experiment(ExperimentData(settings, self.corpora, []), self.folder, encoders=self.encoders)

    def make_shared(self) -> None:
        """Makes what trials with the experiment's own settings read, on disk."""
        experiment = self.experiment(self.settings)
        for name in self.settings.modalities:
            experiment.inputs.vectors(name)
        _ = experiment.inputs.lower_states

    def begin(self, run: Run, callbacks: Sequence[TrainerCallback]) -> Begun:
        """A trial with the experiment's own settings, to be measured."""
        return self.experiment(self.settings).begin(run, callbacks)

    def begin_trial(self, trial: optuna.Trial) -> Begun:
        """A trial with the settings that it suggests, about to train. Raises InputError where they can't be."""
        settings = with_values(self.settings, as_block(self.space.suggest(trial)))
        experiment, run = self.experiment(settings), replace(self.run, settings=settings)
        experiment.check(run)
        return experiment.begin(run, self.callbacks, TrialTrainer)

    def try_next(self, storage: JournalStorage) -> None:
        """One trial more, whatever it comes to. Raises what ends a search: signals, errors of the disk."""
        experiment = self.experiment(self.settings)
        searcher = experiment.begin(self.run, [], _kind(self)).trainer
        searcher.model = searcher.model_wrapped = None  # it made the Trainer, and is not trained
        try:
            searcher.hyperparameter_search(
                hp_space=lambda trial: {},  # arguments are the least of what a setting changes: see `begin_trial`
                compute_objective=lambda metrics: math.nan,  # it is that of the best epoch
                n_trials=1,
                direction=self.direction,
                backend="optuna",
                storage=storage,
                study_name=self.name,
                load_if_exists=True,
                sampler=RepeatableSampler(self.seed),
                pruner=self.pruner,
                catch=(TrialFailed,),
            )
        except ValueError as error:
            # Optuna ends with the best trial so far, and complains where none is complete.
            complete = (optuna.trial.TrialState.COMPLETE,)
            study = optuna.load_study(study_name=self.name, storage=storage)
            if isinstance(error, InputError) or study.get_trials(deepcopy=False, states=complete):
                raise


class TrialFailed(Exception):
    """A trial could not give a score, for a reason that would come again."""


class TrialTrainer(CurriculumTrainer):
    """Trains a trial. It keeps no weights and no states: what it finds is a score, and one that is interrupted begins
    anew."""

    def keep_weights(self) -> None:
        """None."""

    def _save_checkpoint(self, model, trial) -> None:
        """None; who was interrupted ends after it."""

    def score(self) -> float:
        """Of the best epoch so far; NaN where none was finite."""
        return math.nan if self.best_score is None else float(self.best_score)


class StudyTrainer(CurriculumTrainer):
    """The Trainer of an experiment as it is, whose `hyperparameter_search` runs a study: each trial is trained by a
    Trainer of its own, since a setting changes the model, the rows and the order as much as arguments.

    Args:
        study: whose trials they are.
        The rest is as in `CurriculumTrainer`.
    """

    def __init__(self, study: Study, model: torch.nn.Module, **given: Any):
        self.study = study
        models = [model]
        super().__init__(model_init=lambda: models.pop(), **given)

    def train(self, resume_from_checkpoint: str | bool | None = None, trial: optuna.Trial | None = None, **kwargs):
        """A trial. Raises TrialFailed where it can't be trained, or diverges."""
        ended = {}
        try:
            with _failures(self.study.alone):
                begun = self.study.begin_trial(trial)
                trainer = begun.trainer
                self.model = self.model_wrapped = trainer.model
                trainer.hp_search_backend, trainer.hp_space = self.hp_search_backend, self.hp_space
                trainer.compute_objective = lambda metrics: trainer.score()
                try:
                    output = trainer.train(trial=trial)
                finally:
                    ended = _said_of(trainer)
                if trainer.best_epoch is None:
                    begun.watch.look(trainer.model, trainer.state.epoch)
                    found = begun.watch.warnings(trainer.state.log_history)
                    raise TrialFailed(f"training diverged: {found[0]['said']}" if found else "training diverged")
        except TrialFailed as error:
            trial.set_user_attr(ENDED, {**ended, "why": str(error)})
            raise
        except optuna.TrialPruned:
            trial.set_user_attr(ENDED, ended)
            raise
        trial.set_user_attr(ENDED, ended)
        self.objective = trainer.score()
        return output


@contextmanager
def _failures(alone: bool) -> Iterator[None]:
    """Turns what a trial fails by into TrialFailed; into Crowded where that is others on its device."""
    try:
        yield
    except (InputError, RunFailed) as error:
        raise TrialFailed(" ".join(str(error).split())) from error
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        if not alone:
            raise Crowded(str(error)) from None
        raise TrialFailed("out of memory on the device") from None


def _said_of(trainer: TrialTrainer) -> dict[str, Any]:
    """What trials.csv says of a trial besides its settings: plain JSON values."""
    scores = [entry for entry in trainer.state.log_history if "eval_uar" in entry]
    best = None if trainer.best_epoch is None else scores[trainer.best_epoch - 1]["eval_uar"]
    return {
        "score": None if trainer.best_score is None else float(trainer.best_score),
        "uar": None if best is None else float(best),
        "best_epoch": trainer.best_epoch,
        "epochs": round(trainer.state.epoch or 0),
        "seconds": round(trainer.seconds, 3),
    }


def _kind(study: Study):
    def made(model: torch.nn.Module, **given: Any) -> StudyTrainer:
        return StudyTrainer(study, model, **given)

    return made


def without_test_rows(data: ExperimentData, fold: Fold) -> tuple[list[Corpus], Fold]:
    """The corpora that a fold trains on, without any row that is not trained on or validated; and the fold in these.

    Test corpora are left out as a whole.
    """
    whole = {corpus.name: corpus for corpus in data.corpora}
    corpora: list[Corpus] = []
    sides: dict[str, list[Part]] = {"train": [], "validation": []}
    for corpus in data.train:
        rows = {"train": _rows_of(corpus, fold.train), "validation": _rows_of(corpus, fold.validation)}
        kept = np.union1d(*rows.values())
        if not len(kept):
            continue
        corpora.append(whole[corpus.name].select(kept))
        for side, own in rows.items():
            if len(own):
                sides[side].append(Part(corpus.name, np.searchsorted(kept, own)))
    described = f"{fold.name}: trained and validated as in the fold, without its test rows"
    return corpora, Fold(fold.name, tuple(sides["train"]), tuple(sides["validation"]), (), described)


def _rows_of(corpus: Corpus, parts: Sequence[Part]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *(part.rows for part in parts if part.corpus == corpus.name)])


__all__ = ["Study", "StudyTrainer", "TrialFailed", "TrialTrainer", "without_test_rows"]
