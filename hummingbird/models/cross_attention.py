"""One block of attention from the tokens of one image to those of another."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from hummingbird.models.blocks import gelu


class CrossBlock(nn.Module):
    """Pre-norm block: x + attention(norm(x), norm(y)), then x + mlp(norm(x)); the MLP has width 4 D.

    Attributes:
      heads: attention heads.
      dtype: compute type.
    """

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B Q n D"], y: Float[Array, "B N D"], visible: Bool[Array | np.ndarray, "B Q N"]
    ) -> Float[Array, "B Q n D"]:
        """Lets Q groups of n tokens attend to the visible ones of N.

        Args:
          x: tokens that attend.
          y: tokens that are attended to.
          visible: which of them each group sees; at least one.
        """
        width = x.shape[-1]
        split = lambda t: t.reshape(*t.shape[:-1], self.heads, width // self.heads)
        norm = lambda name: nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=name)
        q = split(nn.Dense(width, dtype=self.dtype, name="query")(norm("norm_x")(x)))
        seen = norm("norm_y")(y)
        k, v = (split(nn.Dense(width, dtype=self.dtype, name=name)(seen)) for name in ("key", "value"))
        scores = jnp.einsum("bqnhd,bmhd->bqhnm", q * q.shape[-1] ** -0.5, k).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(visible[:, :, None, None], scores, -1e30), axis=-1).astype(v.dtype)
        mixed = jnp.einsum("bqhnm,bmhd->bqnhd", weights, v).reshape(x.shape)
        x = x + nn.Dense(width, dtype=self.dtype, name="out")(mixed)
        hidden = gelu(nn.Dense(4 * width, dtype=self.dtype, name="up")(norm("norm_mlp")(x)))
        return x + nn.Dense(width, dtype=self.dtype, name="down")(hidden)
