"""Scores with parts of the prompt (Sec. 4.2, Figure 3): a section of the page, and files of their own."""

from __future__ import annotations

import base64
import io
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import matplotlib.figure
import matplotlib.ticker

from hummingbird.retrieval.fractions import FractionScores
from hummingbird.retrieval.report.charts import series_colour
from hummingbird.retrieval.report.elements import Parts
from hummingbird.retrieval.report.runs import Group, data_name
from hummingbird.retrieval.results import Result
from hummingbird.retrieval.selection import part_name
from hummingbird.tasks import Score, describe_kind

HEADS = ("part of the prompt", "images", "{score}", "deviation", "parts")


def parts(group: Group) -> Iterator[Parts]:
    """Yields curve and table of the runs that scored parts of their prompt (`data.fractions`)."""
    series = {run.name: fractions for run in group.runs if (fractions := run.result.get("fractions"))}
    if not series:
        return
    file, score = io.BytesIO(), group.scores[0]
    curve(series, score).savefig(file, format="svg", metadata={"Date": None})
    yield Parts(
        title="Few annotated images",
        picture="data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode(),
        heads=heads(score),
        tables=[(name if len(series) > 1 else "", table(rows, score)) for name, rows in series.items()],
        caption="Mean and standard deviation over random parts of the prompt; grey dots are single parts.",
    )


def heads(score: Score) -> list[str]:
    """Returns the headings of `table`."""
    return [head.format(score=score.label) for head in HEADS]


def table(rows: Sequence[FractionScores], score: Score) -> list[list[str]]:
    """Returns a row of text per part size: part, images, mean, deviation and number of parts."""
    return [
        [
            part_name(row["fraction"]),
            str(row["images"]),
            f"{row['mean']:.{score.digits}f}",
            f"{row['std']:.{score.digits}f}",
            str(len(row["values"])),
        ]
        for row in rows
    ]


def curve(series: Mapping[str, Sequence[FractionScores]], score: Score) -> matplotlib.figure.Figure:
    """Draws the score over the number of prompt images (Figure 3): mean, deviation and single parts of each encoder."""
    figure = matplotlib.figure.Figure((5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, (name, rows) in enumerate(series.items()):
        images = [row["images"] for row in rows]
        means, deviations = [row["mean"] for row in rows], [row["std"] for row in rows]
        style = {"color": series_colour(number), "marker": "o", "markersize": 4, "capsize": 3}
        axes.errorbar(images, means, deviations, label=name or None, **style)
        for row in rows:
            axes.plot([row["images"]] * len(row["values"]), row["values"], ".", color="0.6", markersize=3, zorder=0)
    longest = max(series.values(), key=len)
    ticks = [f"{row['images']:,}\n{part_name(row['fraction'])}" for row in longest]
    axes.set_xscale("log", base=2)
    axes.set_xticks([row["images"] for row in longest], ticks)
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.tick_params(axis="x", labelsize=8)
    axes.set(xlabel="prompt images, and their share of the prompt", ylabel=score.label)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return figure


# ---------------------------------------------------------------- files
def write_markdown(result: Result, path: pathlib.Path) -> None:
    """Writes the table as Markdown."""
    score = describe_kind(result["task"]).scores[0]
    lines = [heads(score), ["---"] * len(HEADS), *table(result.get("fractions", []), score)]
    path.write_text("".join(f"| {' | '.join(cells)} |\n" for cells in lines))


def write_rows(result: Result, path: pathlib.Path) -> None:
    """Writes the scores as JSON."""
    path.write_text(json.dumps(result.get("fractions", []), indent=1) + "\n")


def write_curve(result: Result, path: pathlib.Path) -> None:
    """Writes the curve as PNG."""
    figure = curve({"": result.get("fractions", [])}, describe_kind(result["task"]).scores[0])
    figure.axes[0].set_title(f"{data_name(result)}, {result['encoder']['name']}", fontsize=10)
    figure.savefig(path, dpi=150)


FILES: dict[str, Callable[[Result, pathlib.Path], None]] = {
    "fractions.md": write_markdown,
    "fractions.json": write_rows,
    "fractions.png": write_curve,
}
