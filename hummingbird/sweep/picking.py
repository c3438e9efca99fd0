"""Finds the measured numbers that figures and tables of a paper show, and how two of them correlate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from hummingbird.sweep.collect import Results, Summary
from hummingbird.sweep.figures import Curve, Entry, Figure, PaperTable, Pick
from hummingbird.sweep.names import as_text
from hummingbird.sweep.tables import duration, number

NORMAL_95 = 1.959963984540054  # quantile 0.975 of the normal distribution


class Point(NamedTuple):
    """A point of a figure.

    Attributes:
      x, y: means over repeats.
      spread: standard deviation of y over repeats; 0 for a single run.
      name: of the setting.
    """

    x: float
    y: float
    spread: float = 0.0
    name: str = ""


class Correlation(NamedTuple):
    """Pearson's r and the ends of its 95% confidence interval, which are NaN for fewer than four points."""

    r: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        text = f"r = {self.r:.2f}"
        if math.isfinite(self.low):
            text += f" (95%: {self.low:.2f} to {self.high:.2f})"
        return f"{text}, n = {self.count}".replace("-", "−")


def correlation(points: Sequence[tuple[float, float]]) -> Correlation | None:
    """Returns Pearson's r with Fisher's interval, tanh(atanh r ± 1.96 / sqrt(n - 3)); None where it is undefined.

    Example:
      >>> str(correlation([(0, 0), (1, 1), (2, 1), (3, 2)]))
      'r = 0.95 (95%: −0.14 to 1.00), n = 4'
    """
    if len(points) < 2:
        return None
    x, y = np.asarray(points, np.float64).T
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    if not norm:
        return None
    r = min(1.0, max(-1.0, float(x @ y) / norm))
    if len(points) < 4:
        return Correlation(r, math.nan, math.nan, len(points))
    if abs(r) == 1:
        return Correlation(r, r, r, len(points))
    half = NORMAL_95 / math.sqrt(len(points) - 3)
    return Correlation(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), len(points))


def curve_points(results: Results, curve: Curve) -> list[Point]:
    """Returns the points of a curve from left to right, as far as they are measured."""
    found = [s for s in results.summaries if s.mean(curve.x) is not None and s.mean(curve.y) is not None]
    if curve.choose:
        groups: dict[str, list[Summary]] = {}
        for summary in found:
            groups.setdefault(summary.settings.get(curve.each, ""), []).append(summary)
        found = [best for group in groups.values() if (best := best_of(results, group, curve.choose))]
    points = [
        Point(s.mean(curve.x) or 0.0, s.mean(curve.y) or 0.0, s.deviation(curve.y) or 0.0, setting_name(s))
        for s in found
    ]
    return sorted(points)


def setting_name(summary: Summary) -> str:
    """Returns the name of a setting: its own, or the folder of its first run."""
    return summary.label or summary.rows[0].run.name


def best_of(results: Results, summaries: Iterable[Summary], metric: str) -> Summary | None:
    """Returns the summary with the best mean of a metric; None if none has it."""
    sign = 1 if results.larger_is_better(metric) else -1
    known = [(sign * mean, s) for s in summaries if (mean := s.mean(metric)) is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def picked(results: Results, pick: Pick) -> Summary | None:
    """Returns the setting that a table shows; None before it is measured."""

    def counts(summary: Summary) -> bool:
        own = {**summary.settings, "name": summary.label}
        within = all((mean := summary.mean(key)) is not None and mean <= most for key, most in pick.most.items())
        return within and all(own.get(key) == as_text(value) for key, value in pick.where.items())

    return best_of(results, filter(counts, results.summaries), pick.choose or pick.metric)


def is_measured(entries: Sequence[Entry]) -> bool:
    """Returns whether a row of a table is measured by the sweep, not published."""
    return any(isinstance(entry, Pick) for entry in entries)


def table_body(results: Results, table: PaperTable) -> list[tuple[str, list[str], bool]]:
    """Returns the name of each row, its cells, and whether it is measured; measured rows come first."""
    rows = [
        (name, [entry_text(results, entry) for entry in entries], is_measured(entries))
        for name, entries in table.rows.items()
    ]
    return sorted(rows, key=lambda row: not row[2])


def entry_text(results: Results, entry: Entry) -> str:
    """Returns a cell of a table of the paper."""
    if isinstance(entry, Pick):
        summary = picked(results, entry)
        if entry.metric.endswith("_seconds"):
            return duration(summary.mean(entry.metric) or 0.0) if summary else "–"
        return number(entry.metric, summary and summary.mean(entry.metric), summary and summary.deviation(entry.metric))
    if isinstance(entry, str):
        return entry
    if entry is None:
        return "–"
    return f"{entry:.1f}" if entry >= 1 else f"{entry:g}"


def correlations(results: Results, figure: Figure) -> dict[str, Correlation]:
    """Returns the correlation of each set of points, measured ones first."""
    measured = {name: [point[:2] for point in curve_points(results, curve)] for name, curve in figure.curves.items()}
    found = {name: correlation(points) for name, points in {**measured, **figure.published}.items()}
    return {name: value for name, value in found.items() if value is not None}
