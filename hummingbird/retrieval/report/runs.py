"""Evaluations and how the page groups them: those with the same task and data set are shown side by side."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hummingbird.retrieval.results import Result
from hummingbird.retrieval.sample_files import ImageSamples, Query, Samples
from hummingbird.run.files import Json
from hummingbird.tasks import Kind, Score, describe_kind, find_kind
from hummingbird.tasks.painting import Painter

MAIN_SCORES = 3  # scores of a task that are shown where space is short


class Run(NamedTuple):
    """An evaluation to show.

    Attributes:
      name: of the encoder; may occur once per task and data set.
      result: content of metrics.json.
      samples: query images to show; None: numbers only.
      images: query images of an evaluation of whole images.
    """

    name: str
    result: Result
    samples: Samples | None = None
    images: ImageSamples | None = None

    @property
    def queries(self) -> list[Query]:
        """The query images to show."""
        return self.samples["queries"] if self.samples is not None else []

    def score(self, key: str) -> float | None:
        """Returns a finite score; None if there is none."""
        return finite(self.result["metrics"].get(key))


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs with the same task and data set.

    Attributes:
      task: kind of label.
      dataset: what readers call the data set.
      runs: in the order given.
    """

    task: str
    dataset: str
    runs: list[Run]

    @property
    def kind(self) -> type[Kind]:
        """The kind of label."""
        return describe_kind(self.task)

    @property
    def scores(self) -> Sequence[Score]:
        """The scores of the task, the headline first."""
        return self.kind.scores

    @property
    def title(self) -> str:
        """Task and data set."""
        return f"{self.kind.title} on {self.dataset}"

    @property
    def shown(self) -> list[Run]:
        """The runs with samples."""
        return [run for run in self.runs if run.queries]

    @property
    def several(self) -> bool:
        """Whether more than one run has samples."""
        return len(self.shown) > 1

    def aligned(self) -> Iterator[list[Query | None]]:
        """Yields the samples of each query image, one per shown run, matched by name; None where a run has none.

        Images that most runs show come first.
        """
        by_name = [{query["name"]: query for query in run.queries} for run in self.shown]
        shows = collections.Counter(name for queries in by_name for name in queries)
        for name, _ in shows.most_common():  # in order of appearance where equally many show them
            yield [queries.get(name) for queries in by_name]

    @property
    def caution(self) -> str:
        """Says why scores do not compare: the runs predicted different images; "" if they did not."""
        data = {run.result.get("data", {}).get("query") for run in self.runs} - {None}
        counts = {run.result.get("queries", {}).get("images") for run in self.runs} - {None}
        if len(data) < 2 and len(counts) < 2:
            return ""
        return f"{self.title}: the runs did not predict the same query images, so their scores do not compare."

    def painter(self) -> Painter:
        """Returns a painter for all samples of the group."""
        samples = self.shown[0].samples
        assert samples is not None
        queries = [query for run in self.shown for query in run.queries]
        return find_kind(self.task).painter(
            samples["classes"],
            samples["ignore"],
            [query["truth"] for query in queries],
            [query["prediction"] for query in queries],
            [query["error"] for query in queries],
        )


def data_name(result: Result) -> str:
    """Returns what readers call the data set: its name, or the name of a user's folder."""
    root = result.get("data", {}).get("root")
    return root if root and result["dataset"] in ("folder", "images") else result["dataset"]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups runs by task and data set, in order of first appearance."""
    groups: dict[tuple[str, str], Group] = {}
    for run in runs:
        key = group_key(run.result)
        groups.setdefault(key, Group(*key, [])).runs.append(run)
    return list(groups.values())


def group_key(result: Result) -> tuple[str, str]:
    """Returns the task and the data set of a result."""
    return result["task"], data_name(result)


def finite(value: Json) -> float | None:
    """Returns a value if it is a finite number, else None."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def show(value: float | None, digits: int) -> str:
    """Formats a number; a dash if there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
