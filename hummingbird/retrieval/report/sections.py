"""The sections with the results: headline numbers, table of scores, per-class bars, the grid of predictions.

A section is a dict with "kind" (which macro of the template draws it), "title", "caption" and its content. Cells and
tables hold text, never markup.
"""

import itertools
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

from hummingbird import drawing
from hummingbird.retrieval.report import charts, closeups, facts, parts
from hummingbird.retrieval.report.painters import PAINTERS, photo
from hummingbird.retrieval.report.runs import MAIN_SCORES, Group, finite, show


def headlines(groups: list[Group]) -> list[dict[str, str]]:
    """The one number of each task, large: of the best run where there are several."""
    tiles = []
    for group in groups:
        key, name, digits, larger = group.columns[0]
        values = [run["metrics"]["metrics"].get(key) for run in group.runs]
        best = best_run(values, larger) or 0
        run = group.runs[best]
        others = [None if i == best else value for i, value in enumerate(values)]
        second = best_run(others, larger)
        tiles.append(
            {
                "value": show(run["metrics"]["metrics"].get(key), digits),
                "name": f"{name} {'↑' if larger else '↓'}",
                "where": group.title if len(groups) > 1 else "",
                "who": run["name"] if len(group.runs) > 1 else "",
                "next": f"next best {show(others[second], digits)}, {group.runs[second]['name']}"
                if second is not None
                else "",
            }
        )
        if len(groups) == 1 and len(group.runs) == 1:
            for key, name, digits, larger in group.columns[1:]:
                value = run["metrics"]["metrics"].get(key)
                if value is not None and key in MAIN_SCORES:
                    arrow = "↑" if larger else "↓"
                    tiles.append(
                        {"value": show(value, digits), "name": f"{name} {arrow}", "where": "", "who": "", "next": ""}
                    )
    return tiles


def best_run(values: list[Any], larger: bool) -> int | None:
    """Position of the best finite number, None where there is none."""
    known = [(v, i) for i, v in enumerate(values) if finite(v)]
    return (max if larger else min)(known, key=lambda pair: pair[0])[1] if known else None


def score_table(runs: list[dict[str, Any]], groups: list[Group]) -> dict[str, Any]:
    """All scalar metrics: a row for each encoder, a block of columns for each task and data set, the best marked."""
    names = list(dict.fromkeys(run["name"] for run in runs))
    blocks, rows = [], {name: [] for name in names}
    for group in groups:
        by_name = {run["name"]: run["metrics"]["metrics"] for run in group.runs}
        columns = [c for c in group.columns if any(c[0] in metrics for metrics in by_name.values())]
        if len(groups) > 1:  # the rest is among the facts of each task: one table must fit the page
            columns = [c for c in columns if c[0] in MAIN_SCORES]
        known = {c[0] for c in group.columns}
        extra = dict.fromkeys(k for m in by_name.values() for k, v in m.items() if k not in known and _scalar(v))
        columns += [(key, key.replace("_", " "), 3, None) for key in extra if len(groups) == 1]
        blocks.append(
            {
                "title": group.title if len(groups) > 1 else "",
                "columns": [_arrow(name, larger) for _, name, _, larger in columns],
            }
        )
        for key, _, digits, larger in columns:
            values = [by_name.get(name, {}).get(key) for name in names]
            texts = [show(value, digits) for value in values]
            best = best_run(values, larger) if larger is not None and len(set(texts)) > 1 else None
            for name, shown in zip(names, texts, strict=True):
                rows[name].append({"text": shown, "best": best is not None and shown == texts[best]})
    return {"blocks": blocks, "rows": [{"name": name, "cells": cells} for name, cells in rows.items()]}


def _scalar(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _arrow(name: str, larger: bool | None) -> str:
    return name if larger is None else f"{name} {'↑' if larger else '↓'}"


def class_scores(group: Group) -> Iterator[dict[str, Any]]:
    """Per-class IoU as bars, best class of the first run on top."""
    series = [run["metrics"]["metrics"].get("per_class_iou") for run in group.runs]
    if not any(series):
        return
    series = [scores or {} for scores in series]
    names = list(dict.fromkeys(name for scores in series for name in scores))
    lead = {n: next((s[n] for s in series if finite(s.get(n))), None) for n in names}
    order = sorted(names, key=lambda n: (not finite(lead[n]), -(lead[n] or 0.0), names.index(n)))
    swatches = {}
    many = len(group.runs) > 1
    if group.shown and not many:
        classes = group.shown[0]["samples"]["classes"]
        swatches = {
            name: drawing.css(colour) for name, colour in zip(classes, drawing.class_colours(classes), strict=True)
        }
    absent = sum(not finite(v) for v in lead.values())
    yield {
        "kind": "bars",
        "title": "Intersection over union by class",
        "columns": charts.class_bars(series, order, swatches),
        "legend": [{"colour": charts.series_colour(i), "name": r["name"]} for i, r in enumerate(group.runs)] * many,
        "caption": "Intersection over union of every class in percent"
        + (f", sorted by {group.runs[0]['name']}" if many else ", sorted")
        + (". A dash marks a class that occurs neither in the ground truth nor in the prediction." if absent else "."),
    }


def predictions(group: Group) -> Iterator[dict[str, Any]]:
    """Query, prediction, truth and error of every kept image; with several encoders a column for each."""
    if not group.shown:
        return
    painter = PAINTERS[group.task](group)
    names = [run["name"] for run in group.shown]
    rows = []
    for queries in itertools.islice(group.aligned(), 6 if len(names) > 1 else None):
        first = next(q for q in queries if q)
        image = photo(first["image"], str(first["name"]))
        truth = painter.truth(first, "ground truth" if len(names) > 1 else "")
        if len(names) == 1:
            rows.append([image, painter.prediction(first), truth, painter.error(first)])
        else:
            rows.append([image, *(painter.prediction(q) if q else None for q in queries)])
            rows.append([truth, *(painter.error(q) if q else None for q in queries)])
    several = len(names) > 1
    yield {
        "kind": "grid",
        "title": "Predictions",
        "columns": ["query and ground truth", *names] if several else ["query", "prediction", "ground truth", "error"],
        "rows": rows,
        "paired": several,
        "dense": False,
        "legend": painter.legend(),
        "scales": painter.scales(),
        "caption": ("Each query over its ground truth; each prediction over its errors. " if several else "")
        + painter.caption(),
    }


# What is shown of each task and data set, in this order.
SECTIONS: tuple[Callable[[Group], Iterator[dict[str, Any]]], ...] = (
    class_scores,
    parts.parts,
    predictions,
    closeups.neighbours,
    closeups.insides,
    facts.facts,
)
