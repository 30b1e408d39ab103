"""What a person sees while recordings are encoded: a bar on a terminal, elsewhere a line now and then."""

import logging
import time
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

logger = logging.getLogger(__name__)

_FIRST_SECONDS, _SECONDS = 10.0, 60.0


class EncodingProgress:
    """The progress of one run of an encoder over recordings.

    Args:
        recordings: how many are encoded.
        encoder: its name.
        experiments: those that read the states; none where nobody said.
    """

    def __init__(self, recordings: int, encoder: str, experiments: Sequence[str] = ()):
        self._total, self._done = recordings, 0
        for_whom = f" for {_counted(len(experiments), 'experiment')}: {', '.join(experiments)}" if experiments else ""
        are = "is" if recordings == 1 else "are"
        logger.info("%s %s encoded by %s%s", _counted(recordings, "recording"), are, encoder, for_whom)
        self._bar = tqdm(total=recordings, desc="encoding recordings", unit="recording", disable=None)
        self._began = time.monotonic()
        self._next = self._began + _FIRST_SECONDS

    def __enter__(self) -> "EncodingProgress":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()

    def update(self) -> None:
        """One more is done."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and now > self._next and self._done < self._total:
            left = (now - self._began) / self._done * (self._total - self._done)
            logger.info("%d of %d recordings encoded, about %s left", self._done, self._total, _duration(left))
            self._next = now + _SECONDS


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


__all__ = ["EncodingProgress"]
