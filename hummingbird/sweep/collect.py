"""Collects what a sweep has measured: a row per run, and summaries over runs that only repeat a setting."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hummingbird.run.files import Json
from hummingbird.sweep.folder import DONE, FAILED, RUNNING, WAITING, Status, SweepFolder
from hummingbird.sweep.names import varying
from hummingbird.sweep.schedule import Run, Schedule

HEADLINES = ("miou", "rmse", "accuracy", "map_medium")  # the score of an evaluation that a table shows first
MEANS = ("accuracy", "few_shot_accuracy")  # scores that are averaged over data sets, as papers do
LOWER_IS_BETTER = (
    "rmse",
    "abs_rel",
    "rmse_log",
    "sq_rel",
    "mae",
    "loss",
    "seconds",
    "seconds_per_step",
    "adaptation_seconds",
    "setup_seconds",
)
ADAPTING = ("prepare_prompt", "encode_prompt", "fill_bank", "load_bank", "build_index", "steps")
PRETRAIN_SHOWN = "pretrain.loss"


@dataclasses.dataclass(frozen=True)
class Row:
    """A run and its measurements so far.

    Attributes:
      run: the run.
      state: waiting, running, done or failed.
      metrics: numbers by name.
      seconds: time of its finished commands.
      tail: last lines of the log, if it failed.
    """

    run: Run
    state: str
    metrics: dict[str, float]
    seconds: float
    tail: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """Runs that differ only in keys that repeat a setting.

    Attributes:
      label: the name that the sweep file gave them, or "".
      settings: the keys that they share.
      rows: one per run.
      values: each metric over the finished runs.
    """

    label: str
    settings: dict[str, str]
    rows: list[Row]
    values: dict[str, list[float]]

    def mean(self, metric: str) -> float | None:
        """Returns the mean over repeats; None if no run has finished."""
        values = self.values.get(metric)
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """Returns the standard deviation over repeats (n - 1); None for fewer than two."""
        values = self.values.get(metric, [])
        return statistics.stdev(values) if len(values) > 1 else None


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything that a sweep has measured so far.

    Attributes:
      schedule: of the sweep.
      rows: one per run.
      summaries: best first.
      objective: the metric that they are sorted by.
      maximise: whether larger is better.
      shown: metrics that tables and plots show.
    """

    schedule: Schedule
    rows: list[Row]
    summaries: list[Summary]
    objective: str
    maximise: bool
    shown: list[str]

    @property
    def best(self) -> Row | None:
        """The finished run with the best objective."""
        finished = [row for row in self.rows if row.state == DONE and self.objective in row.metrics]
        sign = -1 if self.maximise else 1
        return min(finished, key=lambda row: sign * row.metrics[self.objective], default=None)

    @property
    def axes(self) -> list[str]:
        """The swept keys that differ between summaries."""
        return [key for key in varying([s.settings for s in self.summaries]) if key not in self.schedule.repeat]

    def published(self, name: str, metric: str) -> float | None:
        """Returns the published score of the runs with this name; None if there is none."""
        return self.schedule.published.get(name, {}).get(metric)

    @property
    def unmeasured(self) -> list[str]:
        """Names with published scores that no run has."""
        measured = {row.run.label for row in self.rows}
        return [name for name in self.schedule.published if name not in measured]

    def larger_is_better(self, metric: str) -> bool:
        """Returns the direction of a metric."""
        return self.maximise if metric == self.objective else is_maximised(metric)

    def count(self, state: str) -> int:
        """Returns the number of runs in a state."""
        return sum(row.state == state for row in self.rows)


def collect(schedule: Schedule, folder: SweepFolder) -> Results:
    """Reads the statuses and metrics of all runs."""
    rows = [read_row(schedule, folder, run) for run in schedule.runs]
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    headlines = [name for name in names if not name.startswith("pretrain.") and name.rpartition(".")[2] in HEADLINES]
    objective = schedule.objective or next(iter(headlines), PRETRAIN_SHOWN)
    maximise = schedule.maximise
    if maximise is None:
        maximise = is_maximised(objective)
    published = [metric for scores in schedule.published.values() for metric in scores]
    shown = [objective, *headlines, *published, *(name for name in names if name == PRETRAIN_SHOWN)]
    shown = list(dict.fromkeys(shown))
    return Results(schedule, rows, summarise(rows, schedule.repeat, objective, maximise), objective, maximise, shown)


def is_maximised(metric: str) -> bool:
    """Returns whether a larger value of a metric is better, by its name."""
    return metric.rpartition(".")[2] not in LOWER_IS_BETTER


def read_row(schedule: Schedule, folder: SweepFolder, run: Run) -> Row:
    """Reads the statuses and metrics of one run."""
    statuses = {stage: folder.status(id) for stage, id in run.stages.items()}
    metrics: dict[str, float] = {}
    for stage, id in run.stages.items():
        if stage == "pretrain":
            last = read_last_line(folder.workdir(id) / "metrics.jsonl")
            metrics |= {f"pretrain.{name}": value for name, value in last.items()}
        elif statuses[stage]["state"] == DONE:
            content = json.loads((folder.workdir(id) / "metrics.json").read_text())
            prefix = "" if stage == schedule.identity["job"] else f"{stage}."
            metrics |= {f"{prefix}{name}": value for name, value in measured(content).items()}
    metrics |= means(metrics, [stage for stage in run.stages if stage != "pretrain"])
    seconds = sum(status.get("seconds", 0.0) for status in statuses.values())
    return Row(run, overall_state(statuses), metrics, seconds, failure(statuses))


def measured(content: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a metrics.json: its scores, annotated images, and the seconds of adapting to them.

    Adapting is encoding the prompt and filling the bank, or the steps of the decoder, which encode too. What is needed
    once, such as compiling and checking the data, is in "setup_seconds". Steps on cached features do not encode and are
    not timed.
    """
    found = numbers(content["metrics"])
    seconds = content.get("seconds", {})
    images = content.get("memory", {}).get("prompt_images") or content.get("protocol", {}).get("training_images")
    cached = content.get("decoder", {}).get("cache_features")
    adapting = [seconds[name] for name in ADAPTING if name in seconds and not cached]
    setup = seconds.get("train", 0.0) - seconds["steps"] if "steps" in seconds else -1.0
    extra = {
        "images": images,
        "adaptation_seconds": sum(adapting) if adapting else None,
        # Of a run that was resumed, `train` is the last part only.
        "setup_seconds": seconds.get("preflight", setup if setup > 0 else None),
    }
    held_out = numbers(content.get("held_out", {}).get("metrics", {}))
    return {**found, **numbers(extra), **{f"held_out_{name}": value for name, value in held_out.items()}}


def means(metrics: Mapping[str, float], evaluations: Sequence[str]) -> dict[str, float]:
    """Returns "mean.accuracy" and "mean.few_shot_accuracy" of a run that has them on each of several data sets.

    Example:
      >>> means({"cars.accuracy": 20.0, "cub.accuracy": 40.0}, ["cars", "cub"])
      {'mean.accuracy': 30.0}
    """
    found = {}
    for score in MEANS if len(evaluations) > 1 else ():
        values = [metrics.get(f"{name}.{score}") for name in evaluations]
        if None not in values:
            found[f"mean.{score}"] = statistics.fmean(value for value in values if value is not None)
    return found


def overall_state(statuses: Mapping[str, Status]) -> str:
    """Returns the state of a run: failed or running if one of its commands is; done if all are."""
    states = {status["state"] for status in statuses.values()}
    return next((state for state in (FAILED, RUNNING) if state in states), DONE if states == {DONE} else WAITING)


def failure(statuses: Mapping[str, Status]) -> str:
    """Returns the last lines of the logs of failed commands."""
    tails = {stage: s.get("tail", "") for stage, s in statuses.items() if s["state"] == FAILED}
    # What follows a failed pretraining only says that it failed.
    return tails.get("pretrain", "\n".join(tails.values()))


def read_last_line(path: pathlib.Path) -> dict[str, float]:
    """Returns the numbers of the last complete line of a metrics.jsonl; none if there is none yet."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    for line in reversed(lines):
        try:
            return numbers(json.loads(line))
        except ValueError:
            continue  # still being written
    return {}


def numbers(content: Mapping[str, Json]) -> dict[str, float]:
    """Returns the entries that are finite numbers."""
    return {
        name: value
        for name, value in content.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def summarise(rows: Iterable[Row], repeat: list[str], objective: str, maximise: bool) -> list[Summary]:
    """Groups runs that differ only in `repeat`; best mean objective first, groups without a result last."""
    groups: dict[str, Summary] = {}
    for row in rows:
        settings = {key: value for key, value in row.run.settings.items() if key not in repeat}
        key = json.dumps([row.run.label, settings], sort_keys=True)
        group = groups.setdefault(key, Summary(row.run.label, settings, [], {}))
        group.rows.append(row)
        if row.state == DONE:
            for name, value in row.metrics.items():
                group.values.setdefault(name, []).append(value)

    def rank(summary: Summary) -> tuple[bool, float]:
        mean = summary.mean(objective)
        return mean is None, 0.0 if mean is None else -mean if maximise else mean

    return sorted(groups.values(), key=rank)
