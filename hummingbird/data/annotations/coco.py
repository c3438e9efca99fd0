"""COCO JSON: polygons, and run lengths as lists or compressed; annotations without either count with their box."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hummingbird.data.annotations import run_lengths, shapes
from hummingbird.data.annotations.interface import (
    Drawing,
    Drawings,
    Label,
    Shape,
    Size,
    called,
    item,
    items,
    load_json,
    number,
    size,
    text,
)
from hummingbird.data.annotations.locate import Images
from hummingbird.data.interface import Unreadable
from hummingbird.data.names import repeated, shorten
from hummingbird.data.store import Store

Content = Mapping[str, object]


def is_format(content: object) -> bool:
    """Returns whether the content of a JSON file is COCO's."""
    return isinstance(content, Mapping) and {"images", "annotations", "categories"} <= content.keys()


def read(store: Store, paths: Sequence[str], stroke: float) -> Drawings:
    """Reads a COCO file; `stroke` has no effect, since it holds none."""
    (path,) = paths
    where, content = called(store, path), load_json(store, path)
    labels = [_label(one, where) for one in items(content, "categories", where)]
    if twice := repeated(str(label.id) for label in labels):
        raise Unreadable(f"{where}: category id {twice[0]} occurs twice")
    names = {label.id: label.name for label in labels}
    drawn: dict[object, list[Content]] = defaultdict(list)
    for one in items(content, "annotations", where):
        drawn[one.get("image_id")].append(one)
    images, located = [], Images(store)
    for one in items(content, "images", where):
        if annotations := drawn.pop(one.get("id"), []):
            named, shown = text(one, "file_name", where), size(one, where)
            parts = [_shape(annotation, names, shown, where) for annotation in annotations]
            images.append(Drawing(located.find(named, path) or named, f"{where}: {named}", parts, shown))
    if drawn:
        raise Unreadable(f"{where}: annotations of images that are not listed: {shorten([*map(str, drawn)])}")
    return Drawings(images, labels)


def _label(content: Content, where: str) -> Label:
    colour = content.get("color")
    channels = (colour[0], colour[1], colour[2]) if isinstance(colour, list) and len(colour) == 3 else None
    return Label(text(content, "name", where), int(number(content, "id", where)), channels)


def _shape(content: Content, names: Mapping[int | None, str], shown: Size | None, where: str) -> Shape:
    about = f"{where}: annotation {content.get('id')}"
    category = int(number(content, "category_id", about))
    if category not in names:
        raise Unreadable(f"{about} has category {category}, which is not among the categories")
    return Shape(names[category], _draw(content, about))


def _draw(content: Content, about: str) -> Callable[[int, int], shapes.Pixels]:
    stored = content.get("segmentation")
    if isinstance(stored, Mapping):
        return functools.partial(_run_lengths, item(content, "segmentation", about), about)
    if isinstance(stored, list) and stored:
        polygons = stored if isinstance(stored[0], list) else [stored]
        return lambda height, width: np.logical_or.reduce([_polygon(one, height, width, about) for one in polygons])
    bounds = content.get("bbox")
    if not isinstance(bounds, list) or len(bounds) != 4:
        raise Unreadable(f"{about} has neither a segmentation nor a bbox")
    left, top, width, height = map(float, bounds)
    return functools.partial(shapes.polygon, shapes.box(left, top, left + width, top + height, 0, (0, 0)))


def _polygon(flat: object, height: int, width: int, about: str) -> shapes.Pixels:
    if not isinstance(flat, list) or len(flat) % 2:
        raise Unreadable(f"{about}: a polygon is not a list x, y, x, y, ...")
    return shapes.polygon(list(zip(flat[::2], flat[1::2], strict=True)), height, width)


def _run_lengths(stored: Content, about: str, height: int, width: int) -> shapes.Pixels:
    counts, shown = stored.get("counts"), stored.get("size")
    if shown != [height, width]:
        raise Unreadable(
            f"{about}: its run lengths are for {shown} pixels (height, width), the image is {height, width}"
        )
    if isinstance(counts, str):
        counts = run_lengths.coco_counts(counts)
    if not isinstance(counts, list):
        raise Unreadable(f"{about}: its run lengths have no counts")
    return run_lengths.by_columns(counts, height, width)
