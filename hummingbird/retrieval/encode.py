"""Encodes images in batches of one shape, and refuses features that cannot be searched."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float32, UInt8
from numpy.typing import ArrayLike

from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.gradients.incontext import GradientEncoder
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.examples import Example
from hummingbird.retrieval.patch_features import DeviceMaps, PatchFeatures
from hummingbird.retrieval.progress import Clock

Images = UInt8[np.ndarray, "B H W 3"]
STRIDE = 2 / 3  # of sliding windows, in their sides


class Encoded(NamedTuple):
    """A batch of examples with what an encoder says of them.

    Attributes:
      examples: n of them.
      features: of their patches, L2-normalised unless `raw`.
      zero: which of those are zero (see `refuse_features`).
    """

    examples: list[Example]
    features: PatchFeatures
    zero: list[Bool[np.ndarray, " N"]]


def encode(
    encoder: Encoder,
    examples: Iterator[Example],
    batch_size: int,
    clock: Clock,
    name: str,
    window: int | None = None,
    raw: bool = False,
    dtype: str = "float32",
) -> Iterator[Encoded]:
    """Encodes examples in batches; on an accelerator, the next batch begins before one is waited for.

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
      dtype: that normalised features may be rounded to, "float32" or "bfloat16".

    Raises:
      UserError: features of a wrong shape, or NaN or infinite ones (the message names the images).
    """
    begun: collections.deque[tuple[list[Example], Begun]] = collections.deque()
    more = True
    while more or begun:
        with clock(f"prepare_{name}"):
            batch = [example for _, example in zip(range(batch_size), examples, strict=False)]
        more = bool(batch)
        if more:
            with clock(f"encode_{name}"):
                images = [example.image for example in batch]
                numbers = [example.index if name == "prompt" else None for example in batch]
                begun.append((batch, begin(encoder, images, batch_size, window, raw, dtype, numbers)))
        if not begun or (more and len(begun) <= on_accelerator()):
            continue
        batch, (features, found) = begun.popleft()
        with clock(f"encode_{name}"):
            norms = list(jax.device_get(found))[: len(batch)]  # in one transfer
            refuse_features([~np.isfinite(norm) for norm in norms], batch, "NaN or infinite")
        yield Encoded(batch, features, [norm == 0 for norm in norms])


class Begun(NamedTuple):
    """Images that are being encoded.

    Attributes:
      features: of their patches.
      norms: of the features before they were normalised, of each image; those of padding follow.
    """

    features: PatchFeatures
    norms: Sequence[Float32[np.ndarray, " N"]] | Float32[Array, "b N"]


def on_accelerator() -> bool:
    """Returns whether features are worth keeping on the devices, and a batch worth beginning before one is done.

    A CPU has nothing to gain from either, and NumPy rounds alike whatever the number of devices.
    """
    return jax.default_backend() != "cpu"


def begin(
    encoder: Encoder,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    batch_size: int,
    window: int | None,
    raw: bool,
    dtype: str,
    numbers: Sequence[int | None],
) -> Begun:
    """Begins to encode images; features of our own encoders are normalised on accelerators, and stay there."""
    alike = window is None and len({image.shape for image in images}) == 1
    if not (isinstance(encoder, FrozenEncoder) and alike and on_accelerator()) or raw:
        maps = encode_images(encoder, images, batch_size, window, numbers)
        rows = [found.reshape(-1, found.shape[-1]) for found in maps]
        units, norms = zip(*(normalise(found) for found in rows), strict=True)
        return Begun(PatchFeatures(rows if raw else units), norms)
    batch = np.zeros((batch_size, *images[0].shape), np.uint8)
    batch[: len(images)] = images
    units, norms = encoder.units(batch, dtype)
    check_shape(units, batch, encoder.patch_size)
    return Begun(PatchFeatures(DeviceMaps(units, len(images))), norms.reshape(len(norms), -1))


def encode_images(
    encoder: Encoder,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    batch_size: int,
    window: int | None,
    numbers: Sequence[int | None] | None = None,
) -> list[Float32[np.ndarray, "_ _ D"]]:
    """Encodes images of any shapes; of overlapping windows, the features of a patch are averaged.

    Args:
      encoder: gives the features.
      images: to encode.
      batch_size: windows per batch.
      window: side of the squares that slide over larger images; None: images are encoded as a whole.
      numbers: of prompt images, for encoders that compare them with the prompt; None for other images, or for all.
    """
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
            origins = [numbers[i] if numbers else None for i, _, _ in part] + [None] * (size - len(part))
            features = np.asarray(encode_batch(encoder, batch, origins), np.float32)
            check_shape(features, batch, patch)
            for found, (i, top, left) in zip(features, part, strict=False):
                if i not in sums:
                    sums[i] = np.zeros((*counts[i].shape[:2], found.shape[-1]), np.float32)
                place = np.s_[top // patch : (top + shape[0]) // patch, left // patch : (left + shape[1]) // patch]
                sums[i][place] += found
                counts[i][place] += 1
    return [sums[i] / counts[i] for i in range(len(images))]


def encode_batch(encoder: Encoder, batch: Images, numbers: Sequence[int | None]) -> ArrayLike:
    """Encodes a batch; features that depend on the prompt are given the numbers of prompt images."""
    return encoder.encode_prompt(batch, numbers) if isinstance(encoder, GradientEncoder) else encoder(batch)


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


def check_shape(features: np.ndarray | Array, images: Images, patch: int) -> None:
    """Raises UserError unless features of images [B, H, W, 3] are [B, H / patch, W / patch, D]."""
    expected = (len(images), images.shape[1] // patch, images.shape[2] // patch)
    if features.ndim != 4 or features.shape[:3] != expected:
        raise UserError(
            f"encoder: features have shape {features.shape}, expected ({', '.join(map(str, expected))}, D) for images "
            f"of {images.shape[1]}x{images.shape[2]} and patch_size {patch}"
        )
