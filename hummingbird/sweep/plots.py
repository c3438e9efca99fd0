"""Plots of a sweep as inline SVG: curve or dots for one swept key, heat map for two, parallel coordinates for more.

Matplotlib draws them; text and axes take the page's colours, so that they are readable on light and dark pages.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from hummingbird.sweep.collect import Results, Summary
from hummingbird.sweep.names import short_keys
from hummingbird.sweep.pairs import Difference, differences
from hummingbird.sweep.tables import number

# Placeholders that `svg` replaces by the page's colours.
INK, FAINT = "#010203", "#040506"
LINE = "#2a86c4"
MAP = "viridis"


def set_style() -> None:
    """Sets Matplotlib's style for the page, within `matplotlib.rc_context`."""
    matplotlib.rc("svg", fonttype="none", hashsalt="hummingbird")
    matplotlib.rc("font", family="sans-serif", size=10)
    matplotlib.rc("text", color=INK)
    matplotlib.rc("axes", edgecolor=INK, labelcolor=INK, linewidth=0.8)
    matplotlib.rc("axes.spines", top=False, right=False)
    matplotlib.rc("xtick", color=INK)
    matplotlib.rc("ytick", color=INK)
    matplotlib.rc("grid", color=FAINT, linewidth=0.8)


def plots(results: Results) -> list[tuple[Markup, str]]:
    """Returns a plot and its caption for every metric with results; its kind fits the number of swept keys."""
    with matplotlib.rc_context():
        set_style()
        return [plot for metric in results.shown if (plot := _plot(results, metric)) is not None]


def difference_plots(results: Results) -> list[tuple[Markup, str]]:
    """Returns a plot of the paired differences in each metric, and its caption."""
    found, repeat = differences(results), ", ".join(results.schedule.repeat)
    with matplotlib.rc_context():
        set_style()
        return [
            (
                forest([one for one in found if one.metric == metric]),
                f"Differences in {metric}, paired by {repeat}. Bar: 95% confidence interval of the mean; dots: single "
                "pairs.",
            )
            for metric in dict.fromkeys(one.metric for one in found)
        ]


def _plot(results: Results, metric: str) -> tuple[Markup, str] | None:
    summaries = [s for s in results.summaries if s.mean(metric) is not None]
    axes = results.axes
    if not summaries:
        return None
    repeats = max(len(s.values[metric]) for s in summaries)
    spread = f" Mean over up to {repeats} runs; band or bar: one standard deviation; dots: single runs." * (repeats > 1)
    if any(s.label for s in summaries) or not axes:
        published = [results.published(s.label, metric) for s in summaries]
        known = " Diamonds: published scores." * any(value is not None for value in published)
        names = [s.label or "all runs" for s in summaries]
        return dots(summaries, metric, names, published), f"{metric} of each run.{spread}{known}"
    if len(axes) == 1:
        values = [s.settings.get(axes[0], "–") for s in summaries]
        if any(to_number(value) is None for value in values):
            return dots(summaries, metric, values), f"{metric} by {axes[0]}.{spread}"
        return curve(summaries, metric, axes[0]), f"{metric} against {axes[0]}.{spread}"
    if len(axes) == 2:
        caption = f"{metric} by {axes[0]} and {axes[1]}." + " Mean over runs." * (repeats > 1)
        return heat_map(summaries, metric, axes), caption
    caption = f"Every line is a setting, its colour {metric}; the thick line has the best {results.objective}."
    return parallel(summaries, metric, axes), caption


def to_number(text: str) -> float | None:
    """Returns the number that a setting is, None if it is a word."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ordered(values: list[str]) -> list[str]:
    """Returns the distinct values: numbers by size, then words in order of appearance."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct, key=lambda v: (to_number(v) is None, to_number(v) or 0.0))


def curve(summaries: list[Summary], metric: str, key: str) -> Markup:
    """Draws the mean against a number, with a band of one standard deviation and the single runs as dots."""
    chosen = sorted(summaries, key=lambda s: float(s.settings[key]))
    x = np.array([float(s.settings[key]) for s in chosen])
    mean = np.array([s.mean(metric) for s in chosen], float)
    deviation = np.array([s.deviation(metric) or 0.0 for s in chosen])
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = figure.add_subplot()
    ax.fill_between(x, mean - deviation, mean + deviation, color=LINE, alpha=0.2, linewidth=0)
    ax.plot(x, mean, color=LINE, linewidth=2, marker="o", markersize=5)
    for position, summary in zip(x, chosen, strict=True):
        values = summary.values[metric]
        if len(values) > 1:
            ax.plot([position] * len(values), values, ".", color=LINE, alpha=0.6, markersize=4)
    if (x > 0).all() and x.max() / x.min() >= 20:
        ax.set_xscale("log")
        if len(x) <= 8:
            ax.set_xticks(x, [f"{v:g}" for v in x])
            ax.minorticks_off()
    elif len(x) <= 8:
        ax.set_xticks(x, [f"{v:g}" for v in x])
    ax.set_xlabel(key)
    ax.set_ylabel(metric)
    ax.grid(axis="y")
    return svg(figure)


def dots(summaries: list[Summary], metric: str, labels: list[str], published: Sequence[float | None] = ()) -> Markup:
    """Draws a line per setting, best on top: its mean, a bar of one standard deviation, the single runs as dots.

    Published scores are open diamonds.
    """
    figure = Figure(figsize=(6.4, 0.8 + 0.34 * len(labels)), layout="constrained")
    ax = figure.add_subplot()
    for row, summary in enumerate(summaries):
        mean, deviation = summary.mean(metric) or 0.0, summary.deviation(metric)
        ax.errorbar(mean, row, xerr=deviation, color=LINE, marker="o", markersize=6, capsize=3, linewidth=1.5)
        values = summary.values[metric]
        if len(values) > 1:
            ax.plot(values, [row] * len(values), ".", color=LINE, alpha=0.5, markersize=4)
        ax.annotate(
            number(metric, mean), (mean, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8.5
        )
    for row, value in enumerate(published):
        if value is not None:
            ax.plot(value, row, "D", color=INK, markerfacecolor="none", markersize=6)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.6)
    ax.margins(x=0.12)
    ax.set_xlabel(metric)
    ax.grid(axis="x")
    return svg(figure)


def forest(found: Sequence[Difference]) -> Markup:
    """Draws a line per difference: its mean, the 95% interval, the single pairs as dots; a line marks no difference."""
    figure = Figure(figsize=(6.4, 0.8 + 0.34 * len(found)), layout="constrained")
    ax = figure.add_subplot()
    ax.axvline(0, color=INK, linewidth=0.8)
    for row, one in enumerate(found):
        half = one.half_width
        ax.errorbar(one.mean, row, xerr=half, color=LINE, marker="o", markersize=6, capsize=3, linewidth=1.5)
        ax.plot(one.values, [row] * len(one.values), ".", color=LINE, alpha=0.5, markersize=4)
    ax.set_yticks(range(len(found)), [one.label for one in found])
    ax.set_ylim(len(found) - 0.5, -0.6)
    ax.margins(x=0.12)
    ax.set_xlabel(f"difference in {found[0].metric}")
    ax.grid(axis="x")
    return svg(figure)


def heat_map(summaries: list[Summary], metric: str, axes: list[str]) -> Markup:
    """Draws the mean for each pair of values; pairs without a run stay empty."""
    across, down = (ordered([s.settings.get(key, "–") for s in summaries]) for key in (axes[1], axes[0]))
    cells = np.full((len(down), len(across)), np.nan)
    for summary in summaries:
        place = down.index(summary.settings.get(axes[0], "–")), across.index(summary.settings.get(axes[1], "–"))
        cells[place] = summary.mean(metric)
    figure = Figure(figsize=(1.8 + 0.72 * len(across), 1.2 + 0.42 * len(down)), layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(cells, cmap=MAP, aspect="auto", origin="lower")
    low, high = np.nanmin(cells), np.nanmax(cells)
    for (i, j), value in np.ndenumerate(cells):
        if np.isfinite(value):
            dark = (value - low) < 0.6 * (high - low)
            ax.text(
                j,
                i,
                number(metric, float(value)),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else "black",
            )
    ax.set_xticks(range(len(across)), across)
    ax.set_yticks(range(len(down)), down)
    ax.set_xlabel(axes[1])
    ax.set_ylabel(axes[0])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    bar = figure.colorbar(image, ax=ax, label=metric)
    bar.outline.set_visible(False)
    return svg(figure)


def parallel(summaries: list[Summary], metric: str, axes: list[str]) -> Markup:
    """Draws parallel coordinates: a vertical line per swept key and one for the metric, coloured by the metric."""
    short = short_keys(axes)
    scores = [s.mean(metric) or 0.0 for s in summaries]
    columns = [_positions([s.settings.get(key, "–") for s in summaries]) for key in axes]
    columns.append(_positions([repr(score) for score in scores], metric))
    figure = Figure(figsize=(2.0 + 1.5 * len(axes), 4.0), layout="constrained")
    ax = figure.add_subplot()
    shade = Normalize(min(scores), max(scores) if max(scores) > min(scores) else min(scores) + 1)
    colours = matplotlib.colormaps[MAP]
    # The best last, so that it is on top.
    for i in reversed(range(len(summaries))):
        heights = [column[0][i] for column in columns]
        ax.plot(heights, color=colours(shade(scores[i])), linewidth=3.5 if i == 0 else 1.3, alpha=1 if i == 0 else 0.75)
    for x, (_, ticks) in enumerate(columns):
        ax.axvline(x, color=INK, linewidth=0.8)
        for height, text in ticks:
            ax.annotate(
                text, (x, height), xytext=(-5, 0), textcoords="offset points", ha="right", va="center", fontsize=8.5
            )
    ax.set_xticks(range(len(columns)), [*(short[key] for key in axes), metric])
    ax.tick_params(length=0)
    ax.set_yticks([])
    ax.set_xlim(-0.6, len(columns) - 0.8)
    ax.spines[:].set_visible(False)
    return svg(figure)


def _positions(texts: list[str], metric: str = "") -> tuple[list[float], list[tuple[float, str]]]:
    """Returns the heights in [0, 1] of a key's values, on a log scale if they span a wide range, and its ticks."""
    distinct = ordered(texts)
    numbers = [value for t in distinct if (value := to_number(t)) is not None]
    if len(numbers) < len(distinct) or len(distinct) == 1:
        height = {t: i / (len(distinct) - 1) if len(distinct) > 1 else 0.5 for i, t in enumerate(distinct)}
        return [height[t] for t in texts], [(height[t], t) for t in distinct]
    values = np.array(numbers, float)
    wide = values.min() > 0 and values.max() / values.min() >= 20 and not metric
    scale = LogNorm(values.min(), values.max()) if wide else Normalize(values.min(), values.max())
    height = {t: float(scale(float(t))) for t in distinct}
    # Ticks that do not overlap.
    ticks: list[tuple[float, str]] = []
    for t in distinct:
        if not ticks or height[t] - ticks[-1][0] >= 0.06:
            ticks.append((height[t], number(metric, float(t)) if metric else t))
    return [height[t] for t in texts], ticks


def svg(figure: Figure) -> Markup:
    """Returns a figure as an SVG element in the page's colours."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    body = text.getvalue()
    body = body[body.index("<svg") :].replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    return Markup(re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL))
