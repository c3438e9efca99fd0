"""What people look at: `summary.csv`, and `index.html` to leaf through the results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import TypedDict
from urllib.parse import quote

import jinja2

from hummingbird.incontext.segment.inputs import Input
from hummingbird.incontext.segment.pictures import DEPTHS, ClassWriter, Writer, gradient
from hummingbird.incontext.segment.results import COLOURED, OVERLAYS, PICTURES, WHOLE, Entry, Results
from hummingbird.run.files import Json
from hummingbird.tasks.drawing import css

Row = list[str | int | float]


class Leaf(TypedDict):
    """What the page shows of an input: addresses of its files, relative to the page, and numbers."""

    name: str
    picture: str
    painted: str
    video: str
    note: str
    areas: list[list[str | float]]


def write(results: Results, inputs: Sequence[Input], writer: Writer, title: str) -> None:
    """Writes the table and the page of what is finished.

    Args:
      results: the folder.
      inputs: all of them, in the order of the page.
      writer: knows classes and colours.
      title: what was segmented.
    """
    results.write_page("summary.csv", summary(results, inputs, writer))
    leaves = [leaf for x in inputs for leaf in _leaves(results, x, writer)]
    text = json.dumps(leaves).replace("<", "\\u003c")
    template = environment().get_template("index.html.j2")
    results.write_page(
        "index.html",
        template.render(
            title=title, leaves=text, legend=_legend(writer), scale=_scale(writer), alpha=writer.output.alpha
        ),
    )


def environment() -> jinja2.Environment:
    """Returns the Jinja environment of the page; everything that is not marked safe is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("hummingbird.incontext.segment", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


# ---------------------------------------------------------------- the table
def summary(results: Results, inputs: Sequence[Input], writer: Writer) -> str:
    """Returns the table: a row for each class of each image and frame, or for the depths of each."""
    of_classes = isinstance(writer, ClassWriter)
    columns = ["class_id", "class", "pixels", "percent"] if of_classes else ["min", "mean", "max"]
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["image", "frame", "seconds", "height", "width", "confidence", *columns])
    for x in inputs:
        for entry in results.entries(x):
            for cells in _cells(entry.facts, writer):
                table.writerow([x.source, *_place(entry), entry.facts["confidence"], *cells])
    return buffer.getvalue()


def _place(entry: Entry) -> Row:
    """Returns the number and time of a frame (empty for an image), and the size."""
    frame: Row = ["", ""] if entry.frame == WHOLE else [entry.frame, _text(entry.facts.get("seconds"))]
    return [*frame, *_numbers(entry.facts["size"])]


def _cells(facts: Mapping[str, Json], writer: Writer) -> list[Row]:
    """Returns the last cells of each row of an image."""
    if not isinstance(writer, ClassWriter):
        return [[*_numbers(facts["metres"])]]
    height, width = _numbers(facts["size"])
    classes = zip(writer.classes.ids, writer.classes.names, _numbers(facts["pixels"]), strict=True)
    return [[number, name, int(pixels), round(100 * pixels / (height * width), 3)] for number, name, pixels in classes]


def _numbers(value: Json) -> list[float]:
    return [_number(one) for one in value] if isinstance(value, Sequence) else []


def _text(value: Json) -> str | float:
    return value if isinstance(value, int | float) else ""


def _number(value: Json) -> float:
    return value if isinstance(value, int | float) else 0


# ---------------------------------------------------------------- the page
def _leaves(results: Results, x: Input, writer: Writer) -> list[Leaf]:
    """Returns what the page shows of an input as far as it is finished: one leaf, or one for each page of a file."""
    frames = results.entries(x)
    if x.has_frames and not x.is_video:
        return [_leaf(x, f"{x.source}, page {entry.frame + 1}", entry, [entry], writer) for entry in frames]
    found = results.entry(x)
    return [] if found is None else [_leaf(x, x.source, found, frames, writer)]


def _leaf(x: Input, name: str, found: Entry, frames: Sequence[Entry], writer: Writer) -> Leaf:
    by_folder = {path.partition("/")[0]: quote(path) for path in found.files}
    return {
        "name": name,
        "picture": by_folder.get(PICTURES, ""),
        "painted": by_folder.get(COLOURED, by_folder.get("masks", "")),
        "video": by_folder.get(OVERLAYS, "") if x.is_video else "",
        "note": _note(x, found, frames),
        "areas": _areas(frames, writer),
    }


def _note(x: Input, found: Entry, frames: Sequence[Entry]) -> str:
    height, width = (int(side) for side in _numbers(frames[0].facts["size"]))
    sure = sum(_number(entry.facts["confidence"]) for entry in frames) / len(frames)
    length = f", {len(frames)} frames" if x.is_video else ""
    damaged = found.facts.get("damaged")
    return f"{width} × {height}{length}, confidence {sure:.2f}" + (f", {damaged} damaged parts" if damaged else "")


def _areas(frames: Sequence[Entry], writer: Writer) -> list[list[str | float]]:
    """Returns (name, colour, percent) of the classes that an input holds, the largest first."""
    if not isinstance(writer, ClassWriter):
        return []
    pixels = [sum(column) for column in zip(*(_numbers(entry.facts["pixels"]) for entry in frames), strict=True)]
    total = sum(_number(a) * _number(b) for a, b in (_numbers(entry.facts["size"]) for entry in frames))
    colours = map(css, writer.classes.colours)
    rows = zip(writer.classes.names, colours, (100 * count / total for count in pixels), strict=True)
    return [[name, colour, round(share, 2)] for name, colour, share in sorted(rows, key=lambda row: -row[2]) if share]


def _legend(writer: Writer) -> list[tuple[str, str, int]]:
    """Returns (name, colour, id) of each class; none for depth."""
    if not isinstance(writer, ClassWriter):
        return []
    colours = map(css, writer.classes.colours)
    return list(zip(writer.classes.names, colours, writer.classes.ids, strict=True))


def _scale(writer: Writer) -> tuple[float, float, str] | None:
    """Returns both ends of the colour scale in metres, and its gradient in CSS; None for classes."""
    return None if isinstance(writer, ClassWriter) else (writer.low, writer.high, gradient(DEPTHS))
