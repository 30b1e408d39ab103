"""Draws the figures of a page: those of a report when all are known, side by side where there are cores for it."""

import base64
import logging
import multiprocessing
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tqdm import tqdm

from ..cores import core_count
from ..interruption import end_with_parent
from . import figures

_MOST = 8  # processes
_START = "fork" if sys.platform == "linux" else "spawn"
_MANY = 4 if _START == "fork" else 40  # figures that are worth starting processes: others import all once more

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageFigure:
    """A figure on the page.

    Args:
        caption: what it shows.
        alt: what one would see, in words.
        source: `data:` address of the SVG.
        width: in CSS pixels, as drawn.
        wide: takes the whole width, and scrolls on a phone.
    """

    caption: str
    alt: str
    source: str
    width: int
    wide: bool


@dataclass(frozen=True)
class Sketch:
    """A figure that is to be drawn.

    Args:
        name: of its files, without the ending.
        function: what makes the figure, one of a module: another process may call it. None where it makes none.
        given: its arguments.
        caption, alt, wide: of `PageFigure`.
    """

    name: str
    function: Callable[..., Figure | None]
    given: tuple[Any, ...]
    caption: str
    alt: str
    wide: bool = False


class Artist:
    """Draws into a folder, and hands on what the page shows."""

    def __init__(self, folder: Path):
        self.folder = folder

    def draw(self, name: str, made: Figure, caption: str, alt: str, wide: bool = False) -> PageFigure:
        """Saves a figure as `name`.png and `name`.svg."""
        svg = figures.themed(figures.save(made, self.folder, name))
        source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
        return PageFigure(caption, alt, source, round(96 * made.get_size_inches()[0]), wide)


def draw_all(sketches: Sequence[Sketch], folder: Path) -> list[PageFigure | None]:
    """Draws figures into a folder, each as PNG and SVG; in their order, None of what makes none."""
    bar = tqdm(_drawn(sketches, folder), total=len(sketches), desc="drawing", unit="figure", disable=None)
    return list(bar)


def _drawn(sketches: Sequence[Sketch], folder: Path) -> Iterator[PageFigure | None]:
    processes, here = min(core_count(), _MOST), 0
    if len(sketches) >= _MANY and processes > 1:
        try:
            # Without the last, they would wait for ever for the work of a report that was killed.
            context = multiprocessing.get_context(_START)
            with ProcessPoolExecutor(processes, context, end_with_parent) as pool:
                for made in pool.map(_draw, sketches, repeat(folder)):
                    yield made
                    here += 1
        except (OSError, AssertionError, BrokenProcessPool) as error:  # where none may be started, or one is killed
            logger.warning("drawing goes on in one process (%s)", error)
    for sketch in sketches[here:]:
        yield _draw(sketch, folder)


def _draw(sketch: Sketch, folder: Path) -> PageFigure | None:
    made = sketch.function(*sketch.given)
    if made is None:
        return None
    return Artist(folder).draw(sketch.name, made, sketch.caption, sketch.alt, sketch.wide)


__all__ = ["Artist", "PageFigure", "Sketch", "draw_all"]
