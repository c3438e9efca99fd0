"""What every data set offers, whatever it is read from: a sequence of items, and a fingerprint of its content.

`len(source)` is the number of images and `source[i]` is a pure function of `i`, so order, sharding and resuming are
left to the input pipeline. A source raises `Unreadable` for an item that it cannot read.
"""

from __future__ import annotations

from typing import Protocol, TypedDict, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from hummingbird.errors import UserError, first_line


class Unreadable(UserError):
    """A file that cannot be read, or holds no usable image, mask or depth map; the message names it and the reason."""


def reason(error: OSError) -> str:
    """Says why a file could not be read."""
    return error.strerror or first_line(error)


class DenseItem(TypedDict):
    """An image with a label for each pixel.

    Attributes:
      image: RGB.
      label: class ids (the source's `ignore` where void), or depth in metres (0 where invalid).
      name: unique within the source.
    """

    image: UInt8[np.ndarray, "H W 3"]
    label: Int32[np.ndarray, "H W"] | Float32[np.ndarray, "H W"]
    name: str


class ImageItem(TypedDict):
    """An image to pretrain on.

    Attributes:
      image: RGB, or the bytes of an encoded file, which are decoded no larger than the crops need.
      label: class id; -1 if there is none.
    """

    image: UInt8[np.ndarray, "H W 3"] | bytes
    label: int


Item = TypeVar("Item", covariant=True)


@runtime_checkable
class DenseSource(Protocol):
    """Images with dense labels, to retrieve from or to predict; sizes may differ from item to item.

    Attributes:
      task: "segmentation" or "depth".
      classes: class names by id; empty for depth.
      ignore: class id of void pixels.
      fingerprint: identifies the data; equal fingerprints mean equal items.

    Two more attributes are optional, for the protocols of other projects: `void_class` names the class that void
    pixels, 0 in the files, form there ("": none), and `incomparable` says why scores would not compare with those of
    open-hummingbird-eval, or of DIP, which evaluates with a copy of it ("": they do).

    If the fingerprint covers only the sizes of files, the source also has `content`, a digest of its labels, on
    which memory banks on disk depend.
    """

    task: str
    classes: list[str]
    ignore: int
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> DenseItem: ...


@runtime_checkable
class ImageSource(Protocol):
    """Images to pretrain on.

    Attributes:
      fingerprint: identifies the data; equal fingerprints mean equal items.
    """

    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> ImageItem: ...


@runtime_checkable
class Readable(Protocol[Item]):
    """Items of one kind by number, as both kinds of sources are."""

    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


def image_name(source: object, index: int) -> str:
    """Names an image for messages without reading it: by its file if the source knows it, else by its number."""
    name = getattr(source, "name", None)
    return name(index) if name else f"image {index}"
