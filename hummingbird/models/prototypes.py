"""The head of self-distillation: an MLP, and normalised prototypes that its output is compared with."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from hummingbird.models.blocks import gelu
from hummingbird.models.context import l2_normalize

INIT = nn.initializers.truncated_normal(0.02)


class Prototypes(nn.Module):
    """A linear layer without bias, its columns normalised: weight normalisation with all norms fixed to 1.

    Weight decay only shrinks the columns, which changes nothing that is computed.

    Attributes:
      count: K, number of prototypes.
      dtype: compute type of the product.
    """

    count: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch P"], trained: ArrayLike = 1.0) -> Float[Array, "*batch K"]:
        """Returns cosines of normalised vectors and the prototypes, float32; with `trained` 0 these get no gradient."""
        kernel = self.param("kernel", INIT, (x.shape[-1], self.count))
        kernel = trained * kernel + (1 - trained) * jax.lax.stop_gradient(kernel)
        columns = l2_normalize(kernel.T).T
        return jnp.matmul(x.astype(self.dtype), columns.astype(self.dtype), preferred_element_type=jnp.float32)


class PrototypeHead(nn.Module):
    """DINO's head (Caron et al. 2021, Sec. 3.1 and App. C): linear, GELU, linear, GELU, linear, l2 norm, prototypes.

    Attributes:
      hidden: width of the two hidden layers.
      bottleneck: P, width of the normalised vectors.
      prototypes: K, number of outputs.
      dtype: compute type.
    """

    hidden: int
    bottleneck: int
    prototypes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch D"], trained: ArrayLike = 1.0, mean: bool = False
    ) -> Float[Array, "*logits K"]:
        """Returns the logits g(x), float32.

        Args:
          x: features.
          trained: as in `Prototypes`.
          mean: return the mean of the logits over all leading axes, [K], without making them: their last layer is
            linear.
        """
        for i, width in enumerate((self.hidden, self.hidden, self.bottleneck)):
            x = nn.Dense(width, dtype=self.dtype, kernel_init=INIT, name=f"layer_{i}")(gelu(x) if i else x)
        x = l2_normalize(x)
        if mean:
            x = x.mean(axis=tuple(range(x.ndim - 1)))
        return Prototypes(self.prototypes, self.dtype, name="prototypes")(x, trained)
