"""Figures and tables of a paper, as sweep files describe them: which measured numbers go where, and published ones.

A schedule keeps them as JSON; `hummingbird.sweep.picking` finds the numbers, `hummingbird.sweep.curves` draws them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line of a figure, or the dots of a scatter plot: a point for each setting that has both metrics.

    Attributes:
      x, y: metrics, such as "linear.adaptation_seconds" and "linear.miou".
      choose: metric; of the settings with the same value of `each`, only the best by it is drawn; empty: all are.
      each: swept key that groups the settings for `choose`.
    """

    x: str
    y: str
    choose: str = ""
    each: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the paper, drawn from what the sweep measures.

    Attributes:
      title: what it shows.
      x, y: labels of the axes.
      curves: measured ones by name.
      published: points (x, y) of other curves by name.
      log: whether the horizontal axis is logarithmic.
      times: whether it holds seconds.
      correlate: scatter plot with Pearson's r of each set of points.
    """

    title: str
    x: str
    y: str
    curves: Mapping[str, Curve] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Sequence[tuple[float, float]]] = dataclasses.field(default_factory=dict)
    log: bool = False
    times: bool = False
    correlate: bool = False


@dataclasses.dataclass(frozen=True)
class Pick:
    """A measured number of a table.

    Attributes:
      metric: what is shown: mean and standard deviation over runs that repeat a setting.
      where: swept keys, and "name", of the settings that count; empty: all.
      choose: of these, the setting with the best mean of this metric is shown; empty: of `metric`.
      most: upper bounds on metrics of the settings that count, such as a budget of seconds.
    """

    metric: str
    where: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)
    choose: str = ""
    most: Mapping[str, float] = dataclasses.field(default_factory=dict)


Entry: TypeAlias = Pick | float | str | None


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """A table of the paper: rows that the sweep measures, and published ones.

    Attributes:
      title: what it shows.
      heads: of the columns, without that of the names.
      rows: a `Pick`, published number, text or None for each column, by name.
      notes: what readers have to know, below the table.
    """

    title: str
    heads: Sequence[str]
    rows: Mapping[str, Sequence[Entry]]
    notes: str = ""


def figure_from_json(content: Mapping[str, Any]) -> Figure:
    """Restores what `dataclasses.asdict` made of a figure."""
    curves = {name: Curve(**curve) for name, curve in content["curves"].items()}
    published = {name: [(x, y) for x, y in points] for name, points in content["published"].items()}
    return Figure(**{**content, "curves": curves, "published": published})


def table_from_json(content: Mapping[str, Any]) -> PaperTable:
    """Restores what `dataclasses.asdict` made of a table."""
    rows = {
        name: [Pick(**entry) if isinstance(entry, dict) else entry for entry in entries]
        for name, entries in content["rows"].items()
    }
    return PaperTable(**{**content, "rows": rows})
