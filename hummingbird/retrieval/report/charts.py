"""Charts as inline SVG: bars of per-class scores and colour scales. Text takes the page's colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from hummingbird.retrieval.report.elements import png
from hummingbird.retrieval.report.runs import show
from hummingbird.tasks.drawing import paint_values
from hummingbird.tasks.painting import Scale

# Okabe and Ito's colours, ordered so that the first three are distinct for every kind of colour vision.
SERIES = ("#0072b2", "#e69f00", "#8c8c8c", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900")
LABEL, VALUE = 150, 44  # width of the names and of the numbers beside the bars
MAX_ROWS = 26
LONGEST_NAME = 20


def series_colour(i: int) -> str:
    """Returns the colour of the i-th encoder, the same in every chart and legend."""
    return SERIES[i % len(SERIES)]


# ---------------------------------------------------------------- bars
class Layout(NamedTuple):
    """Sizes of a bar chart, pixels: the length of a bar of 100, its thickness, and the distance between classes."""

    length: int
    thick: int
    step: int


def class_bars(
    series: Sequence[Mapping[str, float | None]], order: Sequence[str], swatches: Mapping[str, str] | None = None
) -> list[Markup]:
    """Draws horizontal bars of per-class scores: a group of bars per class, a bar per series.

    Args:
      series: class name -> score 0-100; None where the class does not occur (drawn as a dash).
      order: class names, top to bottom.
      swatches: class name -> colour of the square beside its name.

    Returns:
      SVG elements, each a column of at most 26 classes, so that 150 classes fill a page in columns.
    """
    if not order:
        return []
    columns = math.ceil(len(order) / MAX_ROWS)
    rows = math.ceil(len(order) / columns)
    thick = 12 if len(series) == 1 else 9
    gap = 7 if len(series) == 1 else 10
    layout = Layout({1: 480, 2: 310}.get(columns, 150), thick, len(series) * thick + gap)
    starts = range(0, len(order), rows)
    return [_bar_column(series, order[start : start + rows], swatches or {}, layout) for start in starts]


def _bar_column(
    series: Sequence[Mapping[str, float | None]], order: Sequence[str], swatches: Mapping[str, str], layout: Layout
) -> Markup:
    height, width = len(order) * layout.step + 20, LABEL + layout.length + VALUE
    parts = [
        f'<svg class="bars" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        'aria-label="Intersection over union by class">'
    ]
    for tick in (0, 25, 50, 75, 100):
        x = LABEL + layout.length * tick / 100
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height - 16}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{height - 4}" text-anchor="middle">{tick}</text>')
    for row, name in enumerate(order):
        top = row * layout.step + 3
        parts.append(_class_name(name, top + len(series) * layout.thick / 2, swatches.get(name)))
        for i, scores in enumerate(series):
            small = " small" if len(series) > 1 else ""
            parts.append(_bar(scores.get(name), top + i * layout.thick, layout, series_colour(i), small))
    return Markup("".join([*parts, "</svg>"]))


def _class_name(name: str, middle: float, colour: str | None) -> str:
    shown = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    text = (
        f'<text class="name" x="{LABEL - 25}" y="{middle + 3.5:.1f}" text-anchor="end">{escape(shown)}'
        f"<title>{escape(name)}</title></text>"
    )
    if colour is None:
        return text
    square = f'<rect x="{LABEL - 19}" y="{middle - 5:.1f}" width="10" height="10" rx="2" fill="{escape(colour)}"/>'
    return text + square


def _bar(value: float | None, y: int, layout: Layout, colour: str, small: str) -> str:
    length = layout.length * min(max(value or 0.0, 0.0), 100.0) / 100
    return (
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{layout.thick - 1}" fill="{colour}"/>'
        f'<text class="value{small}" x="{LABEL + length + 4:.1f}" y="{y + layout.thick - 2}">{show(value, 1)}</text>'
    )


# ---------------------------------------------------------------- colour scales
def colour_bar(scale: Scale) -> Markup:
    """Draws a colour scale with five ticks."""
    low, high = scale.low, scale.high
    strip = paint_values(np.linspace(low, high, 256)[None, :], low, high, scale.colours)
    parts = [
        '<svg class="scale" viewBox="0 0 300 40" width="300" role="img">',
        f'<image href="{png(strip)}" x="10" y="2" width="280" height="11" preserveAspectRatio="none"/>',
    ]
    digits = 1 if high - low >= 4 else 2
    for i in range(5):
        x = 10 + 70 * i
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="13" y2="17"/>')
        value = low + (high - low) * i / 4
        parts.append(f'<text class="tick" x="{x}" y="26" text-anchor="middle">{value:.{digits}f}</text>')
    parts.append(f'<text class="name" x="150" y="38" text-anchor="middle">{escape(scale.label)}</text></svg>')
    return Markup("".join(parts))
