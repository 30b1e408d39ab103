"""SIGTERM, SIGHUP and SIGINT: whatever can be gone on with is saved first, and the process says so and ends.

SLURM, Kubernetes and a closed terminal send them; what is killed outright loses what it did since it last saved.

A signal is raised wherever the main thread happens to be. Compiled code that calls back into Python may take it for an
error of its own (matplotlib's says "Invalid bounding box"), and who answers errors would go on with less than there
is. So it is remembered: `heed` raises it again.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_AGAIN = 3.0  # seconds; a launcher repeats what it got itself, a person has waited
_LAUNCHED = ("TORCHELASTIC_RUN_ID", "ACCELERATE_DYNAMO_BACKEND")
_PR_SET_PDEATHSIG = 1


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end. The exit code of a command is 128 + `number`, as a shell has it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class _Waiting:
    """What came while `held`: the signal's number, and when; the number of one that was raised; and in which process
    signals are waited for."""

    process = 0
    held = False
    number: int | None = None
    since = 0.0
    raised: int | None = None


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises Interrupted where one of the signals comes, at once or, within `held`, later. For the main thread.

    However the body ends after a signal, as if nothing had been or with an error, Interrupted takes its place. Signals
    that are ignored stay so: `nohup` and shells in the background say so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if any(name in os.environ for name in _LAUNCHED):  # accelerate doesn't hand its SIGTERM on to one process
        end_with_parent(signal.SIGTERM)
    around, _Waiting.process, _Waiting.raised = _Waiting.process, os.getpid(), None
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN and handler is not None:
            signal.signal(each, _come)
    try:
        yield
        heed()
    except Exception:
        heed()
        raise
    finally:
        _Waiting.process, _Waiting.raised = around, None  # a fork that is done, and gets a signal, ends without a word
        for each, handler in before.items():
            if handler is not None:
                signal.signal(each, handler)


def heed() -> None:
    """Raises Interrupted where a signal came, and was taken for something else: for who answers any error at all, and
    goes on."""
    if _Waiting.raised is not None:
        raise Interrupted(_Waiting.raised)


@contextmanager
def held() -> Iterator[None]:
    """Lets signals wait, for who asks `asked` wherever it can end well; at the end what still waits is raised.

    A second signal some seconds later does not wait.
    """
    _Waiting.held, _Waiting.number = True, None
    try:
        yield
    finally:
        _Waiting.held = False
    if _Waiting.number is not None:
        raise Interrupted(_Waiting.number)


def asked() -> int:
    """The number of the signal that waits, or was taken for something else; 0 where none does."""
    return _Waiting.number or _Waiting.raised or 0


def _come(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _Waiting.process:  # of a data loader's worker, which has nothing to save
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    first = _Waiting.number is None
    if not _Waiting.held or not (first or time.monotonic() - _Waiting.since < _AGAIN):
        _Waiting.raised = number
        raise Interrupted(number)
    if first:
        _Waiting.number, _Waiting.since = number, time.monotonic()


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Asks the system for a signal to this process when the one that started it ends. On Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


__all__ = ["Interrupted", "asked", "end_with_parent", "heed", "held", "interruptible"]
