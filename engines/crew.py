"""The workers of a job: started, heard, and ended, whatever happens to them or to this process."""

import logging
import signal
import sys
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..experiments.run import Run
from ..experiments.run import RunFailed
from ..experiments.running import Place
from ..experiments.running import Work
from ..experiments.running import failed_outcome
from ..interruption import held
from .cards import Cards
from .fork_server import Forked

logger = logging.getLogger(__name__)

_KILLS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


class Worker:
    """One process, and the run that it is at.

    Args:
        number: from 0.
        process: started.
        connection: to it.
    """

    def __init__(self, number: int, process: BaseProcess | Forked, connection: Connection):
        self.number, self.process, self.connection = number, process, connection
        self.place: Place | None = None
        self._memory_kills = _memory_kills()

    def take(self, place: Place, identity: str, alone: bool = True) -> None:
        """Gives it a run; says whether its device is its own."""
        self.place = place
        try:
            self.connection.send((place, identity, alone))
        except OSError:  # it has just died, which is seen next
            pass

    def heard(self) -> Iterator[tuple[Any, ...]]:
        """The messages that wait."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, OSError):
            return

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.exitcode is not None

    def reason(self) -> str:
        """Why it ended in the midst of a run, in words."""
        self.process.join()
        code = self.process.exitcode
        if code >= 0:
            return f"its process ended with exit code {code}; the same command goes on with it"
        name = signal.Signals(-code).name
        if name == "SIGKILL" and _memory_kills() > self._memory_kills:
            return (
                "its process was killed for lack of memory; give fewer --jobs or a lower batch_size, and the same "
                "command goes on with it"
            )
        perhaps = ", perhaps for lack of memory" if name == "SIGKILL" else ""
        return f"its process was killed ({name}{perhaps}); the same command goes on with it"


def _memory_kills() -> int:
    """How many processes the system has killed for lack of memory so far; 0 where it doesn't say."""
    found = 0
    for path in _KILLS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        found += sum(int(line.split()[1]) for line in lines if line.split()[:1] == ["oom_kill"])
    return found


class Crew:
    """The workers of a job.

    Args:
        work: the runs.
        size: how many workers there are at a time.
        start: starts the worker of a number.
        cards: the GPUs that the workers share; None where they compute on none.
    """

    def __init__(self, work: Work, size: int, start: Callable[[int], Worker], cards: Cards | None = None):
        self.work, self._start, self._cards = work, start, cards
        self._free: list[int] = list(range(size))
        self._workers: list[Worker] = []
        self._waiting: deque[Place] = deque()
        self._again: deque[Place] = deque()  # that found too little memory beside others

    def outcomes(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Those of all runs that are not done, as they end; and of those that are, as they are come across."""
        self._waiting = deque(self.work.places)
        try:
            if self._cards is not None:
                self._start_all()
            while True:
                yield from self._hand_out()
                if not self._workers:
                    return
                self._wait()
                for worker in [*self._workers]:
                    yield from self._listen(worker)
        finally:
            self.end()

    # ---- runs -------------------------------------------------------------------------------------------------------

    def _start_all(self) -> None:
        """Starts as many workers as there are runs for: while the first one's memory is measured, they get ready."""
        left = sum(not self.work.run(place).files.metrics.exists() for place in self.work.places)
        for number in self._free[:left]:
            self._begin(number)

    def _begin(self, number: int) -> Worker:
        self._free.remove(number)
        self._workers.append(self._start(number))
        return self._workers[-1]

    def _hand_out(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Gives a run to each worker that has none, new ones included; those that have nothing left to do end."""
        while self._waiting and (worker := self._worker_for(self._waiting[0])) is not None:
            place = self._waiting.popleft()
            planned = self.work.run(place)
            outcome = self.work.done_before(place)
            if outcome is not None:
                self.work.progress.skip(outcome, str(planned))
                yield place, outcome
                continue
            self._give(worker, place, planned)
        while self._again and not self._waiting:
            worker = self._worker_for(self._again[0], alone=True)
            if worker is None:
                break
            place = self._again.popleft()
            self._give(worker, place, self.work.run(place), alone=True)
        if self._waiting and self._cards is not None and not self._cards.known:
            return  # they wait for what the first run takes
        for worker in [each for each in self._workers if each.place is None]:
            self._dismiss(worker)

    def _worker_for(self, place: Place, alone: bool = False) -> Worker | int | None:
        """A worker that has no run, or the number of one that isn't started; on a GPU with room. None without."""
        idle = [worker for worker in self._workers if worker.place is None]
        for found in (*idle, *self._free):
            number = found if isinstance(found, int) else found.number
            if self._cards is None or self._cards.has_room(number, place[0], alone):
                return found
        return None

    def _give(self, worker: Worker | int, place: Place, planned: Run, alone: bool = False) -> None:
        worker = self._begin(worker) if isinstance(worker, int) else worker
        self.work.progress.begin(str(planned), worker.number)
        if self._cards is not None:
            self._cards.begin(worker.number, place[0], alone)
        worker.take(place, planned.identity, alone or self._cards is None)

    def _dismiss(self, worker: Worker) -> None:
        try:
            worker.connection.send(None)
        except OSError:
            pass
        worker.process.join()
        self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        worker.connection.close()
        worker.process.close()
        self._workers.remove(worker)
        self._free.append(worker.number)
        self._free.sort()

    def _wait(self) -> None:
        wait([each for worker in self._workers for each in (worker.connection, worker.process.sentinel)])

    def _listen(self, worker: Worker) -> Iterator[tuple[Place, dict[str, Any]]]:
        ended = worker.ended  # before it is listened to: what it said last is then there
        for kind, *said in worker.heard():
            if kind == "ended":
                place = self._ended(worker)
                self.work.progress.end(said[0], worker.number)
                yield place, said[0]
            elif kind == "crowded":
                self._take_back(worker)
                return
            else:
                self._hear(worker, kind, said)
        if not ended:
            return
        if worker.place is not None:
            place = self._ended(worker)
            outcome = failed_outcome(self.work.run(place), RunFailed(worker.reason()))
            self.work.progress.end(outcome, worker.number)
            yield place, outcome
        self._forget(worker)

    def _ended(self, worker: Worker) -> Place:
        place, worker.place = worker.place, None
        if self._cards is not None:
            self._cards.end(worker.number)
        return place

    def _take_back(self, worker: Worker) -> None:
        """Keeps a run that found too little memory for later; its process ends, with all that it holds."""
        if not self._again:
            said = "%s: too little memory beside others on its GPU: taken again alone, after the other runs"
            logger.info(said, self.work.run(worker.place))
        self._cards.crowded(worker.number)
        self._again.append(self._ended(worker))
        self.work.progress.leave(worker.number)
        self._dismiss(worker)

    def _hear(self, worker: Worker, kind: str, said: list[Any]) -> None:
        if kind == "epoch":
            self.work.progress.epoch(*said, worker.number)
        elif kind == "memory":
            name = self.work.experiments[worker.place[0]].settings.name
            self._cards.measured(worker.number, said[0], name)
        elif kind == "error":
            raise said[0]
        else:
            show_said(kind, said[0])

    # ---- the end ----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Ends the workers that are left: asks them to, as a signal asked this process; they save what can be gone on
        with. A second signal some seconds later kills them."""
        try:
            with held():
                for worker in self._workers:
                    worker.process.terminate()
                while not all(worker.ended for worker in self._workers):
                    wait([worker.process.sentinel for worker in self._workers if not worker.ended], timeout=0.1)
                    for worker in self._workers:
                        for kind, *said in worker.heard():
                            if kind in ("log", "line"):
                                show_said(kind, said[0])
        finally:
            for worker in [*self._workers]:
                worker.process.kill()
                worker.process.join()
                self._forget(worker)


def show_said(kind: str, said: Any) -> None:
    """Logs or prints here what a worker logged or printed."""
    if kind == "log":
        logging.getLogger(said.name).handle(said)
    else:
        tqdm.write(said, file=sys.stderr)


__all__ = ["Crew", "Worker", "show_said"]
