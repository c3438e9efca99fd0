"""Losses of decoders: cross-entropy over pixels, SigLoss and gradients of depth, errors of values.

Outputs are resized to the size of the labels. Pixels without a label never count and carry no gradient; a batch without
any labelled pixel has loss 0.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from hummingbird.decoders.head import resize
from hummingbird.tasks.upsampling import interpolation

AUXILIARY = 0.4  # weight of the loss of an auxiliary head (mmseg)
GRADIENT = 0.5  # weight of the gradient loss beside SigLoss (DINOv2)
EPSILON = 1e-3  # added to depths before their logarithm, metres
STRIDES = (1, 2, 4, 6)  # of the maps that the gradient loss compares
WARM_UP = 100  # steps during which SigLoss leaves the variance out
# Logits at the labels' size that exist at a time; more are computed in strips of rows (512 MiB).
MOST_LOGITS = 2**27


def cross_entropy(
    logits: Float[Array, "B h w C"],
    labels: Int[Array, "B H W"],
    void: int,
    over: Literal["valid", "all"] = "valid",
) -> Float[Array, ""]:
    """Computes the mean of -log softmax(logits)_label over the pixels of a batch.

    The resized logits exist in strips of rows only, and the backward pass computes them again.

    Args:
      logits: resized bilinearly to H x W.
      labels: class ids below C, or `void`.
      void: label of pixels that do not count.
      over: "valid" divides by the pixels with a label, "all" by all pixels (mmseg's avg_non_ignore=False).

    Returns:
      The mean; 0 if every pixel is void, NaN if a label is neither a class nor void.
    """
    valid = labels != void
    total = _summed_cross_entropy(logits.astype(jnp.float32), labels, valid)
    count = valid.sum() if over == "valid" else jnp.asarray(valid.size)
    return total / jnp.maximum(count, 1)


def _summed_cross_entropy(logits: Array, labels: Array, valid: Array) -> Array:
    (batch, rows, columns, classes), (_, height, width) = logits.shape, labels.shape
    precision = jax.lax.Precision.HIGHEST
    tall = jnp.einsum("Hh,bhwc->bcHw", interpolation(rows, height), logits, precision=precision)
    strips = _strips(height, batch * width * classes)

    def strip(tall: Array, labels: Array, valid: Array) -> Array:
        whole = jnp.einsum("bcHw,Ww->bcHW", tall, interpolation(columns, width), precision=precision)
        return jnp.where(valid, _negative_log_likelihood(whole, labels), 0).sum()

    if strips == 1:
        return strip(tall, labels, valid)

    def split(x: Array, axis: int) -> Array:
        """Puts strips of rows in front."""
        return jnp.moveaxis(x.reshape(*x.shape[:axis], strips, -1, x.shape[-1]), axis, 0)

    parts = (split(tall, 2), split(labels, 1), split(valid, 1))
    add = lambda total, part: (total + jax.checkpoint(strip, prevent_cse=False)(*part), None)
    return jax.lax.scan(add, jnp.zeros(()), parts)[0]


def _strips(height: int, row: int) -> int:
    """Returns the least number of equal strips such that one of them has at most `MOST_LOGITS` logits."""
    fitting = [n for n in range(1, height + 1) if height % n == 0 and height // n * row <= MOST_LOGITS]
    return min(fitting, default=height)


def _negative_log_likelihood(logits: Float[Array, "B C H W"], labels: Int[Array, "B H W"]) -> Float[Array, "B H W"]:
    """Takes logits with the pixels of a row side by side: few classes would leave most of a vector unit empty."""
    classes = logits.shape[1]
    one_hot = labels[:, None] == jnp.arange(classes)[:, None, None]
    found = jax.nn.logsumexp(logits, axis=1) - jnp.where(one_hot, logits, 0).sum(1)
    return jnp.where((labels >= 0) & (labels < classes), found, jnp.nan)


def sig_loss(
    depth: Float[Array, "B h w 1"],
    truth: Float[Array, "B H W"],
    valid: Bool[Array, "B H W"],
    warm_up: bool | Bool[Array, ""] = False,
) -> Float[Array, ""]:
    """Computes sqrt(var(g) + 0.15 mean(g)^2) with g = log(depth + 0.001) - log(truth + 0.001) (Eigen et al. 2014).

    A constant factor c between depth and truth costs sqrt(0.15) |log c|. Mean and variance are those of the valid
    pixels of the whole batch.

    Args:
      depth: positive, metres; resized bilinearly to H x W.
      truth: metres.
      valid: pixels that count.
      warm_up: leave the variance out, as in the first `WARM_UP` steps (DINOv2).
    """
    g = _log_ratio(depth, truth, valid)
    count = valid.sum()
    mean = g.sum() / jnp.maximum(count, 1)
    variance = jnp.where(valid, (g - mean) ** 2, 0).sum() / jnp.maximum(count - 1, 1)  # torch.var
    squared = 0.15 * mean**2 + jnp.where(warm_up, 0, variance)
    # A square root has an infinite derivative at 0; a perfect prediction, or no valid pixel, gets gradient 0.
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)


def gradient_loss(
    depth: Float[Array, "B h w 1"], truth: Float[Array, "B H W"], valid: Bool[Array, "B H W"]
) -> Float[Array, ""]:
    """Compares the slopes of log depth, down and to the right, on maps of every 1st, 2nd, 4th and 6th pixel.

    On each map the sum of |g(y, x) - g(y + 2, x)| and |g(y, x) - g(y, x + 2)| over pairs of valid pixels, divided by
    its valid pixels. `sig_loss` defines g and explains the arguments. DINOv2's published heads were trained with
    differences between images and channels, since its code slices the first two axes; here they are between pixels.
    """
    g, total = _log_ratio(depth, truth, valid), jnp.zeros(())
    for stride in STRIDES:
        part, counts = g[:, ::stride, ::stride], valid[:, ::stride, ::stride]
        down = jnp.abs(part[:, 2:] - part[:, :-2]) * (counts[:, 2:] & counts[:, :-2])
        right = jnp.abs(part[:, :, 2:] - part[:, :, :-2]) * (counts[:, :, 2:] & counts[:, :, :-2])
        total = total + (down.sum() + right.sum()) / jnp.maximum(counts.sum(), 1)
    return total


def _log_ratio(depth: Array, truth: Array, valid: Array) -> Array:
    """Returns g at valid pixels, 0 elsewhere."""
    resized = resize(depth.astype(jnp.float32), *truth.shape[1:])[..., 0]
    truth = jnp.where(valid, truth, 1.0)
    return jnp.where(valid, jnp.log(jnp.where(valid, resized, 1.0) + EPSILON) - jnp.log(truth + EPSILON), 0)


def regression_loss(
    values: Float[Array, "B h w C"],
    truth: Float[Array, "B H W C"],
    valid: Bool[Array, "B H W"],
    power: Literal[1, 2] = 1,
) -> Float[Array, ""]:
    """Computes the mean of |values - truth| ^ power over the channels of valid pixels.

    Args:
      values: resized bilinearly to H x W.
      truth: in the same unit.
      valid: pixels that count.
      power: 1 or 2.
    """
    resized = resize(values.astype(jnp.float32), *truth.shape[1:3])
    apart = jnp.where(valid[..., None], resized - jnp.where(valid[..., None], truth, 0), 0)
    errors = jnp.abs(apart) if power == 1 else apart**2
    return errors.sum() / jnp.maximum(valid.sum() * math.prod(values.shape[3:]), 1)
