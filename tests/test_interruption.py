import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from emomm import interruption
from emomm.interruption import Interrupted
from emomm.interruption import asked
from emomm.interruption import heed
from emomm.interruption import held
from emomm.interruption import interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def heard():
    """The signals as in the foreground: in the background a shell lets its processes ignore SIGINT."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_what_is_being_done(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as found, interruptible():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert found.value.number == number and isinstance(found.value, KeyboardInterrupt)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_what_can_save_itself_is_given_the_time(number):
    done = []
    with pytest.raises(Interrupted) as found, interruptible(), held():
        assert asked() == 0
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # a launcher hands on what the terminal has sent to all
        done.append(asked())
    assert done == [number] and found.value.number == number


def test_who_asks_again_is_not_kept_waiting(monkeypatch):
    monkeypatch.setattr(interruption, "_AGAIN", 0.0)
    done = []
    with pytest.raises(Interrupted), interruptible(), held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        done.append("second")
    assert done == ["first"]


def test_after_the_held_part_a_signal_ends_at_once():
    with pytest.raises(Interrupted), interruptible():
        with held():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def swallowed(number):
    """As by compiled code that calls back into Python, and takes whatever is raised there for an error of its own."""
    try:
        os.kill(os.getpid(), number)
        time.sleep(5)
    except KeyboardInterrupt:
        raise ValueError("Invalid bounding box") from None


@pytest.mark.parametrize("number", SIGNALS)
def test_an_error_that_a_signal_has_become_is_that_signal(number):
    with pytest.raises(Interrupted) as found, interruptible():
        swallowed(number)
    assert found.value.number == number
    with pytest.raises(Interrupted), interruptible(), contextlib.suppress(ValueError):
        swallowed(number)
    with pytest.raises(ValueError, match="its own"), interruptible():  # nothing of it is left
        raise ValueError("its own")


def test_who_answers_any_error_heeds_the_signal():
    done = []
    with pytest.raises(Interrupted), interruptible():
        heed()
        with contextlib.suppress(ValueError):
            swallowed(signal.SIGTERM)
        with held():  # a training that begins
            done.append(asked())
        heed()
        done.append("more")
    assert done == [signal.SIGTERM]
    heed()


def test_what_is_ignored_stays_ignored(monkeypatch):
    """As `nohup` has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_was_forked_ends_as_ever():
    """A data loader's worker has nothing to save, and is ended by SIGTERM."""
    with interruptible(), held():
        child = os.fork()
        if child == 0:
            time.sleep(10)
            os._exit(0)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells of a parent's end on Linux alone")
def test_a_fork_that_is_done_is_ended_without_a_word():
    with interruptible():
        forked = os.fork()
        if not forked:
            with contextlib.suppress(BaseException):
                with interruptible():
                    pass
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            os._exit(1)  # the signal was raised in what it does last
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == -signal.SIGTERM


def test_a_launcher_that_ends_ends_its_process(tmp_path):
    """`accelerate launch` does not hand on the SIGTERM that it gets itself."""
    code = (
        "import sys, time, conftest\nfrom emomm.interruption import Interrupted, interruptible\n"
        "try:\n    with interruptible():\n        open(sys.argv[1], 'w').close()\n        time.sleep(20)\n"
        "except Interrupted as error:\n    open(sys.argv[1], 'w').write(str(error.number))\n"
    )
    launcher = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]).wait()"
    said = tmp_path / "said"
    environment = {**os.environ, "ACCELERATE_DYNAMO_BACKEND": "NO", "PYTHONPATH": os.path.dirname(__file__)}
    process = subprocess.Popen([sys.executable, "-c", launcher, code, str(said)], env=environment)
    for _ in range(300):
        time.sleep(0.1)
        if said.exists() and process.poll() is None:
            process.terminate()
            process.wait()
        if said.exists() and said.read_text():
            break
    assert said.read_text() == str(int(signal.SIGTERM))
