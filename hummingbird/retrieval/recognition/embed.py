"""Encodes images as one unit vector each, in batches of one shape."""

from __future__ import annotations

import collections
import zlib
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from hummingbird.errors import UserError
from hummingbird.retrieval.threads import in_order


class Prepared(NamedTuple):
    """An image for the encoder.

    Attributes:
      image: encoder input.
      label: class id.
      whole: the image before it was prepared; None where nobody needs it.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: int
    whole: UInt8[np.ndarray, "H W 3"] | None = None


class Inputs(Protocol):
    """Images that are ready for the encoder.

    Attributes:
      fingerprint: identifies images and labels.
    """

    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Prepared: ...

    def name(self, index: int, /) -> str: ...


class Embedded(NamedTuple):
    """Features of N images.

    Attributes:
      units: L2-normalised, or parts that are; a zero feature stays zero.
      norms: of the features as the encoder gave them; 1 for parts.
      labels: class ids.
    """

    units: Float32[np.ndarray, "N D"]
    norms: Float32[np.ndarray, " N"]
    labels: Int32[np.ndarray, " N"]

    def take(self, rows: np.ndarray) -> Embedded:
        """Returns some of the images."""
        return Embedded(*(column[rows] for column in self))

    def columns(self, chosen: np.ndarray) -> Embedded:
        """Returns some of the features, scaled as before."""
        if len(chosen) == self.units.shape[1]:
            return self
        return self._replace(units=self.units[:, chosen])

    def raw(self) -> Float32[np.ndarray, "N D"]:
        """Returns the features as the encoder gave them."""
        return self.units * self.norms[:, None]


class Vectors(Protocol):
    """Makes a vector of each image.

    Attributes:
      padded: whether batches are padded to one size, for encoders that are compiled.
    """

    padded: ClassVar[bool]

    def __call__(
        self, images: UInt8[np.ndarray, "B H W 3"], wholes: Sequence[UInt8[np.ndarray, "_ _ 3"]], ids: Sequence[int], /
    ) -> Float32[np.ndarray, "B D"]:
        """Returns features of images of one size; `wholes` are those images before they were prepared, if needed."""
        ...

    def units(self, features: Float32[np.ndarray, "B D"], norms: Float32[np.ndarray, " B"], /) -> Embedded:
        """Returns features as they are compared, without labels (all 0)."""
        ...


class Batch(NamedTuple):
    """Features of some images, numbered by `rows`."""

    rows: list[int]
    embedded: Embedded


def image_id(name: str) -> int:
    """Returns a number that identifies an image by its name, whichever split it is in."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


def embed(vectors: Vectors, inputs: Inputs, rows: Sequence[int], batch_size: int) -> Iterator[Batch]:
    """Encodes images; those of one shape are encoded together.

    Args:
      vectors: gives the features.
      inputs: images.
      rows: which of them.
      batch_size: images a batch.

    Yields:
      Batches in the order of the rows if all images have one shape, else in any order.

    Raises:
      UserError: NaN or infinite features, or an image that cannot be read; the message names it.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, Prepared]]] = collections.defaultdict(list)
    for row, prepared in zip(rows, in_order(inputs.__getitem__, rows), strict=True):
        shape = prepared.image.shape
        waiting[shape].append((row, prepared))
        if len(waiting[shape]) == batch_size:
            yield encode(vectors, waiting.pop(shape), batch_size, inputs)
    for group in waiting.values():
        yield encode(vectors, group, batch_size, inputs)


def encode(vectors: Vectors, group: Sequence[tuple[int, Prepared]], batch_size: int, inputs: Inputs) -> Batch:
    """Encodes images of one shape: row and image of each."""
    rows, images = zip(*group, strict=True)
    batch = np.zeros((batch_size if vectors.padded else len(images), *images[0].image.shape), np.uint8)
    batch[: len(images)] = [prepared.image for prepared in images]
    wholes = [prepared.whole for prepared in images if prepared.whole is not None]
    ids = [image_id(inputs.name(row)) for row in rows]
    features = np.asarray(vectors(batch, wholes, ids), np.float32)[: len(images)]
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64)).astype(np.float32)
    bad = [row for row, norm in zip(rows, norms, strict=True) if not np.isfinite(norm)]
    if bad:
        names = ", ".join(inputs.name(row) for row in bad[:5])
        raise UserError(
            f"encoder: the features of {len(bad)} image(s) are NaN or infinite: {names}{', ...' * (len(bad) > 5)}; "
            "check the checkpoint and its data type"
        )
    labels = np.array([prepared.label for prepared in images], np.int32)
    return Batch(list(rows), vectors.units(features, norms)._replace(labels=labels))
