"""`--engine slurm`: the runs of a job as one job array, by submitit.

What all runs share (states of encoders, floors) is made where the command runs, before the array is submitted; then
the command waits, gathers the outcomes as they come, and writes results.json. Where there is no SLURM, submitit's
local executor runs the same array on this machine, all tasks at once.
"""

import importlib.util
import logging
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..experiments.run import RunFailed
from ..experiments.running import Place
from ..experiments.running import Work
from ..experiments.running import failed_outcome
from ..interruption import held
from ..job_folder import JobFolder
from .tasks import outcome_of_task
from .tasks import task_of

logger = logging.getLogger(__name__)

_LOOK = 0.5  # seconds between looks at the tasks
_GRACE = 30.0  # seconds for tasks that are cancelled
_DEFAULTS = {"timeout_min": 24 * 60}


class SlurmEngine:
    """The engine of `--engine slurm`.

    Args:
        jobs: how many tasks run at a time; None, as many as the cluster gives.
        threads: of a run, and cores of a task; by default those of this process.
        options: for `submitit.AutoExecutor.update_parameters`, such as {"slurm_partition": "gpu", "gpus_per_node": 1}.
    """

    def __init__(self, jobs: int | None = None, threads: int | None = None, options: dict[str, Any] | None = None):
        self.jobs, self.options = jobs, options or {}
        self.threads = threads or torch.get_num_threads()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Raises InputError where submitit isn't installed, or doesn't take its parameters."""
        if importlib.util.find_spec("submitit") is None:
            raise InputError("--engine slurm needs submitit: pip install 'emomm[slurm]'")
        with tempfile.TemporaryDirectory() as folder:
            self._executor(Path(folder), "checked")
        yield

    def make_ready(self, work: Work, make: Callable[[], None]) -> None:
        """Made here, where all tasks find it."""
        make()

    def outcomes(self, work: Work) -> Iterator[tuple[Place, dict[str, Any]]]:
        """As the tasks end."""
        waiting: list[Place] = []
        for place in work.places:
            outcome = work.done_before(place)
            if outcome is None:
                waiting.append(place)
            else:
                work.progress.skip(outcome, str(work.run(place)))
                yield place, outcome
        if waiting:
            yield from self._of_array(work, waiting)

    def _of_array(self, work: Work, waiting: list[Place]) -> Iterator[tuple[Place, dict[str, Any]]]:
        import submitit

        executor = self._executor(JobFolder(work.recipe.output_dir).array.resolve(), work.recipe.name)
        if executor.cluster == "local":
            logger.warning("there is no SLURM here: submitit's local executor runs the array on this machine")
        identities = [work.run(place).identity for place in waiting]
        tasks = executor.map_array(task_of(work, self.threads), waiting, identities)
        logger.info("%d runs as job array %s; their logs: %s", len(tasks), tasks[0].job_id, executor.folder)
        left = dict(zip(waiting, tasks, strict=True))
        try:
            for number, place in enumerate(left):
                work.progress.begin(str(work.run(place)), number)
            while left:
                time.sleep(_LOOK)
                for place, task in [*left.items()]:
                    if task.done():
                        del left[place]
                        try:
                            outcome = outcome_of_task(task.result())
                        except submitit.core.utils.UncompletedJobError as error:
                            outcome = failed_outcome(work.run(place), RunFailed(_reason(task, error)))
                        work.progress.end(outcome, waiting.index(place))
                        yield place, outcome
        finally:
            _cancel([*left.values()])

    def _executor(self, folder: Path, name: str) -> Any:
        import submitit

        executor = submitit.AutoExecutor(folder)
        given = {**_DEFAULTS, "cpus_per_task": self.threads, "name": f"emomm-{name}", **self.options}
        if self.jobs is not None:
            given["slurm_array_parallelism"] = self.jobs
        try:
            executor.update_parameters(**given)
        except (NameError, TypeError, ValueError, AssertionError) as error:
            raise InputError(f"--slurm is {self.options}, which submitit doesn't take: {error}") from error
        return executor


def _cancel(tasks: list[Any]) -> None:
    """Ends tasks that are left, which save what can be gone on with."""
    with held():
        for task in tasks:
            task.cancel(check=False)
        until = time.monotonic() + _GRACE
        while tasks and time.monotonic() < until and not all(task.done(force_check=True) for task in tasks):
            time.sleep(_LOOK)


def _reason(task: Any, error: Exception) -> str:
    last = str(error).strip().splitlines()[-1]
    return f"its task {task.job_id} ended as {task.state} ({last}); see {task.paths.stderr}; the same command goes on"


__all__ = ["SlurmEngine"]
