"""Draws the figures of a paper as inline SVG: curves with measured and published points, or scatter plots."""

from __future__ import annotations

from itertools import chain

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from hummingbird.sweep.collect import Results
from hummingbird.sweep.figures import Figure
from hummingbird.sweep.picking import Point, correlations, curve_points
from hummingbird.sweep.plots import INK, set_style, svg

COLOURS = ("#2a86c4", "#d9822b", "#2f9e6e", "#a05cc5", "#c2504d")
MARKERS = ("o", "s", "^", "D", "v")
PUBLISHED_MARKERS = ("d", "x", "+", "1", "2", "3", "4", "*", "p")
TIMES = {0.02: "20 ms", 0.2: "200 ms", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}
MARKED = 8  # most values that are all marked on an axis
NAMED = 24  # most points of a scatter plot with their names beside them


def paper_figures(results: Results) -> list[tuple[Markup, str]]:
    """Returns each figure that the sweep file describes and that has points, with its caption."""
    found: list[tuple[Markup, str]] = []
    with matplotlib.rc_context():
        set_style()
        for figure in results.schedule.figures:
            measured = {name: curve_points(results, curve) for name, curve in figure.curves.items()}
            measured = {name: points for name, points in measured.items() if points}
            if measured or (figure.published and not figure.curves):
                found.append((draw(figure, measured), caption(results, figure, measured)))
    return found


def caption(results: Results, figure: Figure, measured: dict[str, list[Point]]) -> str:
    """Returns what stands below a figure."""
    text = f"{figure.title}."
    if any(point.spread for points in measured.values() for point in points):
        text += " Bars: one standard deviation over repeats."
    if figure.correlate:
        text += "".join(f" Pearson's {value} ({name})." for name, value in correlations(results, figure).items())
    elif measured and figure.published:
        text += " Dashed: published."
    return text


def draw(figure: Figure, measured: dict[str, list[Point]]) -> Markup:
    """Draws the measured points of each curve, and what is published."""
    canvas = Canvas(figsize=(8.6, 4.4), layout="constrained")
    ax = canvas.add_subplot()
    line = "none" if figure.correlate else "-"
    for i, (name, points) in enumerate(measured.items()):
        x, y, spread = ([point[k] for point in points] for k in range(3))
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        bars = spread if any(spread) else None
        ax.errorbar(x, y, yerr=bars, color=colour, marker=marker, linestyle=line, capsize=3, markersize=5, label=name)
    faint = "none" if figure.correlate else "--"
    for i, (name, points) in enumerate(figure.published.items()):
        x, y = zip(*points, strict=True)
        marker = PUBLISHED_MARKERS[i % len(PUBLISHED_MARKERS)]
        ax.plot(x, y, color=INK, alpha=0.5, marker=marker, linestyle=faint, linewidth=1, markersize=5, label=name)
    if figure.correlate:
        write_names(ax, [point for points in measured.values() for point in points])
    if figure.log:
        ax.set_xscale("log")
        mark_axis(ax, figure, {round(x) for x, *_ in [*chain(*measured.values()), *chain(*figure.published.values())]})
    ax.set_xlabel(figure.x)
    ax.set_ylabel(figure.y)
    ax.grid(axis="both" if figure.correlate else "y")
    if len(measured) + len(figure.published) > 1:
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        names = [*measured, *figure.published]  # Matplotlib would list lines with bars last
        canvas.legend([handles[name] for name in names], names, loc="outside right upper", frameon=False, fontsize=8.5)
    return svg(canvas)


def write_names(ax: Axes, points: list[Point]) -> None:
    """Writes the names of points beside them, if there are few."""
    for point in points if len(points) <= NAMED else []:
        place = (point.x, point.y)
        ax.annotate(point.name, place, xytext=(5, 3), textcoords="offset points", fontsize=7.5)
    ax.margins(x=0.14, y=0.1)


def mark_axis(ax: Axes, figure: Figure, values: set[int]) -> None:
    """Marks a logarithmic axis: seconds at the times of Figure 4, else at few values."""
    if not figure.times:
        if len(values) <= MARKED:
            ax.set_xticks(sorted(values), [f"{x:,}" for x in sorted(values)])
            ax.minorticks_off()
        return
    low, high = ax.get_xlim()
    ticks = {at: text for at, text in TIMES.items() if low <= at <= high}
    if len(ticks) > 1:
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.minorticks_off()
