"""Encodes images as one unit vector each, in batches of one shape."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.recognition.pooled import POOLING
from hummingbird.retrieval.threads import in_order


class Inputs(Protocol):
    """Images that are ready for the encoder.

    Attributes:
      fingerprint: identifies images and labels.
    """

    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[UInt8[np.ndarray, "h w 3"], int]:
        """Returns an encoder input and its label."""
        ...

    def name(self, index: int, /) -> str: ...


class Embedded(NamedTuple):
    """Features of N images.

    Attributes:
      units: L2-normalised; a zero feature stays zero.
      norms: of the features as the encoder gave them.
      labels: class ids.
    """

    units: Float32[np.ndarray, "N D"]
    norms: Float32[np.ndarray, " N"]
    labels: Int32[np.ndarray, " N"]

    def take(self, rows: np.ndarray) -> Embedded:
        """Returns some of the images."""
        return Embedded(*(column[rows] for column in self))

    def raw(self) -> Float32[np.ndarray, "N D"]:
        """Returns the features as the encoder gave them."""
        return self.units * self.norms[:, None]


class Batch(NamedTuple):
    """Features of some images, numbered by `rows`."""

    rows: list[int]
    embedded: Embedded


def embed(encoder: Encoder, pooling: str, inputs: Inputs, rows: Sequence[int], batch_size: int) -> Iterator[Batch]:
    """Encodes images; those of one shape are encoded together, and the last ones of a shape are padded.

    Args:
      encoder: gives the features.
      pooling: key of `pooled.POOLING`.
      inputs: images.
      rows: which of them.
      batch_size: images a batch.

    Yields:
      Batches in any order of the rows, if shapes differ; else in theirs.

    Raises:
      UserError: NaN or infinite features, or an image that cannot be read; the message names it.
    """
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray, int]]] = collections.defaultdict(list)
    for row, (image, label) in zip(rows, in_order(inputs.__getitem__, rows), strict=True):
        group = waiting[image.shape]
        group.append((row, image, label))
        if len(group) == batch_size:
            yield encode(encoder, pooling, waiting.pop(image.shape), batch_size, inputs)
    for group in waiting.values():
        yield encode(encoder, pooling, group, batch_size, inputs)


def encode(
    encoder: Encoder, pooling: str, group: Sequence[tuple[int, np.ndarray, int]], batch_size: int, inputs: Inputs
) -> Batch:
    """Encodes images of one shape, padded to `batch_size`: row, image and label of each."""
    rows, images, labels = zip(*group, strict=True)
    batch = np.zeros((batch_size, *images[0].shape), np.uint8)
    batch[: len(images)] = images
    features = np.asarray(POOLING[pooling](encoder, batch), np.float32)[: len(images)]
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64)).astype(np.float32)
    bad = [row for row, norm in zip(rows, norms, strict=True) if not np.isfinite(norm)]
    if bad:
        names = ", ".join(inputs.name(row) for row in bad[:5])
        raise UserError(
            f"encoder: the features of {len(bad)} image(s) are NaN or infinite: {names}{', ...' * (len(bad) > 5)}; "
            "check the checkpoint and its data type"
        )
    units = features / np.where(norms > 0, norms, 1)[:, None]
    return Batch(list(rows), Embedded(units, norms, np.array(labels, np.int32)))
