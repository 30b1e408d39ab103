"""Figures that are drawn once for two formats: the same strokes at the same places in pixels and in the SVG."""

import io
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="figures need matplotlib: pip install emomm[report]")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from emomm.reporting.figures import confusion_figure
from emomm.reporting.figures import figure
from emomm.reporting.figures import save
from emomm.reporting.figures import styled
from emomm.reporting.strokes import draw


@styled
def two_strokes():
    """A line of one colour, a marker of another, and a word."""
    made, axes = figure(2, 1)
    axes.set_axis_off()
    axes.plot([0, 1], [0, 1], color="#ff0000", linewidth=1)
    axes.plot([0], [1], "s", color="#00ff00", markersize=6)
    axes.text(1, 0, "word", color="#0000ff", ha="right", va="bottom")
    return made


def box(pixels, colour):
    """(left, right, top, bottom) of a colour, in pixels from the upper left."""
    rows, columns = np.nonzero((pixels[..., :3] == colour).all(axis=-1))
    return np.array([columns.min(), columns.max() + 1, rows.min(), rows.max() + 1])


def test_pixels_and_svg_have_the_same_places():
    pixels, svg = draw(two_strokes())
    assert pixels.shape == (200, 400, 4) and 'viewBox="0 0 144 72"' in svg
    left, right, top, bottom = box(pixels, (255, 0, 0)) * 72 / 200
    x0, y0, x1, y1 = map(
        float, re.search(r"d=\"M ([\d.]+) ([\d.]+) *\n?L ([\d.]+) ([\d.]+)[^>]*#ff0000", svg).groups()
    )
    np.testing.assert_allclose([left, right, top, bottom], [x0, x1, y1, y0], atol=1)
    left, right, top, bottom = box(pixels, (0, 255, 0)) * 72 / 200
    x, y = map(float, re.search(r"<use [^>]*x=\"([\d.]+)\" y=\"([\d.]+)\"[^>]*#00ff00", svg).groups())
    np.testing.assert_allclose([(left + right) / 2, (top + bottom) / 2], [x, y], atol=0.4)
    assert 5 < right - left < 7.5  # 6 points and its edge
    left, right, top, bottom = box(pixels, (0, 0, 255)) * 72 / 200
    x, y = map(float, re.search(r"#0000ff\" transform=\"translate\(([\d.]+) ([\d.]+)\)", svg).groups())
    assert abs(left - x) < 1 and abs(bottom - y) < 1  # where the word begins, on its line


def test_pixels_are_those_of_matplotlib_but_for_the_edges_of_letters():
    labels, matrix = ["sad", "glad"], np.array([[30, 4], [5, 60]])
    mine = draw(confusion_figure(matrix, labels, shares=False))[0]
    other, file = confusion_figure(matrix, labels, shares=False), io.BytesIO()
    FigureCanvasAgg(other).print_png(file)
    theirs = np.asarray(Image.open(file))
    assert mine.shape == theirs.shape
    far = np.abs(mine.astype(int) - theirs).max(axis=-1) > 60
    assert far.mean() < 0.02


def test_the_steps_of_a_colour_bar_are_one_image():
    svg = draw(confusion_figure(np.eye(4) * 9, list("abcd"), shares=False))[1]
    assert svg.count("<image ") == 1 and svg.count("<path") < 100


def test_a_picture_is_opaque_and_says_its_size(tmp_path):
    save(two_strokes(), tmp_path, "x")
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "RGB" and image.size == (400, 200)
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
