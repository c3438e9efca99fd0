"""Inference of decoders: the whole image, sliding windows, several scales and mirror images.

Each option takes a function images -> outputs and returns another one, all of them pure and fit for `jax.jit`. The
number of windows follows from the size of the images, so that each size compiles once. Outputs are averaged as they
are: logits, not probabilities.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from hummingbird.decoders.head import resize
from hummingbird.errors import UserError

# Pixels in [0, 1], [B, H, W, 3] -> outputs [B, h, w, C], on a grid of the function's own.
Predict: TypeAlias = Callable[[Float[Array, "B H W 3"]], Float[Array, "B _ _ C"]]


def starts(length: int, window: int, stride: int) -> tuple[int, ...]:
    """Returns where windows begin along a side; the last one is pushed inwards.

    Example:
      >>> starts(683, 512, 341), starts(512, 512, 341)
      ((0, 171), (0,))
    """
    count = max(0, -(-(length - window) // stride)) + 1
    return tuple(max(0, min(i * stride, length - window)) for i in range(count))


def check_windows(window: int, stride: int, patch: int) -> None:
    """Raises UserError unless windows are whole patches and leave no gap."""
    if window < patch:
        raise UserError(f"config key decoder.window: {window} pixels are less than a patch of {patch}; use more")
    if window % patch:
        raise UserError(f"config key decoder.window: {window} is not a multiple of the patch size {patch}")
    if not 0 < stride <= window:
        raise UserError(f"config key decoder.stride: {stride} is not between 1 and the window of {window} pixels")


def sliding(predict: Predict, window: int, stride: int, patch: int = 1) -> Predict:
    """Returns a function that predicts square windows and averages their outputs where they overlap.

    Args:
      predict: for images of window x window pixels.
      window: side, a multiple of `patch`; images are at least as large.
      stride: pixels between windows.
      patch: of the encoder.

    Returns:
      A function to outputs [B, H, W, C] at the size of the images.

    Raises:
      UserError: windows that do not fit the patches; from the function, images smaller than a window.
    """
    check_windows(window, stride, patch)

    def slide(images: Float[Array, "B H W 3"]) -> Float[Array, "B H W C"]:
        batch, height, width = images.shape[:3]
        if min(height, width) < window:
            raise UserError(f"config key decoder.window: {window} is more than images of {height}x{width} pixels")
        corners = [(y, x) for y in starts(height, window, stride) for x in starts(width, window, stride)]

        def one(corner: Array) -> Float[Array, "B window window C"]:
            part = jax.lax.dynamic_slice(images, (0, corner[0], corner[1], 0), (batch, window, window, 3))
            return resize(predict(part).astype(jnp.float32), window, window)

        def add(total: Array, corner: Array) -> tuple[Array, None]:
            at, part = (0, corner[0], corner[1], 0), one(corner)
            old = jax.lax.dynamic_slice(total, at, part.shape)
            return jax.lax.dynamic_update_slice(total, old + part, at), None

        channels = jax.eval_shape(one, jnp.zeros(2, jnp.int32)).shape[-1]
        total = jnp.zeros((batch, height, width, channels), jnp.float32)
        total, _ = jax.lax.scan(add, total, jnp.asarray(corners, jnp.int32))
        return total / _overlaps(height, width, window, corners)[None, :, :, None]

    return slide


def _overlaps(height: int, width: int, window: int, corners: Sequence[tuple[int, int]]) -> Float[np.ndarray, "H W"]:
    """Counts the windows that hold each pixel."""
    counts = np.zeros((height, width), np.float32)
    for y, x in corners:
        counts[y : y + window, x : x + window] += 1
    return counts


def scaled(predict: Predict, scales: Sequence[float], patch: int, smallest: int = 0) -> Predict:
    """Returns a function that averages outputs over scales of the images.

    Args:
      predict: for images of any size that `patch` divides.
      scales: factors of the sides, which are rounded to multiples of `patch`.
      patch: of the encoder.
      smallest: least side that images are resized to, that of a window.

    Returns:
      A function to outputs [B, H, W, C] at the size of the images.
    """
    if not scales or min(scales) <= 0:
        raise UserError(f"config key decoder.scales: {list(scales)} must be positive numbers, for example 0.75,1,1.25")

    def predicted(images: Float[Array, "B H W 3"]) -> Float[Array, "B H W C"]:
        batch, height, width = images.shape[:3]
        total = jnp.zeros((), jnp.float32)
        for scale in scales:
            sides = [max(patch, smallest, round(side * scale / patch) * patch) for side in (height, width)]
            # Antialiased, as all images here are resized.
            resized = jax.image.resize(images, (batch, *sides, 3), "bilinear") if scale != 1 else images
            total = total + resize(predict(resized).astype(jnp.float32), height, width)
        return total / len(scales)

    return predicted


def mirrored(predict: Predict, negated: tuple[int, ...] = ()) -> Predict:
    """Returns a function that averages outputs over images and their mirror images.

    Args:
      predict: for images.
      negated: channels that change their sign in a mirror, such as the horizontal part of a normal.
    """

    def averaged(images: Float[Array, "B H W 3"]) -> Float[Array, "B _ _ C"]:
        plain, mirror = predict(images), predict(images[:, :, ::-1])[:, :, ::-1]
        signs = np.ones(plain.shape[-1], np.float32)
        signs[list(negated)] = -1
        return (plain + signs * mirror) / 2

    return averaged


def as_votes(logits: Float[Array, "B h w C"]) -> Float[Array, "B h w C"]:
    """Returns positive votes with the same winners, also after bilinear upsampling, for `Task.predict`.

    The weights of upsampling sum to 1, so that the constant of an image changes no comparison.
    """
    return logits - logits.min(axis=(1, 2, 3), keepdims=True) + 1
