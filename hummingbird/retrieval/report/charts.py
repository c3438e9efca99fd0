"""Inline SVG for the report: bars of per-class scores and colour bars. Text takes the page's colours, light or dark."""

import math

import numpy as np
from markupsafe import Markup, escape

from hummingbird import drawing
from hummingbird.retrieval.report import pictures
from hummingbird.retrieval.report.runs import finite, show

# Okabe and Ito's colours in an order that keeps the first three apart for every kind of colour vision.
SERIES = ("#0072b2", "#e69f00", "#8c8c8c", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900")
LABEL, VALUE = 150, 44  # width of the names and of the numbers beside the bars
MAX_ROWS = 26


def class_bars(
    series: list[dict[str, float | None]], order: list[str], swatches: dict[str, str] | None = None
) -> list[Markup]:
    """Horizontal bars of per-class scores in percent, one group for each class, one bar for each series.

    Args:
      series: class name -> score 0-100, None or NaN where the class occurs neither in truth nor prediction (a dash).
      order: class names, top to bottom.
      swatches: class name -> colour of the square beside its name, if wanted.

    Returns:
      list of SVG elements, each a column of at most 26 classes, so that 150 classes fill a page in columns.
    """
    if not order:
        return []
    columns = math.ceil(len(order) / MAX_ROWS)
    rows = math.ceil(len(order) / columns)
    length = 150 if columns > 2 else 310 if columns == 2 else 480
    return [_bar_column(series, order[i : i + rows], swatches or {}, length) for i in range(0, len(order), rows)]


def _bar_column(series: list[dict[str, float | None]], order: list[str], swatches: dict[str, str], length: int):
    thick = 12 if len(series) == 1 else 9
    group = len(series) * thick
    step = group + (7 if len(series) == 1 else 10)
    height, width = len(order) * step + 20, LABEL + length + VALUE
    parts = [
        f'<svg class="bars" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        'aria-label="Intersection over union by class">'
    ]
    for tick in (0, 25, 50, 75, 100):
        x = LABEL + length * tick / 100
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height - 16}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{height - 4}" text-anchor="middle">{tick}</text>')
    for row, name in enumerate(order):
        top = row * step + 3
        middle = top + group / 2
        shown = name if len(name) <= 20 else name[:19] + "…"
        parts.append(
            f'<text class="name" x="{LABEL - 25}" y="{middle + 3.5:.1f}" text-anchor="end">{escape(shown)}'
            f"<title>{escape(name)}</title></text>"
        )
        if name in swatches:
            parts.append(
                f'<rect x="{LABEL - 19}" y="{middle - 5:.1f}" width="10" height="10" rx="2" '
                f'fill="{escape(swatches[name])}"/>'
            )
        for i, scores in enumerate(series):
            value = scores.get(name)
            y = top + i * thick
            bar = length * min(max(value, 0), 100) / 100 if value is not None and finite(value) else 0
            parts.append(
                f'<rect x="{LABEL}" y="{y}" width="{bar:.1f}" height="{thick - 1}" fill="{series_colour(i)}"/>'
            )
            parts.append(
                f'<text class="value{" small" if len(series) > 1 else ""}" x="{LABEL + bar + 4:.1f}" '
                f'y="{y + thick - 2}">{show(value, 1)}</text>'
            )
    parts.append("</svg>")
    return Markup("".join(parts))


def series_colour(i: int) -> str:
    """Colour of the i-th encoder, the same in every chart and legend."""
    return SERIES[i % len(SERIES)]


def colour_bar(low: float, high: float, name: str, label: str) -> Markup:
    """The scale of `drawing.paint_values` with five ticks; `label` names the quantity and its unit."""
    strip = drawing.paint_values(np.linspace(low, high, 256)[None, :], low, high, name)
    parts = [
        '<svg class="scale" viewBox="0 0 300 40" width="300" role="img">',
        f'<image href="{pictures.data_uri(strip, photo=False)}" x="10" y="2" width="280" height="11" '
        'preserveAspectRatio="none"/>',
    ]
    digits = 1 if high - low >= 4 else 2
    for i in range(5):
        x = 10 + 70 * i
        parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="13" y2="17"/>')
        value = low + (high - low) * i / 4
        parts.append(f'<text class="tick" x="{x}" y="26" text-anchor="middle">{value:.{digits}f}</text>')
    parts.append(f'<text class="name" x="150" y="38" text-anchor="middle">{escape(label)}</text></svg>')
    return Markup("".join(parts))
