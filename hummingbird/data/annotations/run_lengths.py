"""Masks as run lengths, in the forms that COCO, CVAT and Label Studio write.

All but Label Studio's list the lengths of alternating runs of 0 and 1, beginning with 0: down the columns in COCO,
along the rows in CVAT.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from hummingbird.data.interface import Unreadable

Pixels = Bool[np.ndarray, "H W"]


def by_columns(counts: Sequence[int], height: int, width: int) -> Pixels:
    """Decodes COCO's run lengths.

    Raises:
      Unreadable: they do not add up to the size of the image.

    Example:
      >>> by_columns([1, 2, 1], 2, 2).astype(int)
      array([[0, 1],
             [1, 0]])
    """
    return _expand(counts, height * width).reshape(width, height).T


def by_rows(counts: Sequence[int], height: int, width: int) -> Pixels:
    """Decodes CVAT's run lengths. Raises as `by_columns` does."""
    return _expand(counts, height * width).reshape(height, width)


def _expand(counts: Sequence[int], size: int) -> Bool[np.ndarray, " {size}"]:
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size:
        raise Unreadable(f"run lengths of a mask add up to {lengths.sum()} pixels, expected {size}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def coco_counts(text: str) -> list[int]:
    """Decodes COCO's compressed run lengths to a list of lengths.

    Each character holds five bits of a number, the lowest first, and whether more follow; from the third number on,
    what is stored is the difference to the number before the last.

    Raises:
      Unreadable: the text ends within a number, or holds other characters.

    Example:
      >>> coco_counts("1234")
      [1, 2, 3, 6]
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode():
        bits = code - 48
        if not 0 <= bits < 64:
            raise Unreadable(f"compressed run lengths hold the character {chr(code)!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise Unreadable("compressed run lengths end within a number")
    return counts


def label_studio(values: Sequence[int], height: int, width: int) -> Pixels:
    """Decodes the brush strokes of Label Studio: run lengths of an RGBA picture, packed into bits.

    A header gives the number of values, their width in bits, and four widths of lengths. Blocks follow: one bit says
    whether a single value is repeated or all are listed, two choose the width of the length, then come the length, less
    one, and the values. A pixel is painted where its alpha is not 0.

    Args:
      values: the packed bytes.
      height, width: of the picture.

    Raises:
      Unreadable: the bits end early, or the size is another.
    """
    try:
        packed = np.asarray(values, np.uint8)
    except (OverflowError, TypeError, ValueError):
        raise Unreadable("a brush stroke holds values that are not bytes") from None
    size = height * width * 4
    reader = _Bits(packed)
    count, word = reader.take(32), reader.take(5) + 1
    widths = [reader.take(4) + 1 for _ in range(4)]
    if count != size or word > 8:
        raise Unreadable(f"a brush stroke has {count} values, expected {size} for {width}x{height} pixels")
    found, position = np.zeros(count, np.uint8), 0
    while position < count:
        repeated, kind = reader.take(1), reader.take(2)
        end = position + reader.take(widths[kind]) + 1
        found[position:end] = reader.take(word) if repeated else reader.words(end - position, word)[: count - position]
        position = end
    return found.reshape(height, width, 4)[..., 3] > 0


class _Bits:
    """Reads numbers from packed bits, the highest bit first."""

    def __init__(self, packed: UInt8[np.ndarray, " n"]):
        self._bits, self._position = np.unpackbits(packed), 0

    def words(self, count: int, width: int) -> UInt8[np.ndarray, " {count}"]:
        """Reads `count` numbers of at most 8 bits."""
        start, self._position = self._position, self._position + count * width
        if self._position > len(self._bits):
            raise Unreadable("the bits of a brush stroke end early")
        words = self._bits[start : self._position].reshape(count, width)
        return np.packbits(np.pad(words, ((0, 0), (8 - width, 0))), axis=1)[:, 0]

    def take(self, width: int) -> int:
        """Reads a number."""
        start, self._position = self._position, self._position + width
        if self._position > len(self._bits):
            raise Unreadable("the bits of a brush stroke end early")
        return int.from_bytes(np.packbits(np.pad(self._bits[start : self._position], (-width % 8, 0))).tobytes())
