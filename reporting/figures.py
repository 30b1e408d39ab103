"""The figures of a report, with matplotlib: for papers (PNG, SVG) and for the page (SVG in light and dark).

Each function takes plain data and gives a `Figure`; none of them knows of files or of pyplot's state. The same data
give the same bytes.
"""

import functools
import re
import warnings
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .findings import CrossCorpus
from .findings import DifficultyCurve
from .findings import Reliability
from .report_data import Curves
from .score_words import p_in_words
from .strokes import draw

# Okabe and Ito's colours, which stay apart for colour-blind eyes; without yellow, which is pale on white.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
MARKERS = ("o", "s", "^", "D", "v", "P")
NAMED_GROUPS = 40  # more speakers than these are drawn as a histogram

# Colours that stand for a role: on the page, `themed` gives them the values of light and dark.
_INK, _GRID, PAPER = "#1b1b1f", "#d8d8de", "#fefefe"
_DARK = {_INK: "#e8e8ee", _GRID: "#44474f", PAPER: "#16181d", BLUE: "#3fa9e6"}
_ON_LIGHT, _ON_DARK = "#101010", "#ffffff"  # text in the cells of a heat map: as the cell, whatever the page

_DPI = 200
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.hashsalt": "emomm",
    "svg.fonttype": "path",
    "text.usetex": False,
    "text.parse_math": False,  # a name may hold dollars
}
# What DejaVu lacks, above all Chinese, Japanese and Korean, where one of these is installed.
_FALLBACKS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Hiragino Sans", "Microsoft YaHei", "SimHei")


@functools.cache
def _style() -> dict[str, Any]:
    """The whole style: nothing of the reader's own matplotlibrc is in it."""
    installed = set(font_manager.get_font_names())
    families = ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]
    return {**matplotlib.rcParamsDefault, **_STYLE, "font.family": families}


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a function that draws in the report's style."""

    @functools.wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> Any:
        with matplotlib.rc_context(), warnings.catch_warnings():
            matplotlib.rcParams.update(_style())
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            return draw(*args, **kwargs)

    return styled


def figure(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """An empty figure in the report's style, in inches, and its axes."""
    made = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    return made, made.subplots(rows, **options)


@styled
def save(made: Figure, folder: Path, name: str) -> str:
    """Writes `name`.png and `name`.svg; returns the SVG."""
    pixels, svg = draw(made)
    opaque = Image.fromarray(pixels[..., :3])  # as PAPER is
    opaque.save(folder / f"{name}.png", dpi=(_DPI, _DPI), compress_level=3)  # as small as 6 with alpha, and quicker
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return svg


def themed(svg: str) -> str:
    """The SVG for the page: its ink, grid and paper follow the reader's light or dark setting."""
    svg = svg[svg.index("<svg") :]
    names = {colour: f"--c{i}" for i, colour in enumerate(_DARK)}
    for colour, name in names.items():
        svg = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: var({name})", svg)
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{names[colour]}:{value};" for colour, value in _DARK.items())
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda match: match[1] + style, svg, count=1)


# ---- scores ---------------------------------------------------------------------------------------------------------


@styled
def scores_figure(
    names: Sequence[str],
    values: Sequence[float],
    bounds: Sequence[Sequence[float] | None],
    floors: Sequence[float | None] = (),
) -> Figure:
    """UAR of experiments with 95 % intervals, one below the other, each with its floor where that is known."""
    made, axes = figure(6.4, (1.2 if any(floors) else 0.9) + 0.32 * len(names))
    for place, (value, bound) in enumerate(zip(values, bounds, strict=True)):
        if bound is not None:
            axes.plot(bound, [place, place], color=BLUE, solid_capstyle="butt")
        axes.plot([value], [place], "o", color=BLUE, markersize=6)
    label: str | None = "floor: logistic regression, same rows"
    for place, floor in enumerate(floors):
        if floor is not None:
            axes.plot([floor] * 2, [place - 0.3, place + 0.3], color=RED, linewidth=2, label=label)
            label = None
    axes.set_yticks(range(len(names)), _short(names, 34))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("UAR, pooled over folds (95 % interval)")
    axes.grid(axis="y", visible=False)
    _legend(made, axes)
    return made


@styled
def groups_figure(groups: dict[str, dict[str, Any]], what: str) -> Figure:
    """UAR by speaker or session, `what`: named, or as a histogram where there are more than 40."""
    values = np.array([group["uar"] for group in groups.values()])
    if len(groups) > NAMED_GROUPS:
        made, axes = figure(5.2, 3.2)
        axes.hist(values, bins=np.linspace(0, 1, 21), color=BLUE, edgecolor=PAPER, linewidth=0.5)
        axes.axvline(np.median(values), color=RED, linestyle="--", label=f"median {np.median(values):.2f}")
        axes.set_xlabel(f"UAR of a {what}")
        axes.set_ylabel(f"{what}s (number)")
        axes.set_xlim(0, 1)
        made.legend(loc="outside upper right")
        return made
    made, axes = figure(5.2, 1.1 + 0.22 * len(groups))
    places = np.arange(len(groups))
    axes.hlines(places, 0, values, color=_GRID, linewidth=1.2)
    axes.plot(values, places, "o", color=BLUE)
    shown = _short(list(groups), 22)
    names = [f"{name} (n={group['n']})" for name, group in zip(shown, groups.values(), strict=True)]
    axes.set_yticks(places, names)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(f"UAR by {what}, mean over seeds (n rows)")
    axes.grid(axis="y", visible=False)
    return made


@styled
def confusion_figure(matrix: np.ndarray, labels: Sequence[str], shares: bool) -> Figure:
    """A confusion matrix (C, C) of counts; `shares`: of each row's sum, in per cent."""
    total = matrix.sum(axis=1, keepdims=True)
    drawn = np.divide(100.0 * matrix, total, out=np.zeros(matrix.shape), where=total > 0) if shares else matrix
    size = len(labels)
    side = 2.0 + max(0.42 * size, 1.8)
    made, axes = figure(side + 0.5, side)
    texts = [[f"{value:.0f}" if shares else _count(value) for value in row] for row in drawn]
    widest = max(len(text) for row in texts for text in row)
    _heat_map(made, axes, drawn, texts, "share of the true class (%)" if shares else "rows", 100 if shares else None)
    for text in axes.texts:
        text.set_fontsize(min(10, 0.75 * 72 * max(0.42, 1.8 / size) / (0.65 * widest)))
    names = _short(labels, 16)
    upright = size > 5 or max(map(len, names)) > 8
    axes.set_xticks(np.arange(size) + 0.5, names, rotation=90 if upright else 0)
    axes.set_yticks(np.arange(size) + 0.5, names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return made


@styled
def cross_corpus_figure(matrix: CrossCorpus) -> Figure:
    """UAR of what was trained (rows) on what was tested (columns); a frame where other rows of it were trained on."""
    rows, columns = matrix.uar.shape
    made, axes = figure(max(4.6, 3.2 + 0.75 * columns), 1.9 + 0.45 * rows)
    texts = [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in matrix.uar]
    _heat_map(made, axes, matrix.uar, texts, "UAR", 1)
    for row, column in np.argwhere(matrix.within):
        axes.add_patch(
            matplotlib.patches.Rectangle(
                (column + 0.04, row + 0.06), 0.92, 0.88, fill=False, edgecolor=ORANGE, linewidth=2
            )
        )
    axes.set_xticks(np.arange(columns) + 0.5, _short(matrix.tested, 22), rotation=30, ha="right")
    axes.set_yticks(np.arange(rows) + 0.5, _short(matrix.trained, 40))
    axes.set_xlabel("tested on")
    axes.set_ylabel("trained on")
    return made


def _heat_map(
    made: Figure, axes: Axes, values: np.ndarray, texts: list[list[str]], unit: str, top: float | None
) -> None:
    colours = matplotlib.colormaps["Blues"]
    mesh = axes.pcolormesh(values, cmap=colours, vmin=0, vmax=top or max(float(np.nanmax(values)), 1))
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        if texts[row][column]:
            red, green, blue, _ = mesh.cmap(mesh.norm(value))
            dark = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.18
            written = axes.text(
                column + 0.5,
                row + 0.5,
                texts[row][column],
                ha="center",
                va="center",
                color=_ON_DARK if dark else _ON_LIGHT,
            )
            written.set_in_layout(False)  # inside the cell: laying out hundreds of texts takes seconds
    bar = made.colorbar(mesh, ax=axes, label=unit, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)


# ---- difficulty and calibration -------------------------------------------------------------------------------------


@styled
def difficulty_figure(curve: DifficultyCurve) -> Figure:
    """Accuracy and UAR by bucket of difficulty, with the rows in each."""
    made, (above, below) = figure(5.4, 4.0, 2, sharex=True, height_ratios=(4, 1))
    above.plot(curve.difficulty, curve.accuracy, "o-", color=BLUE, label="accuracy")
    above.plot(curve.difficulty, curve.uar, "D", color=RED, fillstyle="none", label="UAR (classes that occur)")
    above.axhline(curve.overall, color=GREEN, linestyle="--", label=f"overall accuracy {curve.overall:.2f}")
    above.set_ylim(-0.02, 1.02)
    above.set_ylabel("score in the bucket")
    if not np.isnan(curve.r):
        title = f"Pearson r = {curve.r:.2f}, {p_in_words(curve.p)}"
        if not np.isnan(curve.r_within):
            title += f"; within classes r = {curve.r_within:.2f}, {p_in_words(curve.p_within)}"
        above.set_title(f"{title}; {curve.count.sum()} rows", loc="left")
    gaps = np.diff(curve.difficulty)
    width = 0.8 * (gaps[gaps > 0].min() if (gaps > 0).any() else 1)
    below.vlines(curve.difficulty, 0, curve.count, color=_INK, linewidth=max(1.0, min(4.0, 200 * width)))
    below.set_ylim(0, 1.15 * curve.count.max())
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.set_ylabel("rows")
    below.set_xlabel("difficulty, which knows the true label (mean of the bucket)")
    _legend(made, above)
    return made


@styled
def reliability_figure(found: Reliability) -> Figure:
    """How often the most probable class is right, by how probable it was, over the rows of all seeds."""
    curve = found.curve
    made, (above, below) = figure(4.6, 4.4, 2, sharex=True, height_ratios=(4, 1))
    filled = curve["count"] > 0
    edges = np.linspace(0, 1, len(curve["count"]) + 1)
    above.plot([0, 1], [0, 1], color=_INK, linestyle=":", label="perfectly calibrated")
    above.plot(curve["confidence"][filled], curve["accuracy"][filled], "o-", color=BLUE, label="observed")
    above.set_ylim(-0.02, 1.02)
    above.set_ylabel("share right")
    above.set_title(f"of this curve: ECE = {found.ece:.3f}, Brier score = {found.brier:.3f}", loc="left")
    share = 100 * curve["count"] / curve["count"].sum()
    below.bar(edges[:-1], share, width=np.diff(edges), align="edge", color=SKY, edgecolor=PAPER, linewidth=0.5)
    below.set_ylabel("rows (%)")
    below.set_xlabel("probability of the predicted class")
    below.set_xlim(0, 1)
    _legend(made, above)
    return made


# ---- training -------------------------------------------------------------------------------------------------------


@styled
def learning_figure(curves: Curves) -> Figure | None:
    """Loss and validation UAR by epoch: mean over runs, and the band from the 10th to the 90th percentile."""
    losses = [(key, name) for key, name in (("loss", "training"), ("eval_loss", "validation")) if key in curves.series]
    if not losses and "eval_uar" not in curves.series:
        return None
    made, (above, below) = figure(5.4, 4.4, 2, sharex=True)
    for (key, name), colour, marker in zip(losses, (ORANGE, BLUE), ("s", "o"), strict=False):
        _band(above, curves.epochs, curves.series[key], colour, name, marker)
    above.set_ylabel("loss")
    above.set_ylim(bottom=0)
    if "eval_uar" in curves.series:
        _band(below, curves.epochs, curves.series["eval_uar"], BLUE, None, "o")
    if not np.isnan(curves.best_epochs).all():
        middle = float(np.nanmedian(curves.best_epochs))
        below.axvline(middle, color=RED, linestyle="--", label=f"median of the epochs kept ({middle:g})")
    below.set_ylim(0, 1)
    below.set_ylabel("validation UAR")
    _epochs(below, curves.epochs)
    _legend(made, above, below)
    return made


@styled
def curriculum_figure(curves: Curves, labels: Sequence[str]) -> Figure:
    """The pool, its mean difficulty and its mix of classes by epoch, mean over runs."""
    series = curves.series
    hard = series.get("curriculum/mean_difficulty")
    panels = 3 if hard is not None and not np.isnan(hard).all() else 2
    many = len(labels) > len(COLOURS)
    height = 1.6 * (panels - 1) + (0.6 + 0.15 * len(labels) if many else 2.0) + 0.9
    ratios = [1.6] * (panels - 1) + [0.6 + 0.15 * len(labels) if many else 2.0]
    made, axes = figure(5.4, height, panels, sharex=True, height_ratios=ratios)
    _band(axes[0], curves.epochs, 100 * series["curriculum/pool_fraction"], BLUE, None, "o")
    axes[0].set_ylim(0, 105)
    axes[0].set_ylabel("pool\n(% of training rows)")
    if panels == 3:
        _band(axes[1], curves.epochs, hard, ORANGE, None, "s")
        axes[1].set_ylim(bottom=0)
        axes[1].set_ylabel("mean difficulty\nof the pool")
    none = np.full(series["curriculum/pool_fraction"].shape, np.nan)
    mix = [100 * _mean(series.get(f"curriculum/class_{i}", none)) for i in range(len(labels))]
    _class_mix(made, axes[-1], curves.epochs, np.array(mix), labels)
    _epochs(axes[-1], curves.epochs)
    return made


@styled
def layers_figure(shares: np.ndarray) -> Figure:
    """Learned weights of layers, (runs, layers): the mean over runs, each run a dot, and what equal weights are."""
    made, axes = figure(5.4, 2.6)
    layers = np.arange(shares.shape[1])
    axes.bar(layers, shares.mean(axis=0), color=SKY, edgecolor=PAPER, linewidth=0.5, label="mean over runs")
    if len(shares) > 1:
        axes.plot(np.tile(layers, len(shares)), shares.ravel(), ".", color=_INK, label="each run")
    axes.axhline(1 / shares.shape[1], color=RED, linestyle="--", label="equal weights, as training begins")
    axes.set_ylim(0, 1.1 * shares.max())
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.set_xticks(layers[:: -(-len(layers) // 13)])
    axes.set_xlabel("layer (0: what enters the first)")
    axes.set_ylabel("weight")
    axes.grid(axis="x", visible=False)
    _legend(made, axes)
    return made


def _class_mix(made: Figure, axes: Axes, epochs: np.ndarray, mix: np.ndarray, labels: Sequence[str]) -> None:
    """Shares (C, E) in per cent: a line a class, or a heat map where there are more classes than colours."""
    if len(labels) > len(COLOURS):
        edges = np.arange(len(epochs) + 1) + epochs[0] - 0.5
        mesh = axes.pcolormesh(edges, np.arange(len(labels) + 1), mix, cmap="Blues", vmin=0)
        axes.set_yticks(np.arange(len(labels)) + 0.5, _short(labels, 16), fontsize=6.5)
        axes.invert_yaxis()
        axes.grid(visible=False)
        made.colorbar(mesh, ax=axes, label="share of the pool (%)").outline.set_visible(False)
        return
    for label, share, colour, marker in zip(_short(labels, 16), mix, COLOURS, MARKERS, strict=False):
        axes.plot(epochs, share, marker=marker, color=colour, markevery=_every(epochs), label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("class mix\n(% of the pool)")
    _legend(made, axes)


def _band(axes: Axes, epochs: np.ndarray, values: np.ndarray, colour: str, label: str | None, marker: str) -> None:
    if len(values) > 1:
        present = ~np.isnan(values).all(axis=0)
        low, high = np.nanpercentile(values[:, present], (10, 90), axis=0)
        axes.fill_between(epochs[present], low, high, color=colour, alpha=0.22, linewidth=0)
    axes.plot(epochs, _mean(values), marker=marker, color=colour, markevery=_every(epochs), label=label)


def _mean(values: np.ndarray) -> np.ndarray:
    """(E,) mean over runs (R, E) of what is not NaN; NaN where all are."""
    known = ~np.isnan(values)
    return np.where(known.any(0), np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def _epochs(axes: Axes, epochs: np.ndarray) -> None:
    axes.set_xlabel("epoch")
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def _every(epochs: np.ndarray) -> int:
    return max(1, len(epochs) // 12)


def _legend(made: Figure, *axes: Axes) -> None:
    """A legend above the panels, where it hides nothing."""
    found = [panel.get_legend_handles_labels() for panel in axes]
    handles, labels = [h for handles, _ in found for h in handles], [name for _, names in found for name in names]
    if labels:
        wide = max(map(len, labels)) > 14
        made.legend(handles, labels, loc="outside upper left", ncols=2 if wide else 4)


def _count(value: float) -> str:
    return f"{value:.0f}" if value < 10_000 else f"{value / 1000:.0f}k"


def _short(names: Sequence[str], length: int) -> list[str]:
    """The names, without their middles where they are too long; as much longer as it takes to tell them apart."""
    for most in range(length, max(map(len, names), default=0) + 1):
        found = [_without_middle(name, most) for name in names]
        if len(set(found)) == len(set(names)):
            return found
    return list(names)


def _without_middle(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length // 2]}…{name[len(name) - (length - 1) // 2 :]}"


__all__ = [
    "confusion_figure", "cross_corpus_figure", "curriculum_figure", "difficulty_figure", "groups_figure",
    "layers_figure", "learning_figure", "reliability_figure", "save", "scores_figure", "themed",
]  # fmt: skip
