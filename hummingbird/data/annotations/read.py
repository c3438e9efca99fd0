"""Reads a folder of annotated images, whatever tool annotated it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from jaxtyping import UInt8

from hummingbird.config.segment import PromptFiles
from hummingbird.data.annotations import coco, cvat, label_studio, labelme
from hummingbird.data.annotations.interface import Classes, Drawing, Drawings, called, load_json
from hummingbird.data.annotations.masks import depth_source, folder_pairs, mask_source, pairs_beside
from hummingbird.data.annotations.painted import Painted, number_classes
from hummingbird.data.classes import read_classes
from hummingbird.data.interface import DenseSource
from hummingbird.data.label_files import IGNORE
from hummingbird.data.names import printable, repeated, shorten
from hummingbird.data.pairs import Reading
from hummingbird.data.store import Folder, Store
from hummingbird.errors import UserError

log = logging.getLogger(__name__)

Decode = Callable[[bytes, str], UInt8[np.ndarray, "H W 3"]]


class Annotations(NamedTuple):
    """Annotated images.

    Attributes:
      source: images with masks of class ids 0 ... C-1, or with depth maps.
      classes: how the user's masks store those classes; None for depth.
      format: key of `FORMATS`, or "folder" or "beside".
      labels: paths of masks and depth maps.
    """

    source: DenseSource
    classes: Classes | None
    format: str
    labels: frozenset[str] = frozenset()


class Format(NamedTuple):
    """A format of annotation files.

    Attributes:
      title: its name.
      suffix: of its files.
      is_format: content, parsed if it is JSON -> whether it has this format.
      read: (store, paths, thickness of strokes) -> drawings.
      single: whether one file holds all images.
    """

    title: str
    suffix: str
    is_format: Callable[..., bool]
    read: Callable[[Store, Sequence[str], float], Drawings]
    single: bool = True


FORMATS = {
    "labelme": Format("LabelMe", ".json", labelme.is_format, labelme.read, single=False),
    "coco": Format("COCO", ".json", coco.is_format, coco.read),
    "cvat": Format("CVAT for images", ".xml", cvat.is_format, cvat.read),
    "label_studio": Format("Label Studio", ".json", label_studio.is_format, label_studio.read),
}
MASKS = ("folder", "beside")


def read_annotations(
    path: str, settings: PromptFiles, task: str = "segmentation", void: int = IGNORE, decode: Decode | None = None
) -> Annotations:
    """Reads annotated images.

    Args:
      path: a folder, or a file of annotations with its images below the folder that it is in.
      settings: how it is read.
      task: "segmentation" or "depth".
      void: the id that masks store for pixels without a class.
      decode: as in `Reading`.

    Raises:
      UserError: nothing is there, it has no known format, or its annotations do not fit.
    """
    store, files = _open(path)
    kind, found = _detect(store, files, path, settings, task)
    log.info("--prompt=%s: %s", path, FORMATS[kind].title if kind in FORMATS else f"masks, format {kind}")
    reading = Reading(settings.exif, decode=decode)
    if kind in FORMATS:
        return _read_drawings(kind, store, found, path, settings, void, reading)
    if settings.background:
        raise UserError("config key prompt.background: masks have an id for it; it is for formats with shapes")
    if kind == "beside":
        pairs = pairs_beside(store)
    else:
        pairs = folder_pairs(store, settings.images, settings.labels, settings.names)
    labels = frozenset(os.path.realpath(f"{store.where}/{pair.label}") for pair in pairs)
    if task == "depth":
        return Annotations(depth_source(store, pairs, settings.depth_scale, reading), None, kind, labels)
    source, classes = mask_source(store, pairs, settings.classes, void, reading)
    hint = f"; if {void} is a class and not void, set void to an id that does not occur"
    return Annotations(source, _several(classes, path, hint), kind, labels)


def _open(path: str) -> tuple[Store, list[str] | None]:
    """Returns the store, and the only file to read if `path` is one."""
    if not path:
        raise UserError("--prompt: give a folder of annotated images")
    if os.path.isdir(path):
        return Folder(epath.Path(path)), None
    if os.path.isfile(path):
        return Folder(epath.Path(os.path.dirname(os.path.abspath(path)))), [os.path.basename(path)]
    raise UserError(f"--prompt={path} does not exist")


# ---------------------------------------------------------------- formats
def _detect(
    store: Store, files: list[str] | None, path: str, settings: PromptFiles, task: str
) -> tuple[str, list[str]]:
    """Returns the format, and its annotation files."""
    listed = store.files() if files is None else files
    if not listed:
        raise UserError(f"--prompt={path} is empty: put annotated images there")
    found = {} if task == "depth" or settings.format in MASKS else _annotation_files(store, listed)
    if settings.format in FORMATS:
        if settings.format not in found:
            raise UserError(f"--prompt={path} holds no file of {FORMATS[settings.format].title} (prompt.format)")
        found = {settings.format: found[settings.format]}
    if settings.format in MASKS:
        return settings.format, []
    if files is None and "{name}" not in settings.labels and store.exists(settings.labels.strip("/")):
        found["folder"] = []
    elif files is None and "{name}" in settings.labels:
        return "folder", []
    if len(found) > 1:
        both = " or ".join(sorted(found))
        raise UserError(f"--prompt={path} holds annotations in several formats; choose one: prompt.format={both}")
    if not found and files is None and pairs_beside(store):
        return "beside", []
    if not found:
        shown = shorten([printable(name) for name in store.children()] if files is None else listed)
        titles = ", ".join(each.title for each in FORMATS.values())
        raise UserError(
            f"--prompt={path} holds no annotations of a known format. Expected: images/ and labels/, images beside"
            f" masks of the same name, or a file of {titles}. Found: {shown}"
        )
    ((kind, paths),) = found.items()
    if kind in FORMATS and FORMATS[kind].single and len(paths) > 1:
        raise UserError(f"--prompt={path} holds {shorten(paths)}; name one of them: --prompt={store.where}/{paths[0]}")
    return kind, paths


def _annotation_files(store: Store, files: Sequence[str]) -> dict[str, list[str]]:
    """Returns the files of each format; JSON and XML files of other kinds are left out."""
    found: dict[str, list[str]] = {}
    for path in files:
        suffix = os.path.splitext(path)[1].lower()
        candidates = {name: each for name, each in FORMATS.items() if each.suffix == suffix}
        if candidates:
            content = load_json(store, path) if suffix == ".json" else store.read(path)
            for name, each in candidates.items():
                if each.is_format(content):
                    found.setdefault(name, []).append(path)
    return found


# ---------------------------------------------------------------- shapes
def _read_drawings(
    kind: str, store: Store, paths: Sequence[str], path: str, settings: PromptFiles, void: int, reading: Reading
) -> Annotations:
    images, declared, notes = FORMATS[kind].read(store, paths, settings.stroke)
    for note in notes:
        log.warning("%s", note)
    drawings = [drawing for drawing in images if drawing.shapes]
    if not drawings:
        raise UserError(f"--prompt={path}: no pixel is annotated, there is no shape in {shorten(paths)}")
    if twice := repeated(drawing.image for drawing in drawings):
        raise UserError(f"--prompt={path}: {printable(twice[0])} is annotated twice; keep one of its annotations")
    drawings = _with_images(store, drawings, path, settings)
    given = None
    if settings.classes:
        given, _ = read_classes(store, settings.classes, void, "config key prompt.classes")
    classes, numbers, base = number_classes(
        drawings, declared, given, void, settings.background, called(store, paths[0])
    )
    hint = ", or let the pixels without a shape be one: --config.prompt.background=background"
    source = Painted(store, drawings, numbers, classes.names, base, reading)
    return Annotations(source, _several(classes, path, hint), kind)


def _with_images(store: Store, drawings: Sequence[Drawing], path: str, settings: PromptFiles) -> list[Drawing]:
    """Returns the drawings with an image; UserError names missing images unless they may be skipped."""
    there = [drawing for drawing in drawings if drawing.embedded is not None or store.exists(drawing.image)]
    missing = [drawing.image for drawing in drawings if drawing not in there]
    if not missing:
        return there
    lacking = f"--prompt={path}: {len(missing)} of {len(drawings)} annotated images are missing ({shorten(missing)})"
    if settings.missing == "refuse" or not there:
        raise UserError(f"{lacking}; put them below {store.where}, or use the others: --config.prompt.missing=skip")
    log.warning("%s; the others are used", lacking)
    return there


def _several(classes: Classes, path: str, hint: str) -> Classes:
    """Returns the classes; UserError if there are fewer than two."""
    if len(classes.names) > 1:
        return classes
    found = f"of one class, {classes.names[0]!r}" if classes.names else "void"
    raise UserError(
        f"--prompt={path}: all annotated pixels are {found}, so there is nothing to tell apart; annotate a second class"
        f"{hint}"
    )
