"""What every reader of annotations returns: images with their drawings, and what is known about the classes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from hummingbird.data.interface import Unreadable
from hummingbird.data.names import decode_text, printable
from hummingbird.data.store import Store
from hummingbird.errors import first_line

Size = tuple[int, int]  # height and width, pixels
WHITE = np.full(3, 255, np.uint8)
STROKE = 0.01  # thickness of strokes without one, as a share of the image's shorter side


class Shape(NamedTuple):
    """An area of one class.

    Attributes:
      label: name of the class, as annotated.
      draw: (height, width) -> the pixels that it covers.
    """

    label: str
    draw: Callable[[int, int], Bool[np.ndarray, "H W"]]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """An image and what is drawn on it.

    Attributes:
      image: path of the file in the store.
      where: the annotation, for errors.
      shapes: in the order in which they are painted; later ones cover earlier ones.
      size: of the image, as the annotation has it; None: it does not say.
      embedded: the encoded image, if the annotation holds it.
    """

    image: str
    where: str
    shapes: Sequence[Shape]
    size: Size | None = None
    embedded: bytes | None = None


class Label(NamedTuple):
    """A class as its annotations declare it.

    Attributes:
      name: as shapes name it.
      id: its number; None: it has none.
      colour: red, green and blue; None: it has none.
    """

    name: str
    id: int | None = None
    colour: tuple[int, int, int] | None = None


class Drawings(NamedTuple):
    """What an annotation file, or several of them, hold.

    Attributes:
      images: all images with at least one shape.
      labels: the classes that are declared, in that order; classes of shapes that are not among them follow by name.
      notes: what was left out, for the user.
    """

    images: Sequence[Drawing]
    labels: Sequence[Label] = ()
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Classes:
    """Classes of masks as the user stores them.

    Attributes:
      ids: the number that stands for each class in a mask.
      names: of the classes.
      colours: of the classes.
      void: the number of pixels without a class.
      stored: the palette of the user's masks; None: they have none.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    colours: UInt8[np.ndarray, "C 3"]
    void: int
    stored: UInt8[np.ndarray, "256 3"] | None = None

    @property
    def palette(self) -> UInt8[np.ndarray, "256 3"]:
        """The colour of each id below 256: the user's palette, or the classes' colours, and white for void."""
        if self.stored is not None:
            return self.stored
        found = np.zeros((256, 3), np.uint8)
        for number, colour in zip((*self.ids, self.void), (*self.colours, WHITE), strict=True):
            if number < len(found):
                found[number] = colour
        return found


# ---------------------------------------------------------------- JSON
def load_json(store: Store, path: str) -> object:
    """Parses a JSON file. Raises Unreadable: it is broken, or not text."""
    where = called(store, path)
    try:
        return json.loads(decode_text(store.read(path), where))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{where} is broken JSON: {first_line(error)}") from error


def called(store: Store, path: str) -> str:
    """Names a file of a store in messages."""
    return printable(f"{store.where}/{path}")


def item(content: object, key: str, where: str) -> Mapping[str, object]:
    """Returns the JSON object under a key, {} if there is none. Raises Unreadable: there is something else."""
    found = _get(content, key, where)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise _wrong(where, key, "an object")
    return found


def items(content: object, key: str, where: str) -> list[Mapping[str, object]]:
    """Returns the JSON objects listed under a key, [] if there is none. Raises Unreadable: there is something else."""
    found = _get(content, key, where)
    if not isinstance(found, list | None) or not all(isinstance(one, Mapping) for one in found or ()):
        raise _wrong(where, key, "a list of objects")
    return list(found or ())


def text(content: object, key: str, where: str) -> str:
    """Returns the text under a key. Raises Unreadable: there is none."""
    found = _get(content, key, where)
    if not isinstance(found, str):
        raise _wrong(where, key, "text")
    return found


def number(content: object, key: str, where: str) -> float:
    """Returns the number under a key. Raises Unreadable: there is none."""
    found = _get(content, key, where)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _wrong(where, key, "a number")
    return float(found)


def points(content: object, key: str, where: str) -> list[tuple[float, float]]:
    """Returns the pairs of numbers listed under a key. Raises Unreadable: there is something else."""
    found = _get(content, key, where)
    try:
        return [(float(x), float(y)) for x, y in found]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
    except (TypeError, ValueError):
        raise _wrong(where, key, "a list of points [x, y]") from None


def size(content: object, where: str, height: str = "height", width: str = "width") -> Size | None:
    """Returns the size of an image under two keys, None if it is not stated."""
    if _get(content, height, where) is None or _get(content, width, where) is None:
        return None
    return int(number(content, height, where)), int(number(content, width, where))


def _get(content: object, key: str, where: str) -> object:
    if not isinstance(content, Mapping):
        raise Unreadable(f"{where} holds {type(content).__name__} where an object is expected")
    return content.get(key)


def _wrong(where: str, key: str, expected: str) -> Unreadable:
    return Unreadable(f"{where}: {key} is missing, or not {expected}")
