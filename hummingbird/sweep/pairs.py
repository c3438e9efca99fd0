"""Differences between two settings, paired by what repeats them: the same seed, data order and initial encoder."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hummingbird.sweep.collect import Results, Summary
from hummingbird.sweep.folder import DONE
from hummingbird.sweep.tables import number

CONFIDENCE = 0.95
HEADS = ("difference", "metric", "mean", "95% interval", "better in")


@dataclasses.dataclass(frozen=True)
class Difference:
    """A metric of one named setting minus that of another one, over the pairs that are done.

    Attributes:
      first, second: names of the settings.
      metric: what is compared.
      values: the difference of each pair, in the order of the repeats.
      maximise: whether a larger metric is better.
    """

    first: str
    second: str
    metric: str
    values: list[float]
    maximise: bool

    @property
    def label(self) -> str:
        """The difference in words."""
        return f"{self.first} − {self.second}"

    @property
    def mean(self) -> float:
        """Mean over the pairs."""
        return statistics.fmean(self.values)

    @property
    def half_width(self) -> float | None:
        """Half of the 95% confidence interval of the mean, by Student's t; None for a single pair."""
        if len(self.values) < 2:
            return None
        from scipy import stats  # a second to import

        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(self.values) - 1))
        return quantile * statistics.stdev(self.values) / math.sqrt(len(self.values))

    @property
    def better(self) -> int:
        """Number of pairs in which the first setting is better."""
        return sum(value > 0 if self.maximise else value < 0 for value in self.values)

    def cells(self) -> list[str]:
        """Returns the row of `HEADS`."""
        half, mean, metric = self.half_width, self.mean, self.metric
        interval = "–" if half is None else f"{signed(metric, mean - half)} to {signed(metric, mean + half)}"
        return [self.label, metric, signed(metric, mean), interval, f"{self.better} of {len(self.values)}"]


def differences(results: Results) -> list[Difference]:
    """Returns the differences that the sweep file names, for each metric that is shown; none without a pair."""
    named = {summary.label: summary for summary in results.summaries if summary.label}
    found = []
    for first, second in results.schedule.compare:
        for metric in results.shown:
            if first in named and second in named and (values := _values(results, named[first], named[second], metric)):
                found.append(Difference(first, second, metric, values, results.larger_is_better(metric)))
    return found


def _values(results: Results, first: Summary, second: Summary, metric: str) -> list[float]:
    """Returns the differences of the runs that both are done and repeat the same settings."""
    one, other = (_by_repeat(results, summary, metric) for summary in (first, second))
    return [one[key] - other[key] for key in sorted(one.keys() & other.keys())]


def _by_repeat(results: Results, summary: Summary, metric: str) -> dict[str, float]:
    repeat = results.schedule.repeat
    return {
        json.dumps({key: row.run.settings.get(key) for key in repeat}): row.metrics[metric]
        for row in summary.rows
        if row.state == DONE and metric in row.metrics
    }


def difference_table(found: Sequence[Difference]) -> Table:
    """Returns the differences as a table for the terminal."""
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for head in HEADS:
        table.add_column(head)
    for one in found:
        table.add_row(*map(Text, one.cells()))
    return table


def signed(metric: str, value: float) -> str:
    """Formats a difference with its sign.

    Example:
      >>> signed("scenes.miou", 1.234), signed("scenes_depth.rmse", -0.05)
      ('+1.23', '−0.050')
    """
    return ("+" if value >= 0 else "−") + number(metric, abs(value))
