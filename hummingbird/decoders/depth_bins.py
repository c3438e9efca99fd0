"""Depth as the expectation over bins (AdaBins; DINOv2's and DINOv3's linear depth evaluation)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.decoders.head import CLASSIFIER, MOMENTUM, Decoded, Head, resize, side_by_side
from hummingbird.models.attention import Dense
from hummingbird.models.heads import batch_norm


class DepthBins(Head):
    """A linear layer to the weights of depths at equal distances; the output is their weighted mean, in metres.

    With r = relu(W x + b) + 0.1 the depth is sum_b r_b c_b / sum_b r_b, the centres c from `low` to `high`. DINOv2
    upsamples the features before the product (`upsampled=4`); the product commutes with it, so that here it comes
    first, at 1/16 of the cost.

    Attributes:
      channels: 1.
      bins: number of centres.
      low, high: first and last centre, metres.
      batch_norm: normalise the features over the global batch first (DINOv3).
      upsampled: cells of the output along a side of a cell of the features.
    """

    bins: int = 256
    low: float = 1e-3
    high: float = 10.0
    batch_norm: bool = False
    upsampled: int = 4

    @nn.compact
    def __call__(
        self,
        features: Sequence[Float[Array, "B _ _ _"]],
        cls: Sequence[Float[Array, "B _"]] | None = None,
        train: bool = False,
    ) -> Decoded:
        x = side_by_side(features, cls if self.uses_cls else None).astype(self.dtype)
        if self.batch_norm:
            x = batch_norm(MOMENTUM, self.dtype, train, name="norm")(x)
        scores = Dense(self.bins, dtype=self.dtype, kernel_init=CLASSIFIER, name="output")(x).astype(jnp.float32)
        scores = resize(scores, scores.shape[1] * self.upsampled, scores.shape[2] * self.upsampled)
        return Decoded(expected(scores, self.low, self.high)[..., None], None)


def expected(scores: Float[Array, "*cells bins"], low: float, high: float) -> Float[Array, "*cells"]:
    """Returns the mean of centres from `low` to `high`, weighted by relu(score) + 0.1.

    Example:
      >>> [round(float(x), 3) for x in expected(jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 9.8]]), 1.0, 3.0)]
      [2.0, 2.97]
    """
    weights = nn.relu(scores) + 0.1
    centres = jnp.linspace(low, high, scores.shape[-1])
    return (weights * centres).sum(-1) / weights.sum(-1)
