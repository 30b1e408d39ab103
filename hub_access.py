"""Reaching the Hub: it is asked once whether it answers, and no request waits for ever.

huggingface_hub sets no time limit of its own, and tries again and again what can't be reached: each encoder and each
corpus cost half a minute of silence.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory  # with what the Hub wants in each request

logger = logging.getLogger(__name__)

SECONDS = 10.0
"""How long the Hub may be silent."""


class _Limits:
    """What holds for this process."""

    on = False
    seconds = SECONDS
    asked: set[str] = set()


def limit_waiting() -> None:
    """From here on this process waits for the Hub as long as `SECONDS`, and `reach_hub` asks it. For commands."""
    _Limits.on, _Limits.seconds = True, SECONDS
    set_client_factory(_client)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Within, the Hub may be silent for so long."""
    before, _Limits.seconds = _Limits.seconds, seconds
    set_client_factory(_client)
    try:
        yield
    finally:
        _Limits.seconds = before


def reach_hub(what: str) -> None:
    """To be called before `what` is taken from the Hub: says so, and asks once whether it answers.

    Where it doesn't, this process goes on offline: what the cache holds is found at once, and the rest is missed at
    once.
    """
    endpoint = constants.ENDPOINT
    if not _Limits.on or constants.is_offline_mode() or endpoint in _Limits.asked:
        return
    _Limits.asked.add(endpoint)
    logger.info("asking %s for %s", endpoint, what)
    failure = _ask(endpoint)
    if failure is None:
        return
    logger.warning("%s can't be reached (%s): what was taken from it before is all there is", endpoint, failure)
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True


def _ask(endpoint: str) -> str | None:
    """Why there is no answer, of whatever kind, in time; None where there is one.

    In a thread: looking up a name has no time limit at all.
    """
    failure: list[str | None] = [f"no answer within {SECONDS:g} s"]

    def ask() -> None:
        try:
            httpx2.head(endpoint, timeout=SECONDS)
            failure[0] = None
        except Exception as error:  # noqa: BLE001 wrong proxies, certificates and names, each of a type of its own
            failure[0] = (str(error).splitlines() or [type(error).__name__])[0]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return failure[0]


def _client() -> httpx2.Client:
    client = default_client_factory()
    client.event_hooks["request"].append(_limit)
    return client


def _limit(request: httpx2.Request) -> None:
    """Most requests come with no limit, and say so: the client's own would not count."""
    asked = request.extensions.get("timeout") or dict.fromkeys(("connect", "read", "write", "pool"))
    limited = {name: _Limits.seconds if value is None else value for name, value in asked.items()}
    request.extensions["timeout"] = limited


__all__ = ["limit_waiting", "patience", "reach_hub"]
