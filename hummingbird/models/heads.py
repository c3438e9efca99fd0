"""The MLP head with batch norm after the first layer: the projector p and the predictor q (Eq. 3 and 4)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float


class MlpHead(nn.Module):
    """Linear (no bias), batch norm, ReLU, linear.

    Batch norm uses the statistics of its whole input, over all leading axes: under `jax.jit` with sharded inputs that
    is the global batch. Running statistics are kept in `batch_stats` for use after training.

    Attributes:
      hidden: width of the hidden layer.
      output: width of the output.
      momentum: decay of the running statistics.
      dtype: compute type.
    """

    hidden: int
    output: int
    momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"], train: bool = True) -> Float[Array, "*batch output"]:
        """Applies the head; `train`: normalise by the statistics of `x`, not by the running ones."""
        x = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name="hidden")(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=1e-5,
            dtype=self.dtype,
            use_fast_variance=False,  # E[x^2] - E[x]^2 cancels
            name="norm",
        )(x)
        return nn.Dense(self.output, dtype=self.dtype, name="output")(nn.relu(x))
