"""CVAT for images 1.1: polygons, boxes, ellipses and masks are filled; polylines and points are strokes.

Shapes are painted by their z_order, and in the order of the file where it is equal.
"""

from __future__ import annotations

import functools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence

import numpy as np

from hummingbird.data.annotations import run_lengths, shapes
from hummingbird.data.annotations.interface import STROKE, Drawing, Drawings, Label, Shape, called
from hummingbird.data.annotations.labelme import paste
from hummingbird.data.annotations.locate import Images
from hummingbird.data.interface import Unreadable
from hummingbird.data.store import Store
from hummingbird.errors import first_line

Draw = Callable[[int, int], shapes.Pixels]
UNUSED = ("tag", "attribute")  # of whole images, or of shapes


def is_format(data: bytes) -> bool:
    """Returns whether the content of an XML file is CVAT's."""
    return re.search(rb"<annotations[\s>]", data[:4096]) is not None


def read(store: Store, paths: Sequence[str], stroke: float) -> Drawings:
    """Reads CVAT's file.

    Args:
      store: holds it and the images.
      paths: the file.
      stroke: thickness of polylines and points, pixels; 0: `STROKE` of the image.
    """
    (path,) = paths
    where = called(store, path)
    try:
        root = ElementTree.fromstring(store.read(path))
    except ElementTree.ParseError as error:
        raise Unreadable(f"{where} is broken XML: {first_line(error)}") from error
    if root.find("track") is not None:
        raise Unreadable(f"{where} is CVAT for video; export it as CVAT for images 1.1")
    labels = [
        Label(found.findtext("name") or "", None, _colour(found.findtext("color") or ""))
        for found in root.findall("meta//labels/label")
    ]
    located, notes = Images(store), set[str]()
    images = []
    for image in root.findall("image"):
        named = image.get("name") or ""
        size = round(_number(image, "height", where)), round(_number(image, "width", where))
        drawn = sorted((one for one in image if one.tag not in UNUSED), key=lambda one: int(one.get("z_order") or 0))
        notes |= {f"{where}: shapes of type {one.tag} are not used" for one in drawn if one.tag not in SHAPES}
        about = f"{where}: {named}"
        parts = [
            Shape(one.get("label") or "", SHAPES[one.tag](one, stroke, about)) for one in drawn if one.tag in SHAPES
        ]
        if parts:
            images.append(Drawing(located.find(named, path) or named, about, parts, size))
    return Drawings(images, labels, sorted(notes))


# ---------------------------------------------------------------- kinds of shapes
def _polygon(found: ElementTree.Element, stroke: float, where: str) -> Draw:
    return functools.partial(shapes.polygon, _points(found, where))


def _box(found: ElementTree.Element, stroke: float, where: str) -> Draw:
    left, top, right, bottom = (_number(found, name, where) for name in ("xtl", "ytl", "xbr", "ybr"))
    centre = ((left + right) / 2, (top + bottom) / 2)
    return functools.partial(shapes.polygon, shapes.box(left, top, right, bottom, _turn(found, where), centre))


def _ellipse(found: ElementTree.Element, stroke: float, where: str) -> Draw:
    x, y, along, across = (_number(found, name, where) for name in ("cx", "cy", "rx", "ry"))
    return functools.partial(shapes.ellipse, (x, y), (along, across), _turn(found, where))


def _mask(found: ElementTree.Element, stroke: float, where: str) -> Draw:
    left, top, width, height = (round(_number(found, name, where)) for name in ("left", "top", "width", "height"))
    try:
        counts = [int(word) for word in (found.get("rle") or "").split(",")]
    except ValueError:
        raise Unreadable(f"{where}: the rle of a mask is not a list of numbers") from None
    return functools.partial(paste, run_lengths.by_rows(counts, height, width), left, top)


def _polyline(found: ElementTree.Element, stroke: float, where: str) -> Draw:
    corners = _points(found, where)
    return lambda height, width: shapes.stroke(corners, stroke or STROKE * min(height, width), height, width)


def _dots(found: ElementTree.Element, stroke: float, where: str) -> Draw:
    corners = _points(found, where)
    return lambda height, width: np.logical_or.reduce(
        [shapes.stroke([one], stroke or STROKE * min(height, width), height, width) for one in corners]
    )


SHAPES: dict[str, Callable[[ElementTree.Element, float, str], Draw]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
    "polyline": _polyline,
    "points": _dots,
}


def _points(found: ElementTree.Element, where: str) -> list[shapes.Point]:
    try:
        pairs = [pair.split(",") for pair in (found.get("points") or "").split(";")]
        return [(float(x), float(y)) for x, y in pairs]
    except ValueError:
        raise Unreadable(f"{where}: the points of a {found.tag} are not of the form x,y;x,y") from None


def _turn(found: ElementTree.Element, where: str) -> float:
    return _number(found, "rotation", where) if found.get("rotation") else 0.0


def _number(found: ElementTree.Element, name: str, where: str) -> float:
    try:
        return float(found.get(name) or "")
    except ValueError:
        raise Unreadable(f"{where}: {found.tag} has no number {name}") from None


def _colour(text: str) -> tuple[int, int, int] | None:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return None
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue
