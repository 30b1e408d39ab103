"""Figures: nothing overlaps with 4 and with 20 classes, the same data give the same bytes, light and dark."""

import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need matplotlib: pip install emomm[report]")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from emomm.reporting import figures
from emomm.reporting.findings import CrossCorpus
from emomm.reporting.findings import DifficultyCurve
from emomm.reporting.findings import Reliability
from emomm.reporting.report_data import Curves

NAMES = {
    4: ["neutral", "happy", "sad", "anger"],
    20: [f"a rather long emotion, number {i}" for i in range(20)],
}


def curves(classes=4, runs=3, epochs=30):
    rng = np.random.default_rng(0)
    names = ["loss", "eval_loss", "eval_uar", "curriculum/pool_fraction", "curriculum/mean_difficulty"]
    names += [f"curriculum/class_{i}" for i in range(classes)]
    series = {name: rng.random((runs, epochs)) for name in names}
    series["loss"][1, 20:] = np.nan  # stopped early
    return Curves(np.arange(1, epochs + 1), series, np.array([20.0, 18, np.nan]))


def groups(count):
    return {f"corpus/{i}": {"n": 10 * i, "uar": i / count} for i in range(count)}


def drawn(classes):
    """What draws every kind of figure, by name."""
    rng = np.random.default_rng(classes)
    names, matrix = NAMES[classes], rng.integers(0, 4000, (classes, classes))
    bins = {"count": np.arange(15), "confidence": (np.arange(15) + 0.5) / 15, "accuracy": rng.random(15)}
    buckets = np.sort(rng.random(20))
    curve = DifficultyCurve(buckets, 1 - buckets, 1 - buckets, np.full(20, 17), 0.5, -0.4, 0.0004, -0.31, 0.002)
    corpora = CrossCorpus(names[:4], [*names[:4], "other"], rng.random((4, 5)), np.eye(4, 5) > 0)
    corpora.uar[0, 1] = np.nan
    return {
        "counts": lambda: figures.confusion_figure(matrix, names, shares=False),
        "shares": lambda: figures.confusion_figure(matrix * (np.arange(classes) > 0)[:, None], names, shares=True),
        "scores": lambda: figures.scores_figure(names, rng.random(classes), [None, *[[0.4, 0.6]] * (classes - 1)]),
        "floors": lambda: figures.scores_figure(
            names, rng.random(classes), [None] * classes, [None, *rng.random(classes - 1)]
        ),
        "speakers": lambda: figures.groups_figure(groups(2 * classes), "speaker"),
        "many speakers": lambda: figures.groups_figure(groups(300), "speaker"),
        "cross-corpus": lambda: figures.cross_corpus_figure(corpora),
        "difficulty": lambda: figures.difficulty_figure(curve),
        "reliability": lambda: figures.reliability_figure(Reliability(bins, 0.1, 0.2)),
        "learning": lambda: figures.learning_figure(curves()),
        "curriculum": lambda: figures.curriculum_figure(curves(classes), names),
    }


def texts(made):
    """(text, box in pixels) of everything written in a figure."""
    made.get_layout_engine().execute(made)
    made.set_layout_engine("none")
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = list(made.texts)
    for legend in made.legends:
        found += legend.get_texts()
    for axes in made.axes:
        found += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        shown = [axis for axis in (axes.xaxis, axes.yaxis) if axis.get_visible()]
        found += [tick.label1 for axis in shown for tick in axis._update_ticks() if tick.label1.get_visible()]
        found += [tick.label2 for axis in shown for tick in axis._update_ticks() if tick.label2.get_visible()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in found if text.get_text()]


@pytest.mark.parametrize("classes", [4, 20])
def test_no_text_overlaps_or_leaves_the_figure(classes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, draw in drawn(classes).items():
            made = draw()
            placed = texts(made)
            assert placed, name
            width, height = made.get_size_inches() * made.dpi
            for text, box in placed:
                inside = box.x0 > -2 and box.y0 > -2 and box.x1 < width + 2 and box.y1 < height + 2
                assert inside, f"{name}: {text!r} at {box} leaves {width} × {height}"
            if name != "cross-corpus":  # boxes of slanted text say little
                corners = np.array([box.extents for _, box in placed])
                low, high = (
                    np.maximum(corners[:, None, :2], corners[:, :2]),
                    np.minimum(corners[:, None, 2:], corners[:, 2:]),
                )
                over = np.argwhere(np.triu((high - low > 2).all(-1), 1))
                assert not len(over), f"{name}: {[[placed[i][0] for i in pair] for pair in over]}"


def test_axes_are_labelled():
    for name, draw in drawn(4).items():
        made = draw()
        main = [axes for axes in made.axes if axes.get_label() != "<colorbar>"]
        assert main[-1].get_xlabel(), name
        if name not in ("scores", "floors", "speakers"):  # their rows are named
            assert all(axes.get_ylabel() for axes in main), name


def test_the_same_data_give_the_same_bytes(tmp_path):
    for name in ("learning", "counts", "difficulty"):
        (tmp_path / "a").mkdir(exist_ok=True), (tmp_path / "b").mkdir(exist_ok=True)
        svgs = [figures.save(drawn(4)[name](), tmp_path / place, name) for place in "ab"]
        assert svgs[0] == svgs[1] == (tmp_path / "a" / f"{name}.svg").read_text()
        assert (tmp_path / "a" / f"{name}.png").read_bytes() == (tmp_path / "b" / f"{name}.png").read_bytes()
        assert "<dc:date>" not in svgs[0] and "Matplotlib v" not in svgs[0].split("<svg")[1]


def test_the_page_gets_a_figure_in_light_and_dark(tmp_path):
    svg = figures.save(drawn(4)["learning"](), tmp_path, "learning")
    page = figures.themed(svg)
    assert page.startswith("<svg") and page.count("<style>:root") == 1
    assert "prefers-color-scheme:dark" in page
    for colour in ("#1b1b1f", "#fefefe", "#d8d8de"):
        assert f": {colour}" in svg and f": {colour}" not in page
    assert set(re.findall(r"var\((--c\d)\)", page)) <= set(re.findall(r"(--c\d):", page))


def test_heat_map_text_can_be_read():
    made = figures.confusion_figure(np.arange(16).reshape(4, 4) * 100, NAMES[4], shares=False)
    mesh = made.axes[0].collections[0]
    for text, value in zip(made.axes[0].texts, np.arange(16) * 100, strict=True):
        back, front = (_luminance(colour) for colour in (mesh.cmap(mesh.norm(value)), _rgb(text.get_color())))
        assert (max(back, front) + 0.05) / (min(back, front) + 0.05) >= 4.5, value


def _rgb(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def _luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return np.dot((0.2126, 0.7152, 0.0722), linear)


def test_no_curves_no_figure():
    assert figures.learning_figure(Curves(np.arange(0), {}, np.array([np.nan]))) is None


def test_names_that_are_too_long_stay_apart():
    names = ["surprise-positive-high", "surprise-negative-high", "calm"]
    made = figures.confusion_figure(np.eye(3), names, shares=False)
    shown = [label.get_text() for label in made.axes[0].get_yticklabels()]
    assert len(set(shown)) == 3 and shown[2] == "calm" and all(len(name) < 23 for name in shown)
    many = [f"cross attention, learning rate {rate}, curriculum on, IEMOCAP" for rate in ("1e-3", "3e-4")]
    made = figures.scores_figure(many, [0.5, 0.6], [None, None])
    assert len({label.get_text() for label in made.axes[0].get_yticklabels()}) == 2


def test_floors_stand_beside_their_experiments():
    made = figures.scores_figure(["a", "b", "c"], [0.5, 0.6, 0.7], [None] * 3, [None, 0.8, 0.25])
    drawn = [line.get_xydata().tolist() for line in made.axes[0].lines if len(line.get_xydata()) == 2]
    assert drawn == [[[0.8, 0.7], [0.8, 1.3]], [[0.25, 1.7], [0.25, 2.3]]]
    (legend,) = made.legends
    assert [text.get_text() for text in legend.get_texts()] == ["floor: logistic regression, same rows"]
    assert not figures.scores_figure(["a"], [0.5], [None], [None]).legends


@pytest.mark.parametrize("name", [r"$\frac$", "costs $5 or $6", "怒り", "a_b^c"])
def test_a_name_is_a_name_and_no_formula(tmp_path, name):
    made = figures.confusion_figure(np.eye(2), [name, "b"], shares=True)
    figures.save(made, tmp_path, "x")
    assert name in [label.get_text() for label in made.axes[0].get_yticklabels()]


def test_the_readers_own_settings_change_nothing(tmp_path, monkeypatch):
    """As a matplotlibrc would set them, TeX included, which may not be there."""
    import matplotlib

    monkeypatch.setattr(Image.Image, "save", lambda *given, **options: None)  # which takes most of the time
    plain = {name: figures.save(draw(), tmp_path, "a") for name, draw in drawn(4).items()}
    own = {"text.usetex": True, "axes.titlesize": 20, "font.size": 15, "legend.frameon": True, "lines.linewidth": 9}
    with matplotlib.rc_context(own):
        other = {name: figures.save(draw(), tmp_path, "a") for name, draw in drawn(4).items()}
    assert plain == other


def test_names_in_a_figure_are_no_markup(tmp_path):
    """An SVG that is opened by itself runs what is in it: names are drawn, and are comments at most."""
    names = ['--><script>alert(1)</script>]]>"', "</svg><script>alert(2)</script>"]
    svg = figures.save(figures.scores_figure(names, [0.5, 0.6], [None, None]), tmp_path, "scores")
    for text in (svg, figures.themed(svg)):
        tags = {element.tag.rsplit("}", 1)[-1] for element in ElementTree.fromstring(text).iter()}
        assert "g" in tags and not {"script", "a", "foreignObject"} & tags
