"""Drawings as a dense source: shapes are painted over one another into masks of class ids."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int32, Shaped, UInt8

from hummingbird.data.annotations.interface import Classes, Drawing, Label, Size
from hummingbird.data.image_files import image_size
from hummingbird.data.interface import DenseItem, Unreadable
from hummingbird.data.label_files import IGNORE, MAX_ID
from hummingbird.data.names import names_fingerprint, printable, repeated, shorten
from hummingbird.data.pairs import Reading, decode_to_fit
from hummingbird.data.store import Store
from hummingbird.errors import UserError
from hummingbird.tasks.drawing import BACKGROUND_CLASSES, class_colours

log = logging.getLogger(__name__)

VOID_NAMES = ("__ignore__", "ignore", "void")  # classes of shapes that mark pixels as void
MOST = 254  # classes without ids of their own: they get 1 to 254, beside 0 and 255


class Painted:
    """A dense source of drawings.

    Args:
      store: holds the images.
      drawings: one for each image.
      numbers: class id of each label, `IGNORE` for void.
      classes: class names by id.
      base: class id of pixels that no shape covers.
      reading: how images are decoded.
    """

    task, ignore = "segmentation", IGNORE

    def __init__(
        self,
        store: Store,
        drawings: Sequence[Drawing],
        numbers: Mapping[str, int],
        classes: Sequence[str],
        base: int,
        reading: Reading,
    ):
        self._store, self._drawings, self._reading = store, list(drawings), reading
        self._numbers, self._base, self.classes = dict(numbers), base, list(classes)
        self.fingerprint = f"painted images={len(drawings)} {names_fingerprint(drawing.image for drawing in drawings)}"

    def __len__(self) -> int:
        return len(self._drawings)

    def __getitem__(self, index: int) -> DenseItem:
        drawing = self._drawings[index]
        data = self._store.read(drawing.image) if drawing.embedded is None else drawing.embedded
        name = printable(drawing.image)
        size = drawing.size or image_size(data, name)[::-1]
        image = decode_to_fit(data, name, size, self._reading)
        if drawing.size not in (None, image.shape[:2]):
            (height, width), (h, w) = drawing.size, image.shape[:2]
            raise Unreadable(f"{drawing.where} is for an image of {width}x{height} pixels, but {name} is {w}x{h}")
        return {"image": image, "label": self._paint(drawing, image.shape[:2]), "name": name.rpartition(".")[0] or name}

    def _paint(self, drawing: Drawing, size: Size) -> Int32[np.ndarray, "H W"]:
        height, width = size
        label = np.full(size, self._base, np.int32)
        empty: list[str] = []
        for shape in drawing.shapes:
            try:
                pixels = shape.draw(height, width)
            except Unreadable as error:
                raise Unreadable(f"{drawing.where}: {shape.label}: {error}") from error
            label[pixels] = self._numbers[shape.label]
            if not pixels.any():
                empty.append(shape.label)
        if empty:
            message = (
                f"{drawing.where}: {len(empty)} of {len(drawing.shapes)} shapes cover no pixel of the image, which is"
                f" {width}x{height} ({shorten(sorted(set(empty)))}): they lie outside, or are smaller than a pixel"
            )
            if len(empty) == len(drawing.shapes):
                raise Unreadable(f"{message}; check that they were drawn on this image, at this size")
            log.warning("%s", message)
        return label


def content_digest(image: UInt8[np.ndarray, "H W 3"], label: Shaped[np.ndarray, "H W *C"]) -> str:
    """Returns twelve hexadecimal digits that depend on every pixel of an image and its label."""
    digest = hashlib.sha256(repr((image.shape, label.dtype.str)).encode())
    for array in (image, label):
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


# ---------------------------------------------------------------- classes
def number_classes(
    drawings: Sequence[Drawing],
    declared: Sequence[Label],
    given: Mapping[int, str] | None,
    void: int,
    background: str,
    where: str,
) -> tuple[Classes, dict[str, int], int]:
    """Gives classes the ids that masks store.

    A class keeps the id that its annotations declare; `given` decides where there is none. Otherwise classes are
    counted from 1 in the order in which they are declared, or by name; 0 is for one that is called background.

    Args:
      drawings: their shapes name the classes.
      declared: classes as the annotations declare them; those that are not drawn get a colour only.
      given: names by id, from the user; None: none.
      void: the id that masks store for void pixels.
      background: name of the class of pixels that no shape covers; "": they are void.
      where: the annotations, for errors.

    Returns:
      The classes that are drawn, in the order of their ids; the number of each label among them, or `IGNORE`; and the
      number of pixels that no shape covers.

    Raises:
      UserError: a class named twice, drawn without an id, or with an id that marks void pixels.
    """
    if twice := repeated(label.name for label in declared):
        raise UserError(f"{where}: two classes are called {twice[0]!r}; rename one")
    drawn = {shape.label for drawing in drawings for shape in drawing.shapes}
    voids = {name for name in drawn if name.casefold() in VOID_NAMES}
    names = [label.name for label in declared if label.name.casefold() not in VOID_NAMES]
    names += sorted(drawn - voids - set(names))
    if background and background not in names:
        names.insert(0, background)
    if given is None:
        ids = _own_ids(names, declared, background, where)
    else:
        ids = {name: stored for stored, name in given.items()}
    used = [name for name in names if name in drawn or name == background]
    if lacking := [name for name in used if name not in ids]:
        raise UserError(f"config key prompt.classes: it gives no id to {shorten(lacking)} of {where}")
    used.sort(key=ids.__getitem__)
    if clash := [name for name in used if ids[name] == void]:
        raise UserError(f"{where}: class {clash[0]!r} has the id {void} of void pixels; change it by void")
    if len(used) > IGNORE:
        raise UserError(f"{where}: {len(used)} classes are drawn; at most {IGNORE} are supported")
    colours = {label.name: label.colour for label in declared}
    painted = {name: colours.get(name) or tuple(own) for name, own in zip(names, class_colours(names), strict=True)}
    classes = Classes(
        tuple(ids[name] for name in used),
        tuple(used),
        np.array([painted[name] for name in used], np.uint8).reshape(-1, 3),
        void,
    )
    numbers = {name: number for number, name in enumerate(used)} | dict.fromkeys(voids, IGNORE)
    return classes, numbers, numbers[background] if background else IGNORE


def _own_ids(names: Sequence[str], declared: Sequence[Label], background: str, where: str) -> dict[str, int]:
    """Returns the declared ids, and counts where there are none."""
    stored = {label.name: label.id for label in declared if label.id is not None}
    if not stored:
        first = next((name for name in names if _is_background(name) or name == background), None)
        counted = [name for name in names if name != first]
        if len(counted) > MOST:
            raise UserError(f"{where}: {len(counted)} classes without ids; give ids by prompt.classes=FILE")
        return {name: number for number, name in enumerate(counted, 1)} | ({} if first is None else {first: 0})
    if wrong := [name for name, number in stored.items() if not 0 <= number <= MAX_ID]:
        raise UserError(f"{where}: class {wrong[0]!r} has the id {stored[wrong[0]]}; masks hold 0 to {MAX_ID}")
    if background and background not in stored:
        if 0 in stored.values():
            raise UserError(f"{where}: id 0 is taken, so prompt.background has to name an existing class")
        stored[background] = 0
    return stored


def _is_background(name: str) -> bool:
    return name.casefold().strip("_") in BACKGROUND_CLASSES and name.casefold() not in VOID_NAMES
