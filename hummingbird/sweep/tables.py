"""The results of a sweep as text: the table of the terminal and the page, and sweep.csv."""

from __future__ import annotations

import csv
import io

from rich.table import Table
from rich.text import Text

from hummingbird.sweep.collect import Results, Summary
from hummingbird.sweep.folder import DONE, FAILED, RUNNING, WAITING
from hummingbird.sweep.names import short_keys

PERCENT = ("miou", "accuracy")  # how the names of scores between 0 and 100 end
PUBLISHED = "published"  # ends the heads of published scores; the state of rows that hold nothing else
GAP = 2  # spaces between columns in the terminal
COLOURS = {FAILED: "red", RUNNING: "cyan", WAITING: "dim", DONE: "", PUBLISHED: "dim"}


def number(metric: str, value: float | None, deviation: float | None = None) -> str:
    """Formats a score with its deviation: percentages with two decimals, others with three.

    Example:
      >>> number("knn.accuracy", 12.345), number("rmse", 0.5, 0.01), number("miou", None)
      ('12.35', '0.500 ± 0.010', '–')
    """
    if value is None:
        return "–"
    digits = 2 if metric.endswith(PERCENT) else 3
    return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")


def duration(seconds: float) -> str:
    """Formats a duration.

    Example:
      >>> duration(3.2), duration(123), duration(3723)
      ('3.2 s', '2:03', '1:02:03')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds else "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def table_cells(results: Results) -> tuple[list[str], list[list[str]], list[str]]:
    """Returns the headings, the cells of each row and its state: the runs, best first, then what is only published.

    The swept keys come first; where runs have names, which tell them apart, they come last, since they may be many.
    """
    axes = results.axes
    short = short_keys(axes)
    named = _has_names(results)
    repeated = any(len(summary.rows) > 1 for summary in results.summaries)
    scores = [_head(*column) for column in score_columns(results)]
    measured = [*scores, *["runs"] * repeated, "time", "state"]
    swept = [short[key] for key in axes]
    heads = ["run", *measured, *swept] if named else [*swept, *measured]
    body, states = [], []
    for summary in results.summaries:
        found = [row.state for row in summary.rows]
        settings = [summary.settings.get(key, "–") for key in axes]
        cells = _scores(results, summary.label, summary)
        cells += [str(found.count(DONE))] * repeated
        cells += [duration(sum(row.seconds for row in summary.rows)), describe_states(summary, repeated)]
        body.append([summary.label, *cells, *settings] if named else [*settings, *cells])
        states.append(next(state for state in (FAILED, RUNNING, WAITING, DONE) if state in found))
    for name in results.unmeasured:
        unknown = ["–"] * (repeated + 1)
        body.append([name, *_scores(results, name, None), *unknown, PUBLISHED, *["–"] * len(axes)])
        states.append(PUBLISHED)
    return heads, body, states


def _has_names(results: Results) -> bool:
    return any(summary.label for summary in results.summaries) or bool(results.unmeasured)


def score_columns(results: Results) -> list[tuple[str, bool]]:
    """Returns the columns of scores: each metric that is shown, followed by what is published of it (True)."""
    published = {metric for scores in results.schedule.published.values() for metric in scores}
    return [(metric, given) for metric in results.shown for given in (False, True) if not given or metric in published]


def numeric_heads(results: Results) -> list[str]:
    """Returns the headings of the columns that hold numbers."""
    return [*(_head(*column) for column in score_columns(results)), "runs", "time"]


def _head(metric: str, published: bool) -> str:
    return f"{metric} {PUBLISHED}" if published else metric


def _scores(results: Results, name: str, summary: Summary | None) -> list[str]:
    """Returns a cell for each of `score_columns`; without a summary nothing is measured under this name."""
    cells = []
    for metric, published in score_columns(results):
        value = results.published(name, metric) if published else None
        if value is not None:
            cells.append(f"{value:.1f}" if metric.endswith(PERCENT) else f"{value:g}")
        elif published or summary is None:
            cells.append("–")
        else:
            cells.append(number(metric, summary.mean(metric), summary.deviation(metric)))
    return cells


def describe_states(summary: Summary, repeated: bool) -> str:
    """Returns the state of a summary's runs, such as "2 done, 1 failed"."""
    found = [row.state for row in summary.rows]
    return ", ".join(
        f"{found.count(state)} {state}" if repeated and len(found) > 1 else state
        for state in (DONE, RUNNING, WAITING, FAILED)
        if state in found
    )


def terminal_table(results: Results, width: int | None = None, most: int | None = None) -> Table:
    """Returns the first `most` summaries as a table for the terminal, best first.

    Args:
      results: of the sweep.
      width: columns of the terminal; where they do not suffice, the swept keys of named runs are left out. None: any.
      most: rows; None: all.
    """
    heads, body, states = table_cells(results)
    sign = "↑" if results.maximise else "↓"
    marked = [f"{head} {sign}" if head == results.objective else head for head in heads]
    natural = sum(max(map(len, column)) + GAP for column in zip(marked, *body, strict=True))
    swept = len(results.axes) if _has_names(results) and width and natural > width else 0
    shown = range(len(heads) - swept)
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for i in shown:
        table.add_column(marked[i], justify="right" if heads[i] in numeric_heads(results) else "left")
    for cells, state in list(zip(body, states, strict=True))[:most]:
        table.add_row(*(Text(cells[i], style=COLOURS[state]) for i in shown))
    if most is not None and len(body) > most:
        table.add_row(Text(f"… {len(body) - most} more in sweep.csv", style="dim"))
    return table


def to_csv(results: Results) -> str:
    """Returns one line per run, best first: name, state, swept keys, every metric, seconds, published scores.

    Names with published scores alone follow.
    """
    keys = list(dict.fromkeys(key for row in results.rows for key in row.run.settings))
    metrics = list(dict.fromkeys(name for row in results.rows for name in row.metrics))
    published = [metric for metric, given in score_columns(results) if given]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["run", "state", *keys, *metrics, "seconds", *(_head(metric, True) for metric in published)])

    def beside(name: str) -> list[float | str]:
        return ["" if (value := results.published(name, metric)) is None else value for metric in published]

    for row in (row for summary in results.summaries for row in summary.rows):
        values = [row.run.settings.get(key, "") for key in keys] + [row.metrics.get(m, "") for m in metrics]
        writer.writerow([row.run.name, row.state, *values, round(row.seconds, 2), *beside(row.run.label)])
    for name in results.unmeasured:
        writer.writerow([name, PUBLISHED, *[""] * (len(keys) + len(metrics) + 1), *beside(name)])
    return text.getvalue()
