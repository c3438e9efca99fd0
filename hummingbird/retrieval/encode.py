"""Encodes images in batches of one size, and refuses features that cannot be searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32

from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.examples import Example
from hummingbird.retrieval.progress import Clock


def encode(
    encoder: Encoder, examples: Iterator[Example], batch_size: int, clock: Clock, name: str
) -> Iterator[tuple[list[Example], Float32[np.ndarray, "n N D"], Bool[np.ndarray, "n N"]]]:
    """Encodes examples in batches.

    The last batch is padded to `batch_size` and cut again, so that a compiled encoder gets one shape only.

    Args:
      encoder: gives the features.
      examples: images of one size.
      batch_size: images per batch.
      clock: takes the times `prepare_NAME` and `encode_NAME`.
      name: "prompt" or "query".

    Yields:
      n examples, the features of their N patches, L2-normalised, and which of those are zero (see `refuse_features`).

    Raises:
      UserError: features of a wrong shape, or NaN or infinite ones (the message names the images).
    """
    while True:
        with clock(f"prepare_{name}"):
            batch = [example for _, example in zip(range(batch_size), examples, strict=False)]
        if not batch:
            return
        with clock(f"encode_{name}"):
            images = np.zeros((batch_size, *batch[0].image.shape), np.uint8)
            for slot, example in enumerate(batch):
                images[slot] = example.image
            features = np.asarray(encoder(images), np.float32)
            check_shape(features, images, encoder.patch_size)
            features = features[: len(batch)].reshape(len(batch), -1, features.shape[-1])
            unit, norm = normalise(features)
            refuse_features(~np.isfinite(norm), batch, "NaN or infinite")
        yield batch, unit, norm == 0


def refuse_features(bad: Bool[np.ndarray, "n N"], batch: Sequence[Example], what: str) -> None:
    """Raises UserError that counts the bad patches and names their images, if there are any."""
    if bad.any():
        names = [example.name for example, wrong in zip(batch, bad, strict=True) if wrong.any()]
        raise UserError(
            f"encoder: {int(bad.sum())} patch features are {what}, in {len(names)} image(s): {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}; check the checkpoint and its data type"
        )


def check_shape(features: np.ndarray, images: np.ndarray, patch: int) -> None:
    """Raises UserError unless features of images [B, H, W, 3] are [B, H / patch, W / patch, D]."""
    expected = (len(images), images.shape[1] // patch, images.shape[2] // patch)
    if features.ndim != 4 or features.shape[:3] != expected:
        raise UserError(
            f"encoder: features have shape {features.shape}, expected ({', '.join(map(str, expected))}, D) for images "
            f"of {images.shape[1]}x{images.shape[2]} and patch_size {patch}"
        )
