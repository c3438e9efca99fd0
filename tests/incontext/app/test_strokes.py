"""Strokes as labels, against pixel by pixel geometry."""

import itertools

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.incontext.app.strokes import Stroke, paint, parse_stroke

VOID = 255


def painted(*strokes, size=(30, 40)):
    labels = np.full(size, VOID, np.uint8)
    paint(labels, strokes, {"a": 3, "b": 4})
    return labels


def distance(x, y, points):
    """Distance of a point to a line through points, by projecting on each segment."""
    ends = list(itertools.pairwise(points)) or [(points[0], points[0])]
    best = np.inf
    for a, b in ends:
        a, b, p = np.array(a), np.array(b), np.array([x, y])
        along = b - a
        t = 0.0 if not along.any() else np.clip((p - a) @ along / (along @ along), 0, 1)
        best = min(best, np.linalg.norm(p - a - t * along))
    return best


@pytest.mark.parametrize("points", [[(10.2, 8.7)], [(3, 4), (30, 20.5), (12, 25)], [(-5, -5), (50, 60)]])
def test_a_brush_paints_the_pixels_within_its_radius(points):
    flat = tuple(float(value) for point in points for value in point)
    labels = painted(Stroke("s", "brush", "a", 5.0, flat))
    for row, column in np.ndindex(labels.shape):
        apart = distance(column + 0.5, row + 0.5, points)
        if abs(apart - 2.5) > 1e-9:
            assert (labels[row, column] == 3) == (apart < 2.5)


def test_an_outline_is_filled_by_the_even_odd_rule():
    star = [(20, 1), (32, 28), (3, 11), (37, 11), (8, 28)]
    labels = painted(Stroke("s", "fill", "a", 1.0, tuple(float(v) for p in star for v in p)))
    for row, column in np.ndindex(labels.shape):
        x, y, crossings = column + 0.5, row + 0.5, 0
        for (ax, ay), (bx, by) in zip(star, star[1:] + star[:1], strict=True):
            if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
                crossings += 1
        assert (labels[row, column] == 3) == (crossings % 2 == 1)


def test_later_strokes_cover_earlier_ones_and_the_eraser_frees_pixels():
    line = (2.0, 15.0, 38.0, 15.0)
    labels = painted(
        Stroke("1", "brush", "a", 9.0, line), Stroke("2", "brush", "b", 5.0, line), Stroke("3", "eraser", "", 1.5, line)
    )
    assert [labels[row, 20] for row in (11, 13, 15)] == [3, 4, VOID]


def test_strokes_of_classes_that_are_gone_paint_nothing():
    assert (painted(Stroke("s", "brush", "gone", 9.0, (5.0, 5.0))) == VOID).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tool": "spray"}, "brush, eraser, fill"),
        ({"points": []}, "1 to 20,000 points"),
        ({"points": [1, 2, 3]}, "1 to 20,000 points"),
        ({"points": [1, float("nan")]}, "not a number"),
        ({"points": [1, "2"]}, "not a number"),
        ({"points": [True, 2]}, "not a number"),
        ({"size": 0}, "above 0"),
        ({"size": 1e5}, "at most 2000"),
        ({"id": "../x"}, "not an identifier"),
    ],
)
def test_what_is_no_stroke_is_refused(change, message):
    fields = {"id": "s", "tool": "brush", "class": "a", "size": 5, "points": [1, 2]}
    assert parse_stroke(fields).points == (1.0, 2.0)
    with pytest.raises(UserError, match=message):
        parse_stroke({**fields, **change})
