"""phi of App. B over a memory bank of any length: an MLP with batch norm whose hidden layer is never whole in memory.

The batch norm's statistics are those of the hidden layer over all entries. That layer is linear, so they follow exactly
from the keys' mean and covariance, [D] and [D, D]; the values can then be computed a chunk at a time, and again going
backward. With `MlpHead` the hidden layer took most of a step's memory ([M, 4096] beside keys and values of [M, D]).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from hummingbird.models.context import grouped

EPSILON = 1e-5


class ValueHead(nn.Module):
    """v = phi(k): keys [slots, rows, D] without gradient -> values [slots, rows, output].

    Parameters and running statistics are those of `MlpHead`, and so is the result, up to rounding.

    Attributes:
      hidden, output: widths.
      chunk: entries whose hidden layer is in memory at a time.
      momentum: of the running statistics.
    """

    hidden: int
    output: int
    chunk: int
    momentum: float = 0.99
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, keys: Array, train: bool = True) -> Array:
        keys = jax.lax.stop_gradient(keys).astype(jnp.float32)
        first, _ = Linear(self.hidden, use_bias=False, name="hidden")(keys.shape[-1])
        scale, offset = Normaliser(self.momentum, name="norm")(*hidden_moments(keys, first), train)
        last, bias = Linear(self.output, name="output")(self.hidden)
        first, last = (x.astype(self.dtype) for x in (first, last))

        @jax.checkpoint
        def part(keys: Array) -> Array:  # [g, rows, D]
            hidden = jnp.einsum("grd,dh->grh", keys.astype(self.dtype), first, preferred_element_type=jnp.float32)
            active = nn.relu(hidden * scale + offset).astype(self.dtype)
            out = jnp.einsum("grh,hd->grd", active, last, preferred_element_type=jnp.float32)
            return (out + bias).astype(self.dtype)

        return jax.lax.map(part, grouped(keys, self.chunk)).reshape(*keys.shape[:2], self.output)


def hidden_moments(keys: Array, kernel: Array) -> tuple[Array, Array]:
    """Mean and variance [H] of keys @ kernel over all keys [slots, rows, D]; kernel [D, H]."""
    exact = jax.lax.Precision.HIGHEST
    mean = keys.mean(axis=(0, 1))
    centred = keys - mean
    covariance = jnp.einsum("srd,sre->de", centred, centred, precision=exact) / (keys.shape[0] * keys.shape[1])
    product = jnp.matmul(covariance, kernel, precision=exact)
    return jnp.matmul(mean, kernel, precision=exact), jnp.sum(kernel * product, axis=0)


class Linear(nn.Module):
    """The parameters of a dense layer; a bias of 0 where it has none."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, width: int) -> tuple[Array, Array]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (width, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else jnp.zeros(())


class Normaliser(nn.Module):
    """Batch norm as (x * scale + offset), from the batch's moments or, after training, the running ones."""

    momentum: float

    @nn.compact
    def __call__(self, mean: Array, variance: Array, train: bool) -> tuple[Array, Array]:
        gain = self.param("scale", nn.initializers.ones, mean.shape)
        shift = self.param("bias", nn.initializers.zeros, mean.shape)
        running = (
            self.variable("batch_stats", "mean", jnp.zeros, mean.shape),
            self.variable("batch_stats", "var", jnp.ones, mean.shape),
        )
        if not train:
            mean, variance = (x.value for x in running)
        elif not self.is_initializing():
            for kept, new in zip(running, (mean, variance), strict=True):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        scale = gain * jax.lax.rsqrt(variance + EPSILON)
        return scale, shift - mean * scale
