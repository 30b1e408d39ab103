"""The figures of a search: how the scores of its trials went, and what each setting had to do with them."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .figures import BLUE
from .figures import ORANGE
from .figures import PAPER
from .figures import RED
from .figures import SKY
from .figures import figure
from .figures import styled
from .search_trials import SearchTrial


@styled
def history_figure(studies: Mapping[str, Sequence[SearchTrial]], score: str, lower_is_better: bool) -> Figure:
    """The score of each trial by its number, and the best so far of each study.

    Args:
        studies: the trials of each, in order.
        score: what is compared, in words.
        lower_is_better: as of a loss.
    """
    made, axes = figure(5.4, 3.2)
    styles = {"complete": ("o", BLUE, BLUE), "pruned": ("o", ORANGE, "none")}
    for state, (marker, colour, face) in styles.items():
        points = [
            (number + 1, trial.score)
            for trials in studies.values()
            for number, trial in enumerate(trials)
            if trial.state == state and trial.score is not None
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, marker, color=colour, markerfacecolor=face, label=state, alpha=0.75)
    failed = [n + 1 for trials in studies.values() for n, trial in enumerate(trials) if trial.state == "failed"]
    if failed:
        axes.plot(failed, [0.02] * len(failed), "x", color=RED, label="failed", transform=axes.get_xaxis_transform())
    best = [_best_so_far(trials, lower_is_better) for trials in studies.values()]
    for number, line in enumerate(best):
        x = np.arange(1, len(line) + 1)
        axes.step(
            x, line, where="post", color=SKY, linewidth=1, label="best so far, each study" if not number else None
        )
    axes.set_xlabel("trial")
    axes.set_ylabel(score)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return made


def _best_so_far(trials: Sequence[SearchTrial], lower_is_better: bool) -> np.ndarray:
    """(trials,) NaN until one is complete."""
    scores = [trial.score if trial.state == "complete" and trial.score is not None else np.nan for trial in trials]
    kept = np.fmin if lower_is_better else np.fmax
    return kept.accumulate(np.array(scores, float))


@styled
def importance_figure(shares: Mapping[str, Sequence[float]]) -> Figure:
    """The share of each setting in how the scores vary: the mean over studies, each study a dot."""
    names = sorted(shares, key=lambda name: -np.mean(shares[name]))
    made, axes = figure(5.4, 1.2 + 0.32 * len(names))
    places = np.arange(len(names))
    several = len(shares[names[0]]) > 1
    label = "mean over studies" if several else None
    axes.barh(places, [np.mean(shares[name]) for name in names], color=SKY, edgecolor=PAPER, label=label)
    if several:
        for place, name in enumerate(names):
            found = shares[name]
            axes.plot(found, [place] * len(found), ".", color=BLUE, label="each study" if not place else None)
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance of scores (fANOVA)")
    axes.grid(axis="y", visible=False)
    if several:
        made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return made


__all__ = ["history_figure", "importance_figure"]
