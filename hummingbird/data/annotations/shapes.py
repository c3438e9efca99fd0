"""Shapes that annotators draw, as pixels: polygons, boxes, ellipses and strokes.

Coordinates are (x, y) in pixels, and pixel (0, 0) covers the square from (0, 0) to (1, 1). A shape covers the pixels
with their centres inside, so shapes that share an edge neither overlap nor leave a gap. What lies outside of the image
is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from hummingbird.data.interface import Unreadable

Pixels = Bool[np.ndarray, "H W"]
Point = tuple[float, float]


def polygon(points: Sequence[Point], height: int, width: int) -> Pixels:
    """Fills a polygon by the even-odd rule: where it crosses itself, areas that it encloses twice are outside.

    Args:
      points: its corners in order; the last one is joined to the first.
      height, width: of the image, pixels.

    Raises:
      Unreadable: fewer than three corners, or coordinates that are not finite.

    Example:
      >>> polygon([(1, 0), (4, 0), (4, 2)], 2, 4).astype(int)
      array([[0, 0, 1, 1],
             [0, 0, 0, 1]])
    """
    corners = _points(points)
    if len(corners) < 3:
        raise Unreadable(f"a polygon has {len(corners)} corners; it needs three")
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    # Each edge crosses the centre lines of the rows [low, high).
    ends = np.sort(np.stack([y0, y1]), axis=0)
    low, high = np.clip(np.ceil(ends - 0.5), 0, height).astype(np.int64)
    lengths = high - low
    edge = np.repeat(np.arange(len(corners)), lengths)
    row = low[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    slope = (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(x0[edge] + (row + 0.5 - y0[edge]) * slope - 0.5), 0, width).astype(np.int64)
    # A crossing turns all pixels to its right from outside to inside, or back.
    turns = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).reshape(height, width + 1)
    return np.cumsum(turns, axis=1)[:, :width] % 2 == 1


def box(left: float, top: float, right: float, bottom: float, turn: float, pivot: Point) -> list[Point]:
    """Returns the corners of a box that is turned clockwise.

    Args:
      left, top, right, bottom: of the box before it is turned, pixels.
      turn: degrees.
      pivot: the point that stays in place.
    """
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return [
        (
            pivot[0] + (x - pivot[0]) * cosine - (y - pivot[1]) * sine,
            pivot[1] + (x - pivot[0]) * sine + (y - pivot[1]) * cosine,
        )
        for x, y in corners
    ]


def ellipse(centre: Point, radii: Point, turn: float, height: int, width: int) -> Pixels:
    """Fills an ellipse.

    Args:
      centre: (x, y), pixels.
      radii: along x and y before it is turned, pixels.
      turn: degrees, clockwise about the centre.
      height, width: of the image, pixels.
    """
    if not (np.isfinite([*centre, *radii, turn]).all() and min(radii) > 0):
        raise Unreadable(f"an ellipse has the centre {centre} and the radii {radii}")
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    x = np.arange(width) + 0.5 - centre[0]
    y = (np.arange(height) + 0.5 - centre[1])[:, None]
    return ((x * cosine + y * sine) / radii[0]) ** 2 + ((y * cosine - x * sine) / radii[1]) ** 2 <= 1


def stroke(points: Sequence[Point], thickness: float, height: int, width: int) -> Pixels:
    """Draws a line with round ends: the pixels with their centres within half the thickness of it.

    Args:
      points: its corners in order; a single one is drawn as a dot.
      thickness: pixels; a stroke covers the pixels that its corners lie in, however thin it is.
      height, width: of the image, pixels.

    Example:
      >>> stroke([(0.5, 0.5), (3.5, 0.5)], 1, 2, 4).astype(int)
      array([[1, 1, 1, 1],
             [0, 0, 0, 0]])
    """
    corners = _points(points)
    drawn = np.zeros((height, width), bool)
    columns, rows = np.floor(corners.T).astype(np.int64)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    drawn[rows[inside], columns[inside]] = True
    for start, end in zip(corners, corners[1:] if len(corners) > 1 else corners, strict=False):
        _draw_segment(drawn, start, end, thickness / 2)
    return drawn


def _draw_segment(
    drawn: Pixels, start: Float64[np.ndarray, " 2"], end: Float64[np.ndarray, " 2"], radius: float
) -> None:
    """Sets the pixels within `radius` of a segment, computing on its bounding box only."""
    height, width = drawn.shape
    low = np.clip(np.floor(np.minimum(start, end) - radius), 0, (width, height)).astype(np.int64)
    high = np.clip(np.ceil(np.maximum(start, end) + radius), 0, (width, height)).astype(np.int64)
    x = np.arange(low[0], high[0]) + 0.5 - start[0]
    y = (np.arange(low[1], high[1]) + 0.5 - start[1])[:, None]
    along = end - start
    length = float(along @ along)
    nearest = np.clip((x * along[0] + y * along[1]) / length, 0, 1) if length else np.zeros((len(y), len(x)))
    distance = (x - nearest * along[0]) ** 2 + (y - nearest * along[1]) ** 2
    drawn[low[1] : high[1], low[0] : high[0]] |= distance <= radius**2


def _points(points: Sequence[Point]) -> Float64[np.ndarray, "n 2"]:
    try:
        found = np.asarray(points, np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise Unreadable("the points of a shape are not pairs of numbers") from None
    if not len(found) or not np.isfinite(found).all():
        raise Unreadable("a shape has no points, or some that are not finite")
    return found
