"""What a sweep found: one row for each run, summaries over repeats, sweep.csv and the table in the terminal."""

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from hummingbird.sweep import state
from hummingbird.sweep.plan import Plan, Run
from hummingbird.sweep.state import Workdir
from hummingbird.sweep.tasks import short_keys, varying

HEADLINES = ("miou", "rmse")  # the number of an evaluation that a table shows first
LOWER_IS_BETTER = ("rmse", "abs_rel", "rmse_log", "sq_rel", "mae", "loss", "seconds", "seconds_per_step")
PERCENT = ("miou", "pixel_accuracy", "mean_class_accuracy")
PRETRAIN_SHOWN = "pretrain.loss"


@dataclasses.dataclass(frozen=True)
class Row:
    """A run and what it has measured so far; `seconds` is the time of its finished tasks."""

    run: Run
    state: str
    metrics: dict[str, float]
    seconds: float
    tail: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The runs that differ only in what repeats a setting: values of each metric over the finished ones."""

    label: str
    settings: dict[str, str]
    rows: list[Row]
    values: dict[str, list[float]]

    def mean(self, metric: str) -> float | None:
        values = self.values.get(metric)
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """Standard deviation over repeats (n - 1), None for fewer than two."""
        values = self.values.get(metric, [])
        return statistics.stdev(values) if len(values) > 1 else None


@dataclasses.dataclass(frozen=True)
class Results:
    """Rows of all runs, summaries sorted best first, and which metric that was."""

    plan: Plan
    rows: list[Row]
    summaries: list[Summary]
    objective: str
    maximise: bool
    shown: list[str]  # metrics that tables and plots show

    @property
    def best(self) -> Row | None:
        """The finished run with the best objective."""
        finished = [row for row in self.rows if row.state == state.DONE and self.objective in row.metrics]
        sign = -1 if self.maximise else 1
        return min(finished, key=lambda row: sign * row.metrics[self.objective], default=None)

    @property
    def axes(self) -> list[str]:
        """Swept keys that differ between summaries."""
        return [key for key in varying([s.settings for s in self.summaries]) if key not in self.plan.repeat]


def collect(plan: Plan, workdir: Workdir) -> Results:
    """Reads the states and metrics of all runs."""
    rows = [_row(plan, workdir, run) for run in plan.runs]
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    found = [name for name in names if name.rpartition(".")[2] in HEADLINES]
    objective = plan.objective or next(iter(found), PRETRAIN_SHOWN)
    maximise = plan.maximise if plan.maximise is not None else objective.rpartition(".")[2] not in LOWER_IS_BETTER
    shown = list(dict.fromkeys([objective, *found, *(n for n in names if n == PRETRAIN_SHOWN)]))
    return Results(plan, rows, summarise(rows, plan.repeat, objective, maximise), objective, maximise, shown)


def _row(plan: Plan, workdir: Workdir, run: Run) -> Row:
    states = {stage: workdir.state(task) for stage, task in run.stages.items()}
    metrics: dict[str, float] = {}
    for stage, task in run.stages.items():
        if stage == "pretrain":
            metrics |= {f"pretrain.{k}": v for k, v in last_line(workdir.folder(task) / "metrics.jsonl").items()}
        elif states[stage]["state"] == state.DONE:
            content = json.loads((workdir.folder(task) / "metrics.json").read_text())
            prefix = "" if plan.identity["job"] == "evaluate" else f"{stage}."
            metrics |= {f"{prefix}{k}": v for k, v in content["metrics"].items() if _finite(v)}
    kinds = {found["state"] for found in states.values()}
    # A run is what its furthest task is, unless one has failed.
    now = next((s for s in (state.FAILED, state.RUNNING) if s in kinds), None)
    now = now or (state.DONE if kinds == {state.DONE} else state.WAITING)
    tails = [found.get("tail", "") for found in states.values() if found["state"] == state.FAILED]
    # A failed pretraining says why; its evaluations only that it failed.
    tail = tails[0] if states.get("pretrain", {}).get("state") == state.FAILED else "\n".join(tails)
    return Row(run, now, metrics, sum(found.get("seconds", 0.0) for found in states.values()), tail)


def last_line(path: Any) -> dict[str, float]:
    """Numbers of the last whole line of a metrics.jsonl, nothing where there is none yet."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    for line in reversed(lines):
        try:
            return {key: value for key, value in json.loads(line).items() if _finite(value)}
        except ValueError:
            continue  # being written at this moment
    return {}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def summarise(rows: Iterable[Row], repeat: list[str], objective: str, maximise: bool) -> list[Summary]:
    """Groups runs that differ only in `repeat`; best mean objective first, those without a result last."""
    groups: dict[str, Summary] = {}
    for row in rows:
        settings = {key: value for key, value in row.run.settings.items() if key not in repeat}
        key = json.dumps([row.run.label, settings], sort_keys=True)
        group = groups.setdefault(key, Summary(row.run.label, settings, [], {}))
        group.rows.append(row)
        if row.state == state.DONE:
            for name, value in row.metrics.items():
                group.values.setdefault(name, []).append(value)
    sign = -1 if maximise else 1

    def order(summary: Summary) -> tuple[bool, float]:
        mean = summary.mean(objective)
        return mean is None, 0.0 if mean is None else sign * mean

    return sorted(groups.values(), key=order)


def number(metric: str, value: float | None, deviation: float | None = None) -> str:
    """A score for a table, with its deviation if there is one: percents with two decimals, all else with three."""
    if value is None:
        return "–"
    digits = 2 if metric.rpartition(".")[2] in PERCENT else 3
    return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")


def table_cells(results: Results) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads, rows of text best first, and the state of each row; what the terminal and the page both show."""
    axes = results.axes
    short = short_keys(axes)
    named = any(s.label for s in results.summaries)
    repeated = any(len(s.rows) > 1 for s in results.summaries)
    heads = ["run"] * named + [short[k] for k in axes] + results.shown + ["runs"] * repeated + ["time", "state"]
    body, states = [], []
    for summary in results.summaries:
        kinds = [row.state for row in summary.rows]
        status = ", ".join(
            f"{kinds.count(k)} {k}" if repeated and len(kinds) > 1 else k
            for k in (state.DONE, state.RUNNING, state.WAITING, state.FAILED)
            if k in kinds
        )
        done = kinds.count(state.DONE)
        cells = [summary.label] * named + [summary.settings.get(key, "–") for key in axes]
        cells += [number(m, summary.mean(m), summary.deviation(m)) for m in results.shown]
        cells += [str(done)] * repeated + [duration(sum(row.seconds for row in summary.rows)), status]
        body.append(cells)
        states.append(next(k for k in (state.FAILED, state.RUNNING, state.WAITING, state.DONE) if k in kinds))
    return heads, body, states


COLOURS = {state.FAILED: "red", state.RUNNING: "cyan", state.WAITING: "dim", state.DONE: ""}


def terminal_table(results: Results, most: int | None = None) -> Table:
    """The summaries as a rich table, best first; the first `most` of them."""
    heads, body, states = table_cells(results)
    sign = "↑" if results.maximise else "↓"
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for head in heads:
        right = head in results.shown or head in ("runs", "time")
        table.add_column(f"{head} {sign}" if head == results.objective else head, justify="right" if right else "left")
    for cells, kind in list(zip(body, states, strict=True))[:most]:
        table.add_row(*(Text(cell, style=COLOURS[kind]) for cell in cells))
    if most is not None and len(body) > most:
        table.add_row(Text(f"… {len(body) - most} more in sweep.csv", style="dim"))
    return table


def duration(seconds: float) -> str:
    """1:02:03, 2:03 or 3.2 s."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds else "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def to_csv(results: Results) -> str:
    """One line for each run, best first: name, state, swept keys, every metric, seconds."""
    keys = list(dict.fromkeys(key for row in results.rows for key in row.run.settings))
    metrics = list(dict.fromkeys(name for row in results.rows for name in row.metrics))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["run", "state", *keys, *metrics, "seconds"])
    for row in (row for summary in results.summaries for row in summary.rows):
        values = [row.run.settings.get(key, "") for key in keys] + [row.metrics.get(m, "") for m in metrics]
        writer.writerow([row.run.name, row.state, *values, round(row.seconds, 2)])
    return text.getvalue()
