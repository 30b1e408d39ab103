"""What a figure draws, drawn once: pixels (Agg) and SVG are made of the same strokes.

matplotlib lays out and walks through a figure once for each format. Here one renderer hands each stroke on to both.
Text is laid out and drawn by its outlines, which are kept from figure to figure: words and numbers come again.
"""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.backends.backend_template import RendererTemplate
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D
from matplotlib.transforms import Bbox
from matplotlib.transforms import Transform
from matplotlib.transforms import TransformedPath

_POINTS = 72  # an inch


def draw(made: Figure) -> tuple[np.ndarray, str]:
    """Lays out a figure and draws it.

    Returns:
        (height, width, 4) uint8 RGBA at the figure's dpi, and the SVG.
    """
    renderer = _Strokes(made)
    _Canvas(made, renderer)
    made.get_layout_engine().execute(made)
    made.set_layout_engine("none")  # it is laid out now; once is enough
    made.draw(renderer)
    return renderer.pixels(), renderer.svg()


class _Canvas(FigureCanvasBase):
    """Of a figure that one renderer lays out and draws."""

    def __init__(self, made: Figure, renderer: RendererBase):
        super().__init__(made)
        self._renderer = renderer

    def get_renderer(self) -> RendererBase:
        return self._renderer


class _Strokes(RendererBase):
    """Draws into pixels and SVG, in the coordinates of the pixels."""

    def __init__(self, made: Figure):
        super().__init__()
        self.dpi, (width, height) = made.dpi, made.get_size_inches()
        self._size = int(width * self.dpi), int(height * self.dpi)
        self._pixels = self._beneath = self._empty()
        self._text, about = io.StringIO(), {"Date": None, "Creator": None}
        size = _POINTS * width, _POINTS * height
        self._svg = self._vectors = RendererSVG(*size, self._text, image_dpi=self.dpi, metadata=about)
        self._to_points = Affine2D().scale(_POINTS / self.dpi)

    def pixels(self) -> np.ndarray:
        return np.asarray(self._pixels.buffer_rgba())

    def svg(self) -> str:
        self._svg.finalize()
        return self._text.getvalue()

    def _empty(self) -> RendererAgg:
        return RendererAgg(*self._size, self.dpi)

    # ---- what a figure asks ----

    def flipy(self) -> bool:
        return True

    def get_canvas_width_height(self) -> tuple[int, int]:
        return self._size

    def points_to_pixels(self, points: Any) -> Any:
        return points * self.dpi / _POINTS

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> tuple[float, float, float]:
        return tuple(self.dpi / _POINTS * size for size in text_to_path.get_text_width_height_descent(s, prop, ismath))

    # ---- what is pixels in the SVG too, such as the steps of a colour bar ----

    def start_rasterizing(self) -> None:
        self._beneath, self._pixels = self._pixels, self._empty()
        self._vectors = RendererTemplate(self.dpi)  # draws nothing

    def stop_rasterizing(self) -> None:
        drawn, self._pixels, self._vectors = self.pixels(), self._beneath, self._svg
        rows, columns = (np.flatnonzero(drawn[..., 3].any(axis=axis)) for axis in (1, 0))
        if len(rows):
            part = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            self.draw_image(self.new_gc(), columns[0], self._size[1] - rows[-1] - 1, part[::-1])

    # ---- strokes ----

    def open_group(self, s: str, gid: str | None = None) -> None:
        self._svg.open_group(s, gid)

    def close_group(self, s: str) -> None:
        self._svg.close_group(s)

    def draw_path(self, gc: GraphicsContextBase, path: Path, transform: Transform, rgbFace: Any = None) -> None:
        self._pixels.draw_path(gc, path, transform, rgbFace)
        with self._in_points(gc) as svg:
            svg.draw_path(gc, path, transform + self._to_points, rgbFace)

    def draw_markers(
        self,
        gc: GraphicsContextBase,
        marker_path: Path,
        marker_trans: Transform,
        path: Path,
        trans: Transform,
        rgbFace: Any = None,
    ) -> None:
        self._pixels.draw_markers(gc, marker_path, marker_trans, path, trans, rgbFace)
        with self._in_points(gc) as svg:
            moved = marker_trans + self._to_points, path, trans + self._to_points
            svg.draw_markers(gc, marker_path, *moved, rgbFace)

    def draw_path_collection(
        self,
        gc: GraphicsContextBase,
        master_transform: Transform,
        paths: Any,
        all_transforms: Any,
        offsets: Any,
        offset_trans: Transform,
        *looks: Any,
        **more: Any,
    ) -> None:
        given = paths, all_transforms, offsets
        self._pixels.draw_path_collection(gc, master_transform, *given, offset_trans, *looks, **more)
        with self._in_points(gc) as svg:
            to_points = self._to_points
            svg.draw_path_collection(
                gc, master_transform + to_points, *given, offset_trans + to_points, *looks, **more
            )

    def draw_quad_mesh(
        self,
        gc: GraphicsContextBase,
        master_transform: Transform,
        meshWidth: int,
        meshHeight: int,
        coordinates: Any,
        offsets: Any,
        offsetTrans: Transform,
        *looks: Any,
    ) -> None:
        given = meshWidth, meshHeight, coordinates, offsets
        self._pixels.draw_quad_mesh(gc, master_transform, *given, offsetTrans, *looks)
        with self._in_points(gc) as svg:
            to_points = self._to_points
            svg.draw_quad_mesh(gc, master_transform + to_points, *given, offsetTrans + to_points, *looks)

    def draw_image(
        self, gc: GraphicsContextBase, x: float, y: float, im: np.ndarray, transform: Transform | None = None
    ) -> None:
        self._pixels.draw_image(gc, x, y, im)
        with self._in_points(gc) as svg:
            svg.draw_image(gc, *self._to_points.transform((x, y)), im)

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        outline = self.new_gc()
        outline.copy_properties(gc)
        outline.set_linewidth(0)
        scale = prop.get_size_in_points() / text_to_path.FONT_SCALE * self.dpi / _POINTS
        placed = Affine2D().scale(scale).rotate_deg(angle).translate(x, self._size[1] - y)
        self._pixels.draw_path(outline, _outlines(s, prop.copy()), placed, gc.get_rgb())
        with self._in_points(gc) as svg:
            svg.draw_text(gc, *self._to_points.transform((x, y)), s, prop, angle, ismath, mtext)

    @contextmanager
    def _in_points(self, gc: GraphicsContextBase) -> Iterator[RendererBase]:
        """What takes strokes for the SVG, with a context whose clipping is in points meanwhile."""
        rectangle, (path, transform) = gc.get_clip_rectangle(), gc.get_clip_path()
        if rectangle is not None:
            gc.set_clip_rectangle(Bbox(self._to_points.transform(rectangle.get_points())))
        if path is not None:
            gc.set_clip_path(TransformedPath(path, transform + self._to_points))
        yield self._vectors
        gc.set_clip_rectangle(rectangle)
        if path is not None:
            gc.set_clip_path(TransformedPath(path, transform))


@functools.lru_cache(4096)
def _outlines(text: str, font: FontProperties) -> Path:
    """Of a text, of the size of `text_to_path`."""
    return Path(*text_to_path.get_text_path(font, text))


__all__ = ["draw"]
