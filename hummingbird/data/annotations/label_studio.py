"""Label Studio's JSON export: polygons, rectangles, ellipses and brush strokes are filled, key points are dots.

Coordinates are in percent of the image. Of several annotations of an image, those that were cancelled do not count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from hummingbird.data.annotations import run_lengths, shapes
from hummingbird.data.annotations.interface import (
    STROKE,
    Drawing,
    Drawings,
    Shape,
    Size,
    called,
    item,
    items,
    load_json,
    number,
    points,
    size,
)
from hummingbird.data.annotations.locate import Images
from hummingbird.data.image_files import SUFFIXES
from hummingbird.data.interface import Unreadable
from hummingbird.data.names import shorten
from hummingbird.data.store import Store

Content = Mapping[str, object]
Draw = Callable[[int, int], shapes.Pixels]


def is_format(content: object) -> bool:
    """Returns whether the content of a JSON file is Label Studio's."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, Mapping) and "annotations" in first and "data" in first


def read(store: Store, paths: Sequence[str], stroke: float) -> Drawings:
    """Reads Label Studio's file.

    Args:
      store: holds it and the images.
      paths: the file.
      stroke: thickness of key points, pixels; 0: as annotated.
    """
    (path,) = paths
    where, content = called(store, path), load_json(store, path)
    tasks = items({"tasks": content}, "tasks", where)
    located, images, unused = Images(store), [], set[str]()
    for task in tasks:
        about = f"{where}: task {task.get('id')}"
        annotations = [one for one in items(task, "annotations", about) if not one.get("was_cancelled")]
        if len(annotations) > 1:
            raise Unreadable(f"{about} has {len(annotations)} annotations; keep one of them")
        results = [result for annotation in annotations for result in items(annotation, "result", about)]
        drawn = [result for result in results if result.get("type") in SHAPES]
        unused |= {str(result.get("type")) for result in results} - set(SHAPES)
        if not drawn:
            continue
        named = _image(task, about)
        sizes = {shown for result in drawn if (shown := _size(result, about)) is not None}
        if len(sizes) > 1:
            raise Unreadable(f"{about} has shapes for images of several sizes: {sorted(sizes)}")
        parts = [shape for result in drawn for shape in _shapes(result, about, stroke)]
        images.append(Drawing(located.find(named, path) or named, about, parts, next(iter(sizes), None)))
    notes = [f"{where}: results of type {shorten(sorted(unused))} are not used"] if unused else []
    return Drawings(images, (), notes)


def _image(task: Content, about: str) -> str:
    """Returns the value of a task's data that names an image."""
    data = item(task, "data", about)
    values = [value for value in data.values() if isinstance(value, str)]
    named = [value for value in values if value.lower().partition("?")[0].endswith(SUFFIXES)]
    named += [value for value in values if value.lower().endswith(SUFFIXES) and value not in named]
    if len(named) != 1:
        raise Unreadable(f"{about} names {len(named)} images in its data, expected one")
    return named[0]


def _size(result: Content, about: str) -> Size | None:
    return size(result, about, "original_height", "original_width")


def _shapes(result: Content, about: str, stroke: float) -> list[Shape]:
    """Returns a result as a shape for each of its labels."""
    kind, value = str(result.get("type")), item(result, "value", about)
    names = value.get(kind)
    if not isinstance(names, list) or not names:
        raise Unreadable(f"{about} has a result of type {kind} without a label")
    draw = SHAPES[kind](value, about, stroke)
    return [Shape(str(name), draw) for name in names]


# ---------------------------------------------------------------- kinds of shapes
def _polygon(value: Content, about: str, stroke: float) -> Draw:
    corners = points(value, "points", about)
    return lambda height, width: shapes.polygon(
        [(x * width / 100, y * height / 100) for x, y in corners], height, width
    )


def _rectangle(value: Content, about: str, stroke: float) -> Draw:
    left, top, across, down = (number(value, name, about) / 100 for name in ("x", "y", "width", "height"))
    turn = number(value, "rotation", about) if value.get("rotation") else 0.0

    def draw(height: int, width: int) -> shapes.Pixels:
        x, y = left * width, top * height
        return shapes.polygon(shapes.box(x, y, x + across * width, y + down * height, turn, (x, y)), height, width)

    return draw


def _ellipse(value: Content, about: str, stroke: float) -> Draw:
    x, y, along, across = (number(value, name, about) / 100 for name in ("x", "y", "radiusX", "radiusY"))
    turn = number(value, "rotation", about) if value.get("rotation") else 0.0
    return lambda height, width: shapes.ellipse(
        (x * width, y * height), (along * width, across * height), turn, height, width
    )


def _brush(value: Content, about: str, stroke: float) -> Draw:
    if value.get("format") != "rle" or not isinstance(value.get("rle"), list):
        raise Unreadable(f"{about} has a brush stroke without run lengths")
    return functools.partial(run_lengths.label_studio, value["rle"])  # pyright: ignore[reportArgumentType]


def _dot(value: Content, about: str, stroke: float) -> Draw:
    x, y = number(value, "x", about) / 100, number(value, "y", about) / 100
    share = number(value, "width", about) / 100 if value.get("width") else STROKE
    return lambda height, width: shapes.stroke([(x * width, y * height)], stroke or share * width, height, width)


SHAPES: dict[str, Callable[[Content, str, float], Draw]] = {
    "polygonlabels": _polygon,
    "rectanglelabels": _rectangle,
    "ellipselabels": _ellipse,
    "brushlabels": _brush,
    "keypointlabels": _dot,
}
