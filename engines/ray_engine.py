"""`--engine ray`: the runs of a job as tasks of a Ray cluster, or of one that is started on this machine.

What all runs share (states of encoders, floors) is made where the command runs, before the first task. A worker that
is lost in the midst of a run is replaced by Ray, and the run goes on from its newest state, which is in the job's
folder: all machines must reach that.
"""

import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import InputError
from ..experiments.run import RunFailed
from ..experiments.running import Place
from ..experiments.running import Work
from ..experiments.running import failed_outcome
from ..interruption import held
from .tasks import outcome_of_task
from .tasks import task_of

logger = logging.getLogger(__name__)

_RETRIES = 3
_STORE = 80 * 2**20  # bytes; runs read and write files, and Ray takes no less than 75 MiB
_REACHED = 10.0  # seconds for a connection; Ray itself waits for minutes where nobody answers
_CLIENT = "ray://"
# Ray starts workers at a niceness of 15: on a busy machine they hardly come up, and one that is late is started again.
_BUSY = {"worker_niceness": 0, "worker_register_timeout_seconds": 600}
_GRACE = 30.0  # seconds for tasks that are cancelled


class RayEngine:
    """The engine of `--engine ray`.

    Args:
        address: of a cluster, as `ray.init` takes it; None, one that is started here and ends with the job.
        jobs: how many runs at a time; None, as many as there are cores or GPUs for.
        threads: of a run, and cores of a task; by default 1 on a cluster, and on this machine the cores shared out
            among the jobs.
    """

    def __init__(self, address: str | None = None, jobs: int | None = None, threads: int | None = None):
        self.address, self.jobs = address, jobs
        self._cores = torch.get_num_threads()
        self.threads = threads or (max(1, self._cores // jobs) if jobs and address is None else 1)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Raises InputError where Ray isn't installed, or there is no cluster at the address."""
        if importlib.util.find_spec("ray") is None:
            raise InputError("--engine ray needs Ray: pip install 'emomm[ray]'")
        if self.address is not None:
            _reach(self.address)
            self._connect()
        try:
            yield
        finally:
            import ray

            with held():
                ray.shutdown()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if ray.is_initialized():
            return
        quiet = {"configure_logging": False, "log_to_driver": False, "logging_level": logging.ERROR}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if self.address is not None:
                ray.init(address=self.address, **quiet)
            else:
                os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # it is of this machine alone
                cores = max(self._cores, (self.jobs or 1) * self.threads)
                here = {"include_dashboard": False, "object_store_memory": _STORE, "_system_config": _BUSY}
                ray.init(num_cpus=cores, **here, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = "--engine ray: Ray can't be started here"
            if self.address is not None:
                where = f"--ray_address {self.address}: no Ray cluster there"
            raise InputError(f"{where} ({_line(error)})") from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process without a word

    def make_ready(self, work: Work, make: Callable[[], None]) -> None:
        """Made here, where all tasks find it."""
        make()

    def outcomes(self, work: Work) -> Iterator[tuple[Place, dict[str, Any]]]:
        """As the tasks end."""
        import ray

        self._connect()
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.put(task_of(work, self.threads))
        remote = ray.remote(num_cpus=self.threads, num_gpus=gpus, max_retries=_RETRIES)(_carry_out)
        waiting, running = [*reversed(work.places)], {}
        most = self.jobs or len(waiting)
        free = [*reversed(range(most))]
        try:
            while waiting or running:
                while waiting and free:
                    place = waiting.pop()
                    outcome = work.done_before(place)
                    if outcome is not None:
                        work.progress.skip(outcome, str(work.run(place)))
                        yield place, outcome
                        continue
                    planned, number = work.run(place), free.pop()
                    work.progress.begin(str(planned), number)
                    running[remote.remote(task, place, planned.identity)] = place, number
                ended, _ = ray.wait([*running], timeout=1.0) if running else ([], [])
                for reference in ended:
                    place, number = running.pop(reference)
                    free.append(number)
                    outcome = _outcome(work, place, reference)
                    work.progress.end(outcome, number)
                    yield place, outcome
        finally:
            _cancel([*running])


def _reach(address: str) -> None:
    """Raises InputError where nothing answers at an address, or it is none."""
    if address == "auto":  # Ray knows which
        return
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not (host and "/" not in host and port.isdecimal() and int(port) < 2**16):
        raise InputError(f"--ray_address is {address!r}, but must be auto or HOST:PORT (or {_CLIENT}HOST:PORT)")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED).close()
    except OSError as error:
        raise InputError(f"--ray_address {address}: no Ray cluster there ({error})") from error


def _carry_out(task: Any, place: Place, identity: str) -> Any:
    return task(place, identity)


def _outcome(work: Work, place: Place, reference: Any) -> dict[str, Any]:
    import ray

    try:
        said = ray.get(reference)
    except ray.exceptions.RayTaskError:  # of what no task answers for: EmoMM is not installed there, for one
        raise
    except ray.exceptions.RayError as error:
        why = f"Ray gave it up ({_line(error).rstrip('.')})"
        if isinstance(error, ray.exceptions.WorkerCrashedError):
            why = f"its worker died {_RETRIES + 1} times, perhaps for lack of memory"
        return failed_outcome(work.run(place), RunFailed(f"{why}; the same command goes on with it"))
    return outcome_of_task(said)


def _cancel(references: list[Any]) -> None:
    """Interrupts tasks that are left, which save what can be gone on with."""
    import ray

    with held():
        for reference in references:
            ray.cancel(reference, force=False)
        if references:
            ray.wait(references, num_returns=len(references), timeout=_GRACE)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


__all__ = ["RayEngine"]
