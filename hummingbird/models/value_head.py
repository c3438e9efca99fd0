"""phi of App. B over a memory bank of any length: an MLP with batch norm that never holds its whole hidden layer.

Batch norm needs the mean and variance of the hidden layer over all entries. That layer is linear, so both follow
exactly from the mean [D] and the covariance [D, D] of the keys. The values can then be computed chunk by chunk, and
again in the backward pass. With `MlpHead` the hidden layer took most of a step's memory: [M, 4096] beside keys and
values of [M, D].
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from hummingbird.models.chunks import grouped, ungrouped

EPSILON = 1e-5


class ValueHead(nn.Module):
    """v = phi(k). Parameters, running statistics and result are those of `MlpHead`, up to rounding.

    Attributes:
      hidden: width of the hidden layer.
      output: width of the values.
      chunk: number of entries whose hidden layer is in memory at a time.
      momentum: decay of the running statistics.
      dtype: compute type.
    """

    hidden: int
    output: int
    chunk: int
    momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, keys: Float[Array, "S R D"], train: bool = True) -> Float[Array, "S R output"]:
        """Computes the values of all entries; the keys get no gradient.

        Args:
          keys: keys of the bank.
          train: normalise by the statistics of `keys`, not by the running ones.
        """
        keys = jax.lax.stop_gradient(keys).astype(jnp.float32)
        first, _ = Linear(self.hidden, use_bias=False, name="hidden")(keys.shape[-1])
        scale, offset = Normaliser(self.momentum, name="norm")(*hidden_moments(keys, first), train)
        last, bias = Linear(self.output, name="output")(self.hidden)
        first, last = (x.astype(self.dtype) for x in (first, last))

        @jax.checkpoint
        def part(keys: Array) -> Array:  # [g, R, D]
            hidden = jnp.einsum("grd,dh->grh", keys.astype(self.dtype), first, preferred_element_type=jnp.float32)
            active = nn.relu(hidden * scale + offset).astype(self.dtype)
            out = jnp.einsum("grh,hd->grd", active, last, preferred_element_type=jnp.float32)
            return (out + bias).astype(self.dtype)

        values: Array = jax.lax.map(part, grouped(keys, self.chunk))
        return ungrouped(values, slots=len(keys))


def hidden_moments(
    keys: Float[Array, "S R D"], kernel: Float[Array, "D H"]
) -> tuple[Float[Array, " H"], Float[Array, " H"]]:
    """Returns the mean and variance of keys @ kernel over all keys."""
    exact = jax.lax.Precision.HIGHEST
    mean = keys.mean(axis=(0, 1))
    centred = keys - mean
    covariance = jnp.einsum("srd,sre->de", centred, centred, precision=exact) / (keys.shape[0] * keys.shape[1])
    product = jnp.matmul(covariance, kernel, precision=exact)
    return jnp.matmul(mean, kernel, precision=exact), jnp.sum(kernel * product, axis=0)


class Linear(nn.Module):
    """Holds the parameters of a dense layer; it does not apply them.

    Attributes:
      features: width of the output.
      use_bias: whether it has a bias; otherwise 0 takes its place.
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, width: int) -> tuple[Array, Array]:
        """Returns the kernel [width, features] and the bias [features] or []."""
        kernel: Array = self.param("kernel", nn.initializers.lecun_normal(), (width, self.features))
        if not self.use_bias:
            return kernel, jnp.zeros(())
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class Normaliser(nn.Module):
    """Batch norm in the form x * scale + offset.

    Attributes:
      momentum: decay of the running statistics.
    """

    momentum: float

    @nn.compact
    def __call__(
        self, mean: Float[Array, " H"], variance: Float[Array, " H"], train: bool
    ) -> tuple[Float[Array, " H"], Float[Array, " H"]]:
        """Returns scale and offset, from the given moments if `train`, else from the running ones."""
        gain: Array = self.param("scale", nn.initializers.ones, mean.shape)
        shift: Array = self.param("bias", nn.initializers.zeros, mean.shape)
        running = (
            self.variable("batch_stats", "mean", lambda: jnp.zeros(mean.shape)),
            self.variable("batch_stats", "var", lambda: jnp.ones(variance.shape)),
        )
        if not train:
            mean, variance = (x.value for x in running)
        elif not self.is_initializing():
            for kept, new in zip(running, (mean, variance), strict=True):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        scale = gain * jax.lax.rsqrt(variance + EPSILON)
        return scale, shift - mean * scale
