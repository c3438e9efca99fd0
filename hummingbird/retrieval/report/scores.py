"""Scores on the page: headline numbers, the table of all scores, and bars per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hummingbird.retrieval.report import charts
from hummingbird.retrieval.report.elements import Bars, FactRow, Facts
from hummingbird.retrieval.report.runs import MAIN_SCORES, Group, Run, finite, show
from hummingbird.tasks import Score
from hummingbird.tasks.drawing import class_colours, css
from hummingbird.tasks.painting import Swatch

# Scores of classes by their key in metrics.json.
PER_CLASS = {"per_class_iou": "Intersection over union", "per_class_accuracy": "Accuracy"}
MOST_CLASSES = {"Intersection over union": 156, "Accuracy": 52}  # bars of classes on a page


class Headline(NamedTuple):
    """A large number.

    Attributes:
      value: the number.
      name: of the score.
      task: task and data set, if there are several.
      encoder: if there are several.
      runner_up: the next best encoder and its score.
    """

    value: str
    name: str
    task: str = ""
    encoder: str = ""
    runner_up: str = ""


def headlines(groups: Sequence[Group]) -> list[Headline]:
    """Returns the headline score of each task, of its best run; all main scores of a single run."""
    if len(groups) == 1 and len(groups[0].runs) == 1:
        run, scores = groups[0].runs[0], groups[0].scores[:MAIN_SCORES]
        known = [score for i, score in enumerate(scores) if i == 0 or run.score(score.key) is not None]
        return [Headline(show(run.score(score.key), score.digits), with_arrow(score)) for score in known]
    return [best_headline(group, alone=len(groups) == 1) for group in groups]


def best_headline(group: Group, alone: bool) -> Headline:
    """Returns the headline score of the best run of a task, and the runner-up."""
    score = group.scores[0]
    order = sorted(
        (run for run in group.runs if run.score(score.key) is not None),
        key=lambda run: run.score(score.key) or 0.0,
        reverse=score.larger_is_better,
    )
    best = order[0] if order else group.runs[0]
    second = order[1] if len(order) > 1 else None
    return Headline(
        value=show(best.score(score.key), score.digits),
        name=with_arrow(score),
        task="" if alone else group.title,
        encoder=best.name if len(group.runs) > 1 else "",
        runner_up=f"next best {show(second.score(score.key), score.digits)}, {second.name}" if second else "",
    )


def with_arrow(score: Score) -> str:
    """Returns the name of a score with the direction that is better."""
    return f"{score.label} {'↑' if score.larger_is_better else '↓'}"


# ---------------------------------------------------------------- table
class ScoreCell(NamedTuple):
    """A score, and whether it is the best of its column."""

    text: str
    best: bool


class ScoreTable(NamedTuple):
    """All scores.

    Attributes:
      blocks: title and headings of each task's columns.
      rows: name and cells of each encoder.
    """

    blocks: list[tuple[str, list[str]]]
    rows: list[tuple[str, list[ScoreCell]]]


def score_table(groups: Sequence[Group]) -> ScoreTable:
    """Returns a table with a row per encoder and a block of columns per task; the best of each column is marked."""
    names = list(dict.fromkeys(run.name for group in groups for run in group.runs))
    rows: dict[str, list[ScoreCell]] = {name: [] for name in names}
    blocks = []
    alone = len(groups) == 1
    for group in groups:
        by_name = {run.name: run for run in group.runs}
        # With several tasks the table shows the main scores only, to fit the page; the others are among the facts.
        scores = [s for s in group.scores[: None if alone else MAIN_SCORES] if any_has(group.runs, s.key)]
        heads = [with_arrow(score) for score in scores]
        columns: list[tuple[str, int, bool | None]] = [(s.key, s.digits, s.larger_is_better) for s in scores]
        for key in unknown_scores(group) if alone and group.task != "classification" else ():
            heads.append(key.replace("_", " "))
            columns.append((key, 3, None))
        blocks.append(("" if alone else group.title, heads))
        for key, digits, larger in columns:
            values = [by_name[name].score(key) if name in by_name else None for name in names]
            for name, cell in zip(names, column_cells(values, digits, larger), strict=True):
                rows[name].append(cell)
    return ScoreTable(blocks, list(rows.items()))


def any_has(runs: Sequence[Run], key: str) -> bool:
    """Returns whether any run has a score."""
    return any(key in run.result["metrics"] for run in runs)


def unknown_scores(group: Group) -> list[str]:
    """Returns the numbers in metrics.json that the task does not declare."""
    known = {score.key for score in group.scores}
    found = [key for run in group.runs for key, value in run.result["metrics"].items() if finite(value) is not None]
    return [key for key in dict.fromkeys(found) if key not in known]


def column_cells(values: Sequence[float | None], digits: int, larger: bool | None) -> list[ScoreCell]:
    """Formats a column; marks the best score unless all look equal or no direction is known."""
    texts = [show(value, digits) for value in values]
    known = [(value, text) for value, text in zip(values, texts, strict=True) if value is not None]
    best = None
    if known and larger is not None and len(set(texts)) > 1:
        best = (max if larger else min)(known)[1]
    return [ScoreCell(text, text == best) for text in texts]


# ---------------------------------------------------------------- bars
def class_scores(group: Group) -> Iterator[Bars | Facts]:
    """Yields the score of each class as bars, the best class of the first run on top; of many runs, as a table."""
    series = [per_class(run) for run in group.runs]
    if not any(series):
        return
    what = next(what for key, what in PER_CLASS.items() if any(key in run.result["metrics"] for run in group.runs))
    names = list(dict.fromkeys(name for scores in series for name in scores))
    lead = {name: next((s[name] for s in series if s.get(name) is not None), None) for name in names}
    order = sorted(names, key=lambda name: (lead[name] is None, -(lead[name] or 0.0)))
    several = len(group.runs) > 1
    sorted_by = f"sorted by {group.runs[0].name}" if several else "sorted"
    absent = " A dash marks a class that does not occur." if None in lead.values() else ""
    title = f"{what} by class"
    if len(series) > len(charts.SERIES):  # bars would have to share colours
        rows = [FactRow(name, [show(scores.get(name), 1) for scores in series], 1) for name in order]
        yield Facts(title, [run.name for run in group.runs], [("class", rows)])
        return
    most = MOST_CLASSES[what]
    if len(order) > most:
        ends = most // 2
        order, absent = [*order[:ends], *order[-ends:]], f" Of {len(names)} classes, the {ends} best and worst ones."
    yield Bars(
        title=title,
        columns=charts.class_bars(series, order, {} if several else swatches(group)),
        legend=[Swatch(run.name, charts.series_colour(i)) for i, run in enumerate(group.runs)] if several else (),
        caption=f"{what} of each class in percent, {sorted_by}.{absent}",
    )


def per_class(run: Run) -> dict[str, float | None]:
    """Returns the score of each class, 0-100; None for classes that do not occur."""
    found = [run.result["metrics"].get(key) for key in PER_CLASS]
    scores = next((scores for scores in found if isinstance(scores, dict)), {})
    return {name: finite(value) for name, value in scores.items()}


def swatches(group: Group) -> dict[str, str]:
    """Returns the colour that the pictures give to each class; none without pictures."""
    samples = group.shown[0].samples if group.shown else None
    if samples is None:
        return {}
    return dict(zip(samples["classes"], map(css, class_colours(samples["classes"])), strict=True))
