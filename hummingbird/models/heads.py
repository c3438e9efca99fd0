"""MLP heads with batch norm after the first layer: phi (App. B), the projector p and the predictor q (Eq. 3, 4)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class MlpHead(nn.Module):
    """[..., D] -> hidden -> batch norm -> ReLU -> [..., output].

    Batch norm uses the statistics of everything it is given, over all leading axes: under `jax.jit` with sharded inputs
    that is the global batch. Running statistics are kept in `batch_stats` for whoever uses the head after training.
    """

    hidden: int
    output: int
    momentum: float = 0.99
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
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
