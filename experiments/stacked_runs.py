"""The runs of a job that are trained as one model with others of their experiment, after those that train alone."""

from collections.abc import Iterator
from typing import Any

from ..stacking.training import train_stacked
from .run_folder import begin_run
from .running import Place
from .running import Work
from .running import ended


def stacked_outcomes(work: Work) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Trains and tests the runs of the experiments that are to be stacked: each with its outcome."""
    for number, experiment in enumerate(work.experiments):
        if experiment.settings.stack:
            yield from _of_experiment(work, number)


def _of_experiment(work: Work, number: int) -> Iterator[tuple[Place, dict[str, Any]]]:
    experiment, left = work.experiments[number], []
    for each, planned in enumerate(work.plans[number]):
        outcome = work.done_before((number, each))
        if outcome is None:
            begin_run(planned)
            left.append(planned)
        else:
            work.progress.skip(outcome, str(planned))
            yield (number, each), outcome
    experiment.callbacks = [work.progress.callback()]
    places = {planned.identity: (number, each) for each, planned in enumerate(work.plans[number])}
    said = f"{experiment.settings.name}, {len(left)} runs as one model"
    if left:
        work.progress.begin(said)
    for done, (planned, end) in enumerate(train_stacked(experiment, left), 1):
        outcome = ended(planned, end, work.state)
        work.progress.end(outcome)
        if done < len(left):
            work.progress.begin(said)
        yield places[planned.identity], outcome


__all__ = ["stacked_outcomes"]
