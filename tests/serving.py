"""The demo as a process of its own, for tests: started, waited for, stopped."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 300


@contextmanager
def served(app: Path, log: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Starts `app` in its own folder; yields its address once it answers.

    Args:
        app: the file to run.
        log: file for what it says.
        arguments: of its command line; the port is added.
        environment: variables besides those of this process.

    Raises:
        RuntimeError: it ended before it answered, or took too long; the message is what it said.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment}
    command = [sys.executable, str(app), *arguments, "--port", str(port)]
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=app.parent, env=variables, stdout=file, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + _SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the demo did not start: {log.read_text()}")
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
