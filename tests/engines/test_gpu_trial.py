"""What `--jobs auto` takes on a GPU, of processes that are pretended: their rates and memory are made up."""

import threading
from multiprocessing import Pipe

import pytest

from emomm.engines import gpu_trial
from emomm.engines.cards import Memory
from emomm.engines.gpu_trial import choose_on_gpu

GIB = 2**30


class Pretended:
    """A process that is none."""

    def kill(self):
        pass

    join = close = kill


def starting(rates, memory, started, fails_from=99):
    """Starts threads that say what processes would: all together as many steps a second as `rates` has for so many."""
    tried, done, lock = set(), set(), threading.Lock()

    def serve(number, connection):
        try:
            connection.send("planned")
            while connection.recv() == "try":
                with lock:
                    if done == tried:  # the last trial is over: a new one begins
                        done.clear()
                        tried.clear()
                    tried.add(number)
                connection.send("ready")
                assert connection.recv() == "go"
                count = len(tried)
                with lock:
                    done.add(number)
                connection.send(None if count >= fails_from else (rates[count] / count, memory))
        except (EOFError, OSError):
            pass

    def start(number, target, args):
        here, there = Pipe()
        started.append(number)
        threading.Thread(target=serve, args=(number, there), daemon=True).start()
        return Pretended(), here

    return start


def memory_of(takes):
    return Memory(round((16 - takes) * GIB), 16 * GIB, round(takes * GIB), round(takes * GIB))


@pytest.mark.parametrize(
    "rates, takes, jobs, fit",
    [
        ({1: 10, 4: 20, 8: 30}, 1, 8, 14),
        ({1: 10, 4: 30, 8: 20}, 1, 4, 14),  # half of them do more
        ({1: 10, 4: 10.5, 8: 10.9}, 1, 1, 14),  # not a tenth more
        ({1: 10, 3: 25}, 4.5, 3, 3),  # memory for three, and for one by one of the halves
    ],
)
def test_what_does_most_and_has_room_is_taken(rates, takes, jobs, fit):
    started = []
    choice = choose_on_gpu(starting(rates, memory_of(takes), started), None, (0, 0), 8, 1)
    assert (choice.jobs, choice.fit, choice.alone) == (jobs, fit, 10)
    assert started == list(range(8))


def test_what_has_too_little_memory_together_is_not_tried_further(monkeypatch):
    monkeypatch.setattr(gpu_trial, "_PATIENCE", 5)
    choice = choose_on_gpu(starting({1: 10}, memory_of(1), [], fails_from=2), None, (0, 0), 4, 1)
    assert choice.jobs == 1 and str(choice).startswith("one after another")


def test_one_run_or_core_is_not_tried():
    started = []
    assert choose_on_gpu(starting({}, None, started), None, (0, 0), 1, 1).jobs == 1
    assert started == []
