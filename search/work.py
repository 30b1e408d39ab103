"""The trials of a search as work for an engine: one after another, or several at a time."""

import logging
import os
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from ..errors import show
from ..experiments.progress import JobProgress
from ..experiments.run import Run
from ..experiments.running import Place
from ..experiments.running import Work
from ..job_folder import SearchFolder
from ..processes import process_state
from ..settings.recipe import Recipe
from .journal import ENDED
from .journal import ended_trials
from .journal import open_journal
from .planning import SearchOptions
from .planning import SearchPlan
from .planning import plan_search

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot(Run):
    """A trial to come: which one it is shows when it begins.

    Args:
        study: its name.
        number: among the trials of the study, from 0.
        of: how many these are.
    """

    study: str = ""
    number: int = 0
    of: int = 0

    def __str__(self) -> str:
        return f"{self.settings.name} · {self.fold.name} · trial {self.number + 1} of {self.of}"


@dataclass
class TrialWork(Work):
    """The trials of a plan, study by study in turn.

    A study has one trial at a time as long as there are as many studies as processes: then what is tried follows from
    the seed alone, whatever the processes. Where there are fewer, several trials of a study go on together, and those
    that begin know nothing of those that have not ended.

    Args:
        trials: of each study.
        shared: whether several trials of a study may go on together.
    """

    trials: int = 0
    shared: bool = False
    done: list[int] = field(default_factory=list)
    _opened: tuple[int, JournalStorage] | None = None

    @classmethod
    def of_plan(cls, plan: SearchPlan, progress: JobProgress) -> "TrialWork":
        """All of a plan's trials; those that have ended count as done."""
        slots = [
            [
                Slot(
                    study.settings, study.seed, study.fold, study.folder, {"study": study.name, "trial": number},
                    study=study.name, number=number, of=plan.options.trials,
                )
                for number in range(plan.options.trials)
            ]
            for study in plan.studies
        ]  # fmt: skip
        work = cls(plan.recipe, plan.studies, slots, process_state(), progress, trials=plan.options.trials)
        work.done = [len(ended_trials(work.study(number))) for number in range(len(slots))]
        return work

    def share(self, jobs: int) -> None:
        """Lets several trials of a study go on together where there are more processes than studies to go on with."""
        self.shared = jobs > sum(done < self.trials for done in self.done)

    @property
    def storage(self) -> JournalStorage:
        """The journal, opened by this process: one that was opened before a fork would take both for one."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), open_journal(self._journal)
        return self._opened[1]

    @property
    def _journal(self) -> Path:
        return SearchFolder(self.experiments[0].folder).journal

    def study(self, number: int) -> optuna.Study:
        """A study as it stands."""
        return optuna.load_study(study_name=self.experiments[number].name, storage=self.storage)

    @property
    def places(self) -> list[Place]:
        """The first trial of each study, then the second: so that those of a study rarely wait for one another."""
        return [(study, trial) for trial in range(self.trials) for study in range(len(self.experiments))]

    def unfinished(self) -> list[Any]:
        """None that hold anything: a process prepares what it trains."""
        return []

    def done_before(self, place: Place) -> dict[str, Any] | None:
        """What a trial that ended before came to; None of one to come."""
        study, number = place
        if number >= self.done[study]:
            return None
        return outcome_of(ended_trials(self.study(study))[number])

    def carry_out(self, place: Place) -> dict[str, Any]:
        """The next trial of a study: what it comes to."""
        study = self.experiments[place[0]]
        with self._turn(study.name), _quietly():
            before = {trial.number for trial in ended_trials(self.study(place[0]))}
            study.try_next(self.storage)
            trials = ended_trials(self.study(place[0]))
        new = [trial for trial in trials if trial.number not in before]
        outcome = outcome_of(new[-1])
        self._say(place, new[-1], trials)
        return outcome

    @contextmanager
    def _turn(self, study: str) -> Iterator[None]:
        """Within, no other process is at a trial of the study, unless they are shared."""
        if self.shared:
            yield
            return
        with FileLock(f"{self._journal}.{self.names.index(study)}.lock"):
            yield

    @property
    def names(self) -> list[str]:
        """Of the studies."""
        return [study.name for study in self.experiments]

    def _say(self, place: Place, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> None:
        metric = self.experiments[place[0]].settings.metric_for_best_model
        best = best_of(trials, self.experiments[place[0]].direction)
        said = "" if best is None else f"; best so far {best.value:.3f}"
        logger.info("%s: %s (%s)%s", self.run(place), _in_words(trial, metric), values_in_words(trial.params), said)


def outcome_of(trial: FrozenTrial) -> dict[str, Any]:
    """What an engine is told of a trial: `status` is done of one that gave a score, pruned or not."""
    said = trial.user_attrs[ENDED]
    if trial.state == TrialState.FAIL:
        return {"status": f"failed: {said.get('why', 'it gave no score')}"}
    return {"status": "done", "validation": {"uar": said["uar"] or 0.0}}


def best_of(trials: Sequence[FrozenTrial], direction: str) -> FrozenTrial | None:
    """The completed trial with the best score, the first of those that score alike; None where there is none."""
    sign = 1 if direction == "minimize" else -1
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return min(complete, key=lambda trial: (sign * trial.value, trial.number), default=None)


def values_in_words(values: dict[str, Any]) -> str:
    """`learning_rate 0.00123, hidden_dim 64`."""
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value) if isinstance(value, str) else show(value)


def _in_words(trial: FrozenTrial, metric: str) -> str:
    said = trial.user_attrs[ENDED]
    if trial.state == TrialState.FAIL:
        return f"failed: {said.get('why', 'it gave no score')}"
    name = {"uar": "UAR"}.get(metric, metric)
    ended = f", pruned after epoch {said['epochs']}" if trial.state == TrialState.PRUNED else ""
    score = "none" if said["score"] is None else f"{said['score']:.3f}"
    return f"validation {name} {score}{ended}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Within, what a run says of its own is not said: a search is meant to try what learns nothing."""
    room = __package__.rpartition(".")[0]
    loggers = [logging.getLogger(f"{room}.{name}") for name in ("experiments.learning_watch", "tracking")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)


@dataclass
class SearchAnew:
    """The trials of a search in a process that did not plan it: planned there when the first comes.

    Args:
        recipe, options: of the search.
        jobs: how many processes there are.
    """

    recipe: Recipe
    options: SearchOptions
    jobs: int
    _work: TrialWork | None = None

    def read(self, number: int) -> None:
        """Plans, which reads the corpora."""
        if self._work is None:
            plan = plan_search(self.recipe, self.options)
            self._work = TrialWork.of_plan(plan, JobProgress("", 0, shown=False))
            self._work.share(self.jobs)

    def carry_out(
        self, place: Place, identity: str, callbacks: list[Any] | None = None, alone: bool = True
    ) -> dict[str, Any]:
        """The next trial of a study, as `TrialWork.carry_out`.

        Args:
            place: of the trial.
            identity: not needed: what is searched is compared by the journal's record.
            callbacks: of its Trainer.
            alone: whether its device is its own; where it isn't, too little memory raises Crowded.
        """
        self.read(place[0])
        study = self._work.experiments[place[0]]
        study.callbacks, study.alone = list(callbacks or ()), alone
        return self._work.carry_out(place)


__all__ = ["SearchAnew", "Slot", "TrialWork", "best_of", "outcome_of", "values_in_words"]
