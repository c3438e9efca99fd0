"""Scores over the part of the prompt that is used (Sec. 4.2, Figure 3): a section and files of their own."""

import base64
import io
import pathlib
from collections.abc import Iterator
from typing import Any

import matplotlib.figure
import matplotlib.ticker

from hummingbird.retrieval.report.charts import SERIES
from hummingbird.retrieval.report.runs import Group, data_name
from hummingbird.retrieval.selection import part_name
from hummingbird.run.files import write_json
from hummingbird.tasks import Score, find_kind


def parts(group: Group) -> Iterator[dict[str, Any]]:
    """Curve and table of the runs that scored parts of their prompt (`data.fractions`)."""
    series = {run["name"]: run["metrics"]["fractions"] for run in group.runs if run["metrics"].get("fractions")}
    if not series:
        return
    file, score = io.BytesIO(), group.kind.scores[0]
    curve(series, score).savefig(file, format="svg", metadata={"Date": None})
    several = len(series) > 1
    yield {
        "kind": "parts",
        "title": "Few annotated images",
        "picture": "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode(),
        "heads": ["part of the prompt", "images", score.label, "deviation", "parts"],
        "blocks": [{"name": name if several else "", "rows": table(rows, score)} for name, rows in series.items()],
        "caption": "Mean and standard deviation over random parts of the prompt; grey dots are single parts.",
    }


def write_markdown(result: dict[str, Any], path: pathlib.Path) -> None:
    """The table of `fractions.measure_fractions`."""
    score = find_kind(result["task"]).scores[0]
    lines = [f"| part of the prompt | images | {score.label} | deviation | parts |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in table(result["fractions"], score)]
    path.write_text("\n".join(lines) + "\n")


def write_rows(result: dict[str, Any], path: pathlib.Path) -> None:
    """What `fractions.measure_fractions` gives."""
    write_json(path, result["fractions"])


def write_curve(result: dict[str, Any], path: pathlib.Path) -> None:
    """The curve of `fractions.measure_fractions`, as Figure 3 has it."""
    figure = curve({"": result["fractions"]}, find_kind(result["task"]).scores[0])
    figure.axes[0].set_title(f"{data_name(result)}, {result['encoder']['name']}", fontsize=10)
    figure.savefig(path, dpi=150)


FILES = {"fractions.md": write_markdown, "fractions.json": write_rows, "fractions.png": write_curve}


def table(rows: list[dict[str, Any]], score: Score) -> list[list[str]]:
    """Part, images, mean, deviation and number of parts of each row of `fractions.measure_fractions`, as text."""
    number = lambda value: f"{value:.{score.digits}f}"
    return [
        [
            part_name(row["fraction"]),
            str(row["images"]),
            number(row["mean"]),
            number(row["std"]),
            str(len(row["values"])),
        ]
        for row in rows
    ]


def curve(series: dict[str, list[dict[str, Any]]], score: Score) -> matplotlib.figure.Figure:
    """Score over the number of prompt images: mean, deviation and single parts of each encoder's rows (Figure 3)."""
    figure = matplotlib.figure.Figure((5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, (name, rows) in enumerate(series.items()):
        colour, images = SERIES[number % len(SERIES)], [row["images"] for row in rows]
        means, deviations = ([row[key] for row in rows] for key in ("mean", "std"))
        axes.errorbar(images, means, deviations, color=colour, marker="o", markersize=4, capsize=3, label=name or None)
        for row in rows:
            axes.plot([row["images"]] * len(row["values"]), row["values"], ".", color="0.6", markersize=3, zorder=0)
    rows = max(series.values(), key=len)
    axes.set_xscale("log", base=2)
    axes.set_xticks([row["images"] for row in rows], [f"{r['images']:,}\n{part_name(r['fraction'])}" for r in rows])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.tick_params(axis="x", labelsize=8)
    axes.set(xlabel="prompt images and their part of all", ylabel=score.label)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return figure
