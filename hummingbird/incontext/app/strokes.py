"""Strokes and the labels that they paint, pixel by pixel.

static/raster.js takes the same steps in the same order in double precision, so that the page shows exactly the labels
that the prompt gets; tests/incontext/app/test_browser.py compares them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from hummingbird.data.label_files import IGNORE
from hummingbird.errors import UserError

Labels = UInt8[np.ndarray, "H W"]
Points = Float64[np.ndarray, "n 2"]

MOST_POINTS = 20_000  # of a stroke; a minute of painting has about 4,000
LARGEST_BRUSH = 2_000.0  # pixels


@dataclasses.dataclass(frozen=True)
class Stroke:
    """One stroke on an image.

    Attributes:
      id: chosen by the page, unique within the image.
      tool: a name of `TOOLS`.
      class_id: id of the class that it paints; "" for the eraser.
      size: diameter of the brush, pixels of the image.
      points: x and y in pixels of the image; the centre of its first pixel is (0.5, 0.5).
    """

    id: str
    tool: str
    class_id: str
    size: float
    points: tuple[float, ...]


def paint(labels: Labels, strokes: Iterable[Stroke], values: Mapping[str, int]) -> None:
    """Paints strokes into labels, in place.

    Args:
      labels: class values, `IGNORE` where nothing is painted.
      strokes: in the order in which they were painted; later ones cover earlier ones.
      values: {class id: its value}; strokes of other classes are left out.

    Example:
      >>> labels = np.full((2, 4), IGNORE, np.uint8)
      >>> paint(labels, [Stroke("a", "brush", "sky", 1.0, (0.5, 0.5, 2.5, 0.5))], {"sky": 7})
      >>> labels.tolist()
      [[7, 7, 7, 255], [255, 255, 255, 255]]
    """
    for stroke in strokes:
        erases = stroke.tool == "eraser"
        if not erases and stroke.class_id not in values:
            continue
        value = IGNORE if erases else values[stroke.class_id]
        TOOLS[stroke.tool](labels, np.asarray(stroke.points, np.float64).reshape(-1, 2), stroke.size / 2, value)


def _paint_line(labels: Labels, points: Points, radius: float, value: int) -> None:
    """Paints the pixels with their centre at most `radius` away from the line through the points."""
    ends = points if len(points) > 1 else np.repeat(points, 2, axis=0)
    for (ax, ay), (bx, by) in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        rows = _span(min(ay, by) - radius, max(ay, by) + radius, labels.shape[0])
        columns = _span(min(ax, bx) - radius, max(ax, bx) + radius, labels.shape[1])
        part = labels[rows, columns]
        if part.size:
            y = np.arange(rows.start, rows.stop)[:, None] + 0.5
            x = np.arange(columns.start, columns.stop)[None, :] + 0.5
            part[_near(x, y, (ax, ay), (bx, by), radius)] = value


def _near(
    x: Float64[np.ndarray, "1 w"],
    y: Float64[np.ndarray, "h 1"],
    a: tuple[float, float],
    b: tuple[float, float],
    radius: float,
) -> Bool[np.ndarray, "h w"]:
    """Returns which points lie at most `radius` away from the segment between a and b."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = dx * dx + dy * dy
    t = np.zeros((len(y), x.shape[1]))
    if length > 0:
        t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / length, 0.0, 1.0)
    ex, ey = x - (a[0] + t * dx), y - (a[1] + t * dy)
    return ex * ex + ey * ey <= radius * radius


def _fill_outline(labels: Labels, points: Points, radius: float, value: int) -> None:
    """Paints the pixels with their centre inside the polygon through the points (even-odd rule)."""
    ax, ay = points.T
    bx, by = np.roll(points, -1, axis=0).T
    rows = _span(float(ay.min()), float(ay.max()), labels.shape[0])
    for row in range(rows.start, rows.stop):
        y = row + 0.5
        crosses = (ay <= y) != (by <= y)
        cuts = np.sort(ax[crosses] + (y - ay[crosses]) / (by[crosses] - ay[crosses]) * (bx[crosses] - ax[crosses]))
        for left, right in zip(cuts[::2].tolist(), cuts[1::2].tolist(), strict=True):
            start, stop = max(math.ceil(left - 0.5), 0), min(math.ceil(right - 0.5), labels.shape[1])
            labels[row, start : max(start, stop)] = value


def _span(low: float, high: float, length: int) -> slice:
    """Returns the pixels of a side that may have their centre between low and high."""
    start = min(max(math.floor(low), 0), length)
    return slice(start, min(max(math.ceil(high), start), length))


TOOLS: dict[str, Callable[[Labels, Points, float, int], None]] = {
    "brush": _paint_line,
    "eraser": _paint_line,
    "fill": _fill_outline,
}


def parse_stroke(fields: Mapping[str, object]) -> Stroke:
    """Reads a stroke as the page sends it.

    Raises:
      UserError: an unknown tool, no or too many points, values that are no finite numbers, a brush without a size.
    """
    tool, points = fields.get("tool"), fields.get("points")
    if tool not in TOOLS:
        raise UserError(f"stroke: its tool {tool!r} is unknown; use one of {', '.join(TOOLS)}")
    if not isinstance(points, list) or len(points) % 2 or not 2 <= len(points) <= 2 * MOST_POINTS:
        raise UserError(f"stroke: it needs 1 to {MOST_POINTS:,} points, each with x and y")
    numbers = [number(value, "stroke") for value in points]
    size = number(fields.get("size"), "stroke")
    if not 0 < size <= LARGEST_BRUSH:
        raise UserError(f"stroke: its brush of {size:g} pixels is not above 0 and at most {LARGEST_BRUSH:g}")
    return Stroke(identifier(fields, "id"), str(tool), str(fields.get("class") or ""), size, tuple(numbers))


def number(value: object, what: str) -> float:
    """Returns a finite number of a reasonable size; UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise UserError(f"{what}: {value!r} is not a number below 1,000,000")
    return float(value)


def identifier(fields: Mapping[str, object], key: str) -> str:
    """Returns a field that identifies something: 1 to 64 letters, digits, dashes or underscores."""
    value = fields.get(key)
    if not isinstance(value, str) or not re.fullmatch(r"[\w-]{1,64}", value, re.ASCII):
        raise UserError(f"{key}: {str(value)[:80]!r} is not an identifier")
    return value
