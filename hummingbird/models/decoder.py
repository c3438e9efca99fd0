"""The light decoder of masked autoencoders (He et al. 2022, Sec. 3): from the encoded patches to values for all."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from hummingbird.models.architecture import Architecture
from hummingbird.models.blocks import Block
from hummingbird.models.positions import sincos2d


class Decoder(nn.Module):
    """Linear, mask tokens in the gaps, fixed positions, transformer blocks, layer norm, linear.

    Attributes:
      arch: width, depth and heads of the blocks; its `grid` is that of the patches.
      output: values per patch.
      remat: recompute each block in the backward pass.
      dtype: compute type.
    """

    arch: Architecture
    output: int
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Float[Array | np.ndarray, "B K D"], keep: Int[Array | np.ndarray, "B K"]
    ) -> Float[Array, "B N output"]:
        """Returns values for every patch, float32.

        Args:
          tokens: encoded patches.
          keep: their numbers.
        """
        arch = self.arch
        assert arch.grid is not None
        x = nn.Dense(arch.width, dtype=self.dtype, name="embed")(tokens)
        token = self.param("mask_token", nn.initializers.normal(0.02), (arch.width,))
        x = put_tokens(x, keep, arch.grid[0] * arch.grid[1], token.astype(self.dtype))
        x = x + jnp.asarray(sincos2d(*arch.grid, arch.width), self.dtype)
        block = nn.remat(Block) if self.remat else Block
        for i in range(arch.depth):
            x, _ = block(arch, self.dtype, name=f"block_{i:02d}")(x, None)
        x = nn.LayerNorm(epsilon=arch.epsilon, dtype=self.dtype, name="norm")(x)
        return nn.Dense(self.output, dtype=self.dtype, name="values")(x).astype(jnp.float32)


def put_tokens(
    x: Float[Array | np.ndarray, "B K D"],
    keep: Int[Array | np.ndarray, "B K"],
    patches: int,
    fill: Float[Array | np.ndarray, " D"],
) -> Float[Array, "B N D"]:
    """Puts K tokens in their places among N and `fill` everywhere else: the way back from `vit.take_tokens`."""
    places = jax.nn.one_hot(keep, patches, dtype=x.dtype)  # [B, K, N]
    there = places.sum(axis=1)[..., None]
    return jnp.einsum("bkn,bkd->bnd", places, x, precision="highest") + (1 - there) * fill
