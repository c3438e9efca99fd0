"""Runs and how they are grouped: what is shown side by side is what shares a task and a data set."""

import dataclasses
import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

from hummingbird.tasks import Task, find_kind

MAIN_SCORES = ("miou", "pixel_accuracy", "mean_class_accuracy", "rmse", "abs_rel", "delta1")


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs that share a task and a data set."""

    task: str
    dataset: str
    runs: list[dict[str, Any]]

    @property
    def kind(self) -> type[Task]:
        return find_kind(self.task)

    @property
    def columns(self) -> list[tuple[str, str, int, bool]]:
        """Key in metrics.json, name, digits and direction of each score; the headline first."""
        return [(s.key, s.label, s.digits, s.larger_is_better) for s in self.kind.scores]

    @property
    def title(self) -> str:
        return f"{self.kind.title} on {self.dataset}"

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Runs that kept samples."""
        return [run for run in self.runs if run.get("samples") and run["samples"].get("queries")]

    def aligned(self) -> Iterator[list[dict | None]]:
        """For each query image the sample of every shown run, matched by name; None where a run did not keep it."""
        by_name = [{q["name"]: q for q in run["samples"]["queries"]} for run in self.shown]
        for query in self.shown[0]["samples"]["queries"] if self.shown else []:
            yield [queries.get(query["name"]) for queries in by_name]


def data_name(metrics: dict[str, Any]) -> str:
    """What a reader calls the data set: its name, and of anyone's folder that of the folder."""
    root = metrics.get("data", {}).get("root")
    return root if root and metrics["dataset"] == "folder" else metrics["dataset"]


def group_runs(runs: list[dict[str, Any]]) -> list[Group]:
    """Runs by (task, data set), in order of first appearance."""
    groups: dict[tuple[str, str], Group] = {}
    for run in runs:
        key = (run["metrics"]["task"], data_name(run["metrics"]))
        groups.setdefault(key, Group(*key, [])).runs.append(run)
    return list(groups.values())


def finite(value: Any) -> bool:
    """Whether this is a number that can be compared (not None, not NaN)."""
    return isinstance(value, Real) and math.isfinite(value)


def show(value: Any, digits: int) -> str:
    """A number with `digits` decimals, a dash where there is none."""
    return f"{value:.{digits}f}" if finite(value) else "–"
