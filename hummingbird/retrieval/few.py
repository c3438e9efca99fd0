"""Scores with small parts of the prompt: Sec. 4.2, Tables 2, 9 and 10, the retrieval curves of Figure 3.

Every image is encoded once, for all parts and the evaluation that they belong to: `hummingbird.retrieval.reuse`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import matplotlib.figure
import matplotlib.ticker
import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.bank_files import write_json
from hummingbird.retrieval.encode import Clock
from hummingbird.retrieval.prompt import make_index, plan
from hummingbird.retrieval.protocol import Protocol
from hummingbird.retrieval.query import answer
from hummingbird.retrieval.report.charts import SERIES
from hummingbird.retrieval.report.runs import data_name
from hummingbird.retrieval.reuse import Encoded

HEADLINE = {"segmentation": "miou", "depth": "rmse"}
UNITS = {"segmentation": "mIoU", "depth": "RMSE (m)"}


def drawn_parts(protocol: Protocol, config: Any) -> list[Protocol]:
    """The protocol of every part; its seed draws the images. The whole prompt has only one part.

    Part number i of a fraction is drawn with seed + i, so number 0 is what `data.fraction` alone would use.
    """
    return [
        dataclasses.replace(protocol, fraction=fraction, seed=protocol.seed + number)
        for fraction in config.data.fractions
        for number in range(config.data.subsets if fraction < 1 else 1)
    ]


def check_parts(length: int, protocol: Protocol, config: Any) -> None:
    """UserError if a part of a prompt of `length` images cannot hold as many entries as its search needs."""
    needed = {"retrieval.neighbours": protocol.neighbours}
    if config.retrieval.index == "scann":
        needed["retrieval.scann.leaves"] = config.retrieval.scann.leaves
    for part in drawn_parts(protocol, config):
        images, patches = plan(length, part)
        most = min(part.memory_length, len(images) * patches * max(part.augmentation_epochs, 1))
        for key, least in needed.items():
            if least > most:
                raise UserError(
                    f"config key {key}: {least} is more than the {most} entries that {part_name(part.fraction)} of the "
                    f"prompt has at most; lower it or leave {part.fraction:g} out of data.fractions"
                )


def measure_fractions(
    encoded: Encoded, config: Any, protocol: Protocol, query: Any, scores: dict[str, Any], notes: list[str]
) -> list[dict[str, Any]]:
    """Scores `data.subsets` random parts of the prompt for each of `data.fractions`.

    Args:
      scores: metrics of the evaluation that the parts belong to; a part that is its whole prompt is not scored again.
      notes: warnings are added to it.

    Returns:
      [{"fraction", "images", "metric", "mean", "std", "values"}], in the order of the config; std is over the parts.
    """
    clock, metric = Clock(), HEADLINE[protocol.task]
    found: dict[float, list[float]] = {}
    already: set[str] = set()

    def score(drawn: Protocol) -> float:  # its bank and index are gone when the next part's are made
        bank, part = encoded.bank(drawn), dataclasses.replace(drawn, seed=protocol.seed)
        name, told = part_name(part.fraction), []
        try:
            index = make_index(bank, part, config, clock, told)
        except UserError as error:
            raise UserError(f"config key data.fractions, {name} of the prompt: {error}") from error
        told = [f"{name} of the prompt: {text}" for text in told]
        notes.extend(text for text in told if text not in already)
        already.update(told)
        batches = encoded.queries.batches(part, config, clock)
        return answer(batches, query, bank, index, part, config, clock, recall=False)[0][metric]

    for drawn in drawn_parts(protocol, config):
        value = scores[metric] if drawn == protocol else score(drawn)
        found.setdefault(drawn.fraction, []).append(value)
    return [
        {
            "fraction": fraction,
            "images": len(plan(encoded.prompt_length, dataclasses.replace(protocol, fraction=fraction))[0]),
            "metric": metric,
            "mean": float(np.mean(values)),
            "std": float(np.std(values)),
            "values": values,
        }
        for fraction, values in found.items()
    ]


def write_markdown(result: dict[str, Any], path: pathlib.Path) -> None:
    """The table of `measure_fractions`."""
    task = result["task"]
    lines = [f"| part of the prompt | images | {UNITS[task]} | deviation | parts |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in table(result["fractions"], task)]
    path.write_text("\n".join(lines) + "\n")


def write_rows(result: dict[str, Any], path: pathlib.Path) -> None:
    """What `measure_fractions` gives."""
    write_json(path, result["fractions"])


def write_curve(result: dict[str, Any], path: pathlib.Path) -> None:
    """The curve of `measure_fractions`, as Figure 3 has it."""
    figure = curve({"": result["fractions"]}, result["task"])
    figure.axes[0].set_title(f"{data_name(result)}, {result['encoder']['name']}", fontsize=10)
    figure.savefig(path, dpi=150)


FILES = {"fractions.md": write_markdown, "fractions.json": write_rows, "fractions.png": write_curve}


def table(rows: list[dict[str, Any]], task: str) -> list[list[str]]:
    """Part, images, mean, deviation and number of parts of each row of `measure_fractions`, as text."""
    number = lambda value: f"{value:.{1 if task == 'segmentation' else 3}f}"
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


def curve(series: dict[str, list[dict[str, Any]]], task: str) -> matplotlib.figure.Figure:
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
    axes.set(xlabel="prompt images and their part of all", ylabel=UNITS[task])
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def part_name(fraction: float) -> str:
    """0.25 -> "1/4", 0.3 -> "0.3", 1.0 -> "1"."""
    whole = round(1 / fraction)
    return "1" if fraction == 1 else f"1/{whole}" if abs(whole * fraction - 1) < 1e-6 else f"{fraction:g}"
