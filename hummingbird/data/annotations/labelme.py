"""LabelMe: a JSON file for each image.

Polygons, rectangles and circles are filled; lines and points are strokes; masks are PNGs of their bounding box.
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import posixpath
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hummingbird.data.annotations import shapes
from hummingbird.data.annotations.interface import (
    STROKE,
    Drawing,
    Drawings,
    Shape,
    called,
    items,
    load_json,
    points,
    size,
    text,
)
from hummingbird.data.annotations.locate import Images
from hummingbird.data.interface import Unreadable
from hummingbird.data.label_files import decode_ids
from hummingbird.data.store import Store

Content = Mapping[str, object]


def is_format(content: object) -> bool:
    """Returns whether the content of a JSON file is LabelMe's."""
    return isinstance(content, Mapping) and "shapes" in content and "imagePath" in content


def read(store: Store, paths: Sequence[str], stroke: float) -> Drawings:
    """Reads LabelMe's files.

    Args:
      store: holds them and the images.
      paths: of the files.
      stroke: thickness of lines and points, pixels; 0: `STROKE` of the image.
    """
    images = Images(store)
    return Drawings([_drawing(store, path, images, stroke) for path in paths])


def _drawing(store: Store, path: str, images: Images, stroke: float) -> Drawing:
    where, content = called(store, path), load_json(store, path)
    named = text(content, "imagePath", where)
    found = images.find(named, path)
    embedded = None
    if found is None and isinstance(content, Mapping) and content.get("imageData"):
        embedded = _decode(text(content, "imageData", where), where)
    drawn = [_shape(one, where, stroke) for one in items(content, "shapes", where)]
    # Images may lie beside the folder of the files, as LabelMe writes it: ../images/a.jpg.
    relative = posixpath.normpath(posixpath.join(posixpath.dirname(path), named.replace("\\", "/")))
    return Drawing(found or relative, where, drawn, size(content, where, "imageHeight", "imageWidth"), embedded)


def _shape(content: Content, where: str, stroke: float) -> Shape:
    kind = content.get("shape_type") or "polygon"
    if kind not in SHAPES:
        raise Unreadable(f"{where}: shape_type {kind!r} is not one of {', '.join(SHAPES)}")
    draw = SHAPES[str(kind)](content, points(content, "points", where), where, stroke)
    return Shape(text(content, "label", where), draw)


# ---------------------------------------------------------------- kinds of shapes
Points = list[shapes.Point]
Draw = Callable[[int, int], shapes.Pixels]


def _polygon(content: Content, corners: Points, where: str, stroke: float) -> Draw:
    return functools.partial(shapes.polygon, corners)


def _rectangle(content: Content, corners: Points, where: str, stroke: float) -> Draw:
    (left, top), (right, bottom) = _two(corners, where, "a rectangle")
    return functools.partial(shapes.polygon, shapes.box(left, top, right, bottom, 0, (0, 0)))


def _circle(content: Content, corners: Points, where: str, stroke: float) -> Draw:
    centre, edge = _two(corners, where, "a circle")
    radius = math.dist(centre, edge)
    return functools.partial(shapes.ellipse, centre, (radius, radius), 0)


def _line(content: Content, corners: Points, where: str, stroke: float) -> Draw:
    return lambda height, width: shapes.stroke(corners, stroke or STROKE * min(height, width), height, width)


def _points(content: Content, corners: Points, where: str, stroke: float) -> Draw:
    def draw(height: int, width: int) -> shapes.Pixels:
        thickness = stroke or STROKE * min(height, width)
        dots = [shapes.stroke([point], thickness, height, width) for point in corners]
        return np.logical_or.reduce(dots, axis=0, initial=False) if dots else np.zeros((height, width), bool)

    return draw


def _mask(content: Content, corners: Points, where: str, stroke: float) -> Draw:
    (left, top), _ = _two(corners, where, "a mask")
    inside = decode_ids(_decode(text(content, "mask", where), where), f"{where}: mask") > 0
    return functools.partial(paste, inside, round(left), round(top))


SHAPES: dict[str, Callable[[Content, Points, str, float], Draw]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "line": _line,
    "linestrip": _line,
    "point": _points,
    "points": _points,
    "mask": _mask,
}


def paste(inside: shapes.Pixels, left: int, top: int, height: int, width: int) -> shapes.Pixels:
    """Returns an image of `height` and `width` with a smaller mask at (left, top); what lies outside is cut off."""
    drawn = np.zeros((height, width), bool)
    rows, columns = slice(max(0, top), top + inside.shape[0]), slice(max(0, left), left + inside.shape[1])
    target = drawn[rows, columns]
    target |= inside[max(0, -top) :, max(0, -left) :][: target.shape[0], : target.shape[1]]
    return drawn


def _two(corners: Points, where: str, kind: str) -> Points:
    if len(corners) != 2:
        raise Unreadable(f"{where}: {kind} has {len(corners)} points, expected 2")
    return corners


def _decode(encoded: str, where: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable(f"{where}: its base64 data are broken") from error
