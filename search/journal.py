"""Studies on disk: a journal of Optuna's that several processes write, what a killed one left in it, and which
values a trial tries."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from ..errors import InputError

ENDED = "ended"
"""What a trial that has come to its end says, in whatever way: its state and why. Others were interrupted."""


class _Lock:
    """In place of Optuna's own locks, which outlive a process that is killed."""

    def __init__(self, path: str):
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def open_journal(path: Path) -> JournalStorage:
    """The studies in a journal, which is made if it isn't there."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what trials come to is said by us
    return JournalStorage(JournalFileBackend(str(path), _Lock(f"{path}.lock")))


def mend_journal(path: Path) -> None:
    """Takes away the line that a process was writing when it was killed; for who alone has the folder.

    Raises InputError where another line can't be read.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with open(path, "rb+") as file:
            file.truncate(len(whole))
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError:
            raise InputError(
                f"{path}, line {number} is damaged, so that its trials can't be told: give another --output_dir, or "
                "--overwrite to search anew"
            ) from None


def open_study(storage: JournalStorage, name: str, direction: str, own: Mapping[str, Any] | None) -> optuna.Study:
    """A study, as it stands; for who alone has the folder.

    What a killed process left undone counts as failed, and is tried again.

    Args:
        name: of the study.
        direction: maximize or minimize.
        own: the values that the recipe has, which are tried first; None where they are not among those searched.
    """
    study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    trials = study.get_trials(deepcopy=False)
    waiting = any(trial.state == TrialState.WAITING for trial in trials)
    if own is not None and not waiting and not any(has_ended(trial) for trial in trials):
        study.enqueue_trial(dict(own))
    return study


def has_ended(trial: FrozenTrial) -> bool:
    """Whether a trial counts: it came to its end, well or not, and was not interrupted. One that failed says why."""
    said = trial.user_attrs.get(ENDED)
    return trial.state.is_finished() and said is not None and (trial.state != TrialState.FAIL or "why" in said)


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count, in the order in which they began."""
    return [trial for trial in study.get_trials(deepcopy=False) if has_ended(trial)]


class RepeatableSampler(BaseSampler):
    """Optuna's TPE, whose draws follow from the seed, the trials before, and how many these are.

    TPE's own draws go on from one trial to the next in a process: a search that was killed would go on with the draws
    it began with, so that it tries again what it has tried.

    Args:
        seed: of the search.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._sampler: BaseSampler = TPESampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begins with the draws of this trial."""
        before = study.get_trials(deepcopy=False)[: trial.number]
        number = sum(has_ended(each) or each.state == TrialState.RUNNING for each in before)
        draws = np.random.SeedSequence((self._seed, number)).generate_state(1)[0]
        self._sampler = TPESampler(seed=int(draws))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As TPE."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def importance(study: optuna.Study, seed: int) -> dict[str, float]:
    """The share of each setting in how the scores of completed trials vary, by fANOVA (Hutter et al. 2014); {} where
    there are too few trials to tell, or all score alike."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    names = {name for trial in complete for name in trial.params}
    if len(complete) < max(_FEWEST, 2 * len(names)) or len({trial.value for trial in complete}) < 2:
        return {}
    if len(names) == 1:
        return dict.fromkeys(names, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


_FEWEST = 4


__all__ = [
    "ENDED", "RepeatableSampler", "ended_trials", "has_ended", "importance", "mend_journal", "open_journal",
    "open_study",
]  # fmt: skip
