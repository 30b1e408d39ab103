"""The figures of `emomm describe`, in the report's style."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .figures import BLUE
from .figures import COLOURS
from .figures import MARKERS
from .figures import figure
from .figures import styled

_MOST_POINTS = 2000


@styled
def classes_figure(classes: dict[str, int]) -> Figure:
    """How many rows each class has."""
    made, axes = figure(5.2, 0.9 + 0.28 * len(classes))
    places = np.arange(len(classes))
    axes.barh(places, list(classes.values()), color=BLUE, height=0.7)
    axes.set_yticks(places, list(classes))
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlabel("rows")
    axes.grid(axis="y", visible=False)
    return made


@styled
def durations_figure(lengths: Sequence[np.ndarray], labels: Sequence[str]) -> Figure:
    """Box plots of the seconds of each class' rows: median, quartiles, 5 and 95 %."""
    found = [(label, values) for label, values in zip(labels, lengths, strict=True) if len(values)]
    made, axes = figure(5.2, 0.9 + 0.32 * len(found))
    axes.boxplot(
        [values for _, values in found],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        widths=0.6,
        medianprops={"color": BLUE, "linewidth": 1.6},
    )
    axes.set_yticks(np.arange(1, len(found) + 1), [label for label, _ in found])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds (median, quartiles, 5 and 95 %)")
    axes.grid(axis="y", visible=False)
    return made


@styled
def ratings_figure(vad: np.ndarray, label_ids: np.ndarray, labels: Sequence[str]) -> Figure:
    """Mean valence and arousal of each class, over some of its rows.

    Args:
        vad: (n, 3) ratings on 1-5, NaN where unrated.
        label_ids: (n,) class numbers.
    """
    made, axes = figure(5.2, 4.0)
    rated = np.flatnonzero(~np.isnan(vad[:, :2]).any(axis=1))
    shown = rated[np.linspace(0, len(rated) - 1, min(len(rated), _MOST_POINTS)).astype(int)] if len(rated) else rated
    for number, label in enumerate(labels):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        rows, all_rows = shown[label_ids[shown] == number], rated[label_ids[rated] == number]
        if len(all_rows):
            axes.plot(vad[rows, 0], vad[rows, 1], ".", color=colour, markersize=3, alpha=0.25)
            mean = vad[all_rows, :2].mean(axis=0)
            axes.plot(*mean, marker, color=colour, markersize=8, label=label)
    axes.set_xlim(0.9, 5.1)
    axes.set_ylim(0.9, 5.1)
    axes.set_xlabel("valence")
    axes.set_ylabel("arousal")
    made.legend(loc="outside right upper")
    return made


__all__ = ["classes_figure", "durations_figure", "ratings_figure"]
