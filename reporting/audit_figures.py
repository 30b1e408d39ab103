"""The figures of `emomm audit`, in the report's style."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .figures import BLUE
from .figures import COLOURS
from .figures import ORANGE
from .figures import PAPER
from .figures import figure
from .figures import styled

_HATCHES = ("", "///", "...", "xxx")


@styled
def class_shares_figure(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """A bar for each part, divided by the shares of its classes.

    Args:
        shares: part -> class -> share of the part's rows, which add up to 1.
    """
    made, axes = figure(5.8, 1.0 + 0.34 * len(shares))
    places = np.arange(len(shares))
    left = np.zeros(len(shares))
    for number, label in enumerate(next(iter(shares.values()))):
        widths = np.array([each[label] for each in shares.values()])
        colour, hatch = COLOURS[number % len(COLOURS)], _HATCHES[number // len(COLOURS) % len(_HATCHES)]
        axes.barh(places, widths, left=left, height=0.7, color=colour, hatch=hatch, label=label, edgecolor=PAPER)
        left += widths
    axes.set_yticks(places, list(shares))
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of rows")
    axes.grid(axis="y", visible=False)
    made.legend(loc="outside right upper")
    return made


@styled
def speakers_figure(parts: Mapping[str, tuple[int, int]]) -> Figure:
    """A bar for each tested part: its speakers, those who are known from training or validation apart.

    Args:
        parts: part -> (speakers who have training or validation rows too, those who have none).
    """
    made, axes = figure(5.8, 1.0 + 0.28 * len(parts))
    places = np.arange(len(parts))
    known, new = np.array(list(parts.values())).T
    axes.barh(places, known, height=0.7, color=ORANGE, hatch="///", edgecolor=PAPER, label="trained on too")
    axes.barh(places, new, left=known, height=0.7, color=BLUE, edgecolor=PAPER, label="new")
    axes.set_yticks(places, list(parts))
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("speakers")
    axes.grid(axis="y", visible=False)
    made.legend(loc="outside right upper")
    return made


@styled
def lengths_figure(lengths: Sequence[Mapping[str, Any]], unit: str) -> Figure:
    """Box plots of the lengths of each class' rows: median, quartiles, 5 and 95 %.

    Args:
        lengths: of each class, as `content.class_lengths` gives them.
        unit: of them.
    """
    made, axes = figure(5.2, 0.9 + 0.32 * len(lengths))
    boxes = [
        {"whislo": each["5 %"], "q1": each["25 %"], "med": each["median"], "q3": each["75 %"], "whishi": each["95 %"]}
        for each in lengths
    ]
    axes.bxp(
        boxes, orientation="horizontal", showfliers=False, widths=0.6, medianprops={"color": BLUE, "linewidth": 1.6}
    )
    axes.set_yticks(np.arange(1, len(lengths) + 1), [each["class"] for each in lengths])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{unit} (median, quartiles, 5 and 95 %)")
    axes.grid(axis="y", visible=False)
    return made


__all__ = ["class_shares_figure", "lengths_figure", "speakers_figure"]
