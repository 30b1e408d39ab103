"""The GPUs that runs side by side share: where the next one may begin, by the memory that is there.

A run says after some steps, and after its first evaluation, what it takes of its GPU. Until the first has, nothing
begins beside it; from then on as many as its memory holds, at most their share of `--jobs`. An experiment of which
nothing is known yet counts as half a GPU.
"""

import logging
import math
import os
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import str_to_bool
from transformers import TrainerCallback

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
_STEPS = 20  # until what a run takes is measured
_CONTEXT = 2**30  # bytes that a process takes of a GPU besides its tensors, at most, where others use it too
_MARGIN = 1.1  # of the peak that was measured: longer recordings may come
_GIB = 2**30


def visible_cards() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that runs here can use; none where they are to use the CPU.

    It asks the driver's management library, which leaves this process fit to be forked, as `torch.cuda.is_available`
    doesn't.
    """
    if str_to_bool(os.environ.get("ACCELERATE_USE_CPU") or "false"):
        return []
    number, named = torch.cuda.device_count(), os.environ.get(VISIBLE)
    return named.split(",")[:number] if named else [str(each) for each in range(number)]


@dataclass(frozen=True)
class Memory:
    """Of a GPU, in bytes, as the process of a run sees it.

    Args:
        free: that no process has taken.
        total: all of it.
        held: that this process has taken for tensors.
        peak: that it had taken for them at most.
    """

    free: int
    total: int
    held: int
    peak: int

    @property
    def context(self) -> int:
        """That a process takes besides: not more than all that is taken and isn't this one's tensors."""
        return min(_CONTEXT, max(0, self.total - self.free - self.held))

    @property
    def need(self) -> int:
        """That a run like this one takes."""
        return max(1, math.ceil(_MARGIN * self.peak) + self.context)

    @property
    def room(self) -> int:
        """That runs can take in all, this one's share included."""
        return self.free + self.held + self.context


def memory_now() -> Memory:
    """Of the GPU that this process computes on; where it computes on none, that it takes nothing of one."""
    if not torch.cuda.is_initialized():
        return Memory(_GIB, _GIB, 0, 0)
    return Memory(*torch.cuda.mem_get_info(), torch.cuda.memory_reserved(), torch.cuda.max_memory_reserved())


def let_go() -> None:
    """Gives back what this process holds of a GPU without using it, and forgets its peak."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class Measuring(TrainerCallback):
    """Tells what a run takes of its GPU: after some steps, and after its first evaluation.

    Args:
        tell: is called with it.
    """

    def __init__(self, tell: Callable[[Memory], None]):
        self._tell, self._steps, self._evaluated = tell, 0, False

    def on_step_end(self, args, state, control, **kwargs):
        self._steps += 1
        if self._steps == _STEPS:
            self._tell(memory_now())

    def on_evaluate(self, args, state, control, **kwargs):
        if not self._evaluated:
            self._tell(memory_now())
        self._evaluated = True


class Cards:
    """The GPUs of a job, and the runs that are on each.

    Args:
        number: how many GPUs there are.
        jobs: how many runs are wanted at a time, on all.
    """

    def __init__(self, number: int, jobs: int):
        self.number, self.share = number, math.ceil(jobs / number)
        self._rooms: dict[int, int] = {}  # by GPU, bytes; those that are known
        self._needs: dict[int, int] = {}  # by experiment, bytes
        self._on: dict[int, tuple[int, bool]] = {}  # by worker: the experiment of its run, and whether it is alone
        self._said: set[int] = set()

    def of(self, worker: int) -> int:
        """The GPU of a worker: they take them in turn."""
        return worker % self.number

    @property
    def known(self) -> bool:
        """Whether all of them are measured."""
        return len(self._rooms) == self.number

    def has_room(self, worker: int, experiment: int, alone: bool = False) -> bool:
        """Whether a run of an experiment may begin now on the GPU of a worker.

        Args:
            alone: whether nothing else may be there.
        """
        card = self.of(worker)
        there = self._there(card)
        if not there:
            return True
        if alone or card not in self._rooms or any(single for _, single in there):
            return False
        wanted = [experiment, *(each for each, _ in there)]
        return len(wanted) <= self.share and sum(self._need(each, card) for each in wanted) <= self._rooms[card]

    def begin(self, worker: int, experiment: int, alone: bool = False) -> None:
        """A run begins."""
        self._on[worker] = (experiment, alone)

    def end(self, worker: int) -> None:
        """The run of a worker has ended, if it had one."""
        self._on.pop(worker, None)

    def measured(self, worker: int, memory: Memory, name: str) -> None:
        """The run of a worker takes this much.

        Args:
            name: of its experiment. Where fewer fit than are wanted, that is said, once for each experiment.
        """
        if worker not in self._on:
            return
        card, (experiment, _) = self.of(worker), self._on[worker]
        if card not in self._rooms:
            self._rooms[card] = memory.room
        self._needs[experiment] = max(memory.need, self._needs.get(experiment, 0))
        fit = max(1, self._rooms[card] // self._needs[experiment])
        if fit < self.share and experiment not in self._said:
            self._said.add(experiment)
            each, room = self._needs[experiment] / _GIB, self._rooms[card] / _GIB
            logger.info(
                "%s: %d at a time on a GPU in place of %d: a run takes %.1f GiB of %.1f",
                *(name, fit, self.share, each, room),
            )

    def crowded(self, worker: int) -> None:
        """The run of a worker found too little memory beside the others: from now on one less fits."""
        card, there = self.of(worker), self._there(self.of(worker))
        experiment, _ = self._on.pop(worker)
        if len(there) > 1 and card in self._rooms:
            fewer = math.ceil(self._rooms[card] / (len(there) - 0.5))
            self._needs[experiment] = max(fewer, self._needs.get(experiment, 0))

    def _there(self, card: int) -> list[tuple[int, bool]]:
        return [on for worker, on in self._on.items() if self.of(worker) == card]

    def _need(self, experiment: int, card: int) -> int:
        return self._needs.get(experiment, self._rooms[card] // 2)


def names_of(cards: Sequence[str], worker: int) -> dict[str, str]:
    """What the environment of a worker says of the GPUs: it sees one, and that is looked for without touching it."""
    return {VISIBLE: cards[worker % len(cards)], "PYTORCH_NVML_BASED_CUDA_CHECK": "1"} if cards else {}


__all__ = ["Cards", "Measuring", "Memory", "let_go", "memory_now", "names_of", "visible_cards"]
