"""Encodes images in batches of one shape, and refuses features that cannot be searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.examples import Example
from hummingbird.retrieval.progress import Clock

Images = UInt8[np.ndarray, "B H W 3"]
STRIDE = 2 / 3  # of sliding windows, in their sides


class Encoded(NamedTuple):
    """A batch of examples with what an encoder says of them.

    Attributes:
      examples: n of them.
      features: of the N patches of each example, L2-normalised unless `raw`.
      zero: which of those are zero (see `refuse_features`).
    """

    examples: list[Example]
    features: list[Float32[np.ndarray, "N D"]]
    zero: list[Bool[np.ndarray, " N"]]


def encode(
    encoder: Encoder,
    examples: Iterator[Example],
    batch_size: int,
    clock: Clock,
    name: str,
    window: int | None = None,
    raw: bool = False,
) -> Iterator[Encoded]:
    """Encodes examples in batches.

    The last batch is padded to `batch_size` and cut again, so that a compiled encoder gets one shape only; of images of
    several shapes, those of one shape are padded to a power of two.

    Args:
      encoder: gives the features.
      examples: images.
      batch_size: images per batch.
      clock: takes the times `prepare_NAME` and `encode_NAME`.
      name: "prompt" or "query".
      window: side of the squares that slide over larger images; None: images are encoded as a whole.
      raw: leave the features as the encoder gave them.

    Raises:
      UserError: features of a wrong shape, or NaN or infinite ones (the message names the images).
    """
    while True:
        with clock(f"prepare_{name}"):
            batch = [example for _, example in zip(range(batch_size), examples, strict=False)]
        if not batch:
            return
        with clock(f"encode_{name}"):
            maps = encode_images(encoder, [example.image for example in batch], batch_size, window)
            rows = [found.reshape(-1, found.shape[-1]) for found in maps]
            units, norms = zip(*(normalise(found) for found in rows), strict=True)
            refuse_features([~np.isfinite(norm) for norm in norms], batch, "NaN or infinite")
        yield Encoded(batch, rows if raw else list(units), [norm == 0 for norm in norms])


def encode_images(
    encoder: Encoder, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], batch_size: int, window: int | None
) -> list[Float32[np.ndarray, "_ _ D"]]:
    """Encodes images of any shapes; of overlapping windows, the features of a patch are averaged."""
    patch = encoder.patch_size
    tiles = [(i, box) for i, image in enumerate(images) for box in boxes(image.shape[0], image.shape[1], window, patch)]
    shapes = dict.fromkeys(box[2:] for _, box in tiles)
    sums: dict[int, np.ndarray] = {}
    counts = [np.zeros((image.shape[0] // patch, image.shape[1] // patch, 1), np.float32) for image in images]
    for shape in shapes:
        those = [(i, top, left) for i, (top, left, *size) in tiles if tuple(size) == shape]
        for start in range(0, len(those), batch_size):
            part = those[start : start + batch_size]
            size = batch_size if len(shapes) == 1 else min(batch_size, 1 << (len(part) - 1).bit_length())
            batch = np.zeros((size, *shape, 3), np.uint8)
            for slot, (i, top, left) in enumerate(part):
                batch[slot] = images[i][top : top + shape[0], left : left + shape[1]]
            features = np.asarray(encoder(batch), np.float32)
            check_shape(features, batch, patch)
            for found, (i, top, left) in zip(features, part, strict=False):
                if i not in sums:
                    sums[i] = np.zeros((*counts[i].shape[:2], found.shape[-1]), np.float32)
                place = np.s_[top // patch : (top + shape[0]) // patch, left // patch : (left + shape[1]) // patch]
                sums[i][place] += found
                counts[i][place] += 1
    return [sums[i] / counts[i] for i in range(len(images))]


def boxes(height: int, width: int, window: int | None, patch: int) -> list[tuple[int, int, int, int]]:
    """Returns (top, left, height, width) of the windows of an image; one of its size if they do not slide.

    Example:
      >>> boxes(32, 64, 32, 16)
      [(0, 0, 32, 32), (0, 16, 32, 32), (0, 32, 32, 32)]
    """
    if window is None:
        return [(0, 0, height, width)]
    starts = []
    for side in (height, width):
        count = 1 + max(0, -int(-(side - window) // (STRIDE * window)))
        starts.append([round(at / patch) * patch for at in np.linspace(0, side - window, count)])
    return [(top, left, window, window) for top in starts[0] for left in starts[1]]


def refuse_features(bad: Sequence[Bool[np.ndarray, " _"]], batch: Sequence[Example], what: str) -> None:
    """Raises UserError that counts the bad patches and names their images, if there are any."""
    count = sum(int(wrong.sum()) for wrong in bad)
    if count:
        names = [example.name for example, wrong in zip(batch, bad, strict=True) if wrong.any()]
        raise UserError(
            f"encoder: {count} patch features are {what}, in {len(names)} image(s): {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}; check the checkpoint and its data type"
        )


def check_shape(features: np.ndarray, images: Images, patch: int) -> None:
    """Raises UserError unless features of images [B, H, W, 3] are [B, H / patch, W / patch, D]."""
    expected = (len(images), images.shape[1] // patch, images.shape[2] // patch)
    if features.ndim != 4 or features.shape[:3] != expected:
        raise UserError(
            f"encoder: features have shape {features.shape}, expected ({', '.join(map(str, expected))}, D) for images "
            f"of {images.shape[1]}x{images.shape[2]} and patch_size {patch}"
        )
