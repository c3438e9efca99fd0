"""Heads of joint-embedding objectives: projectors and predictors (Eq. 3 and 4, and those of other papers)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float


class MlpHead(nn.Module):
    """Linear (no bias), batch norm, ReLU, linear: the heads of Hummingbird, BYOL and SimCLR, SimSiam's predictor.

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
        x = batch_norm(self.momentum, self.dtype, train, name="norm")(x)
        return nn.Dense(self.output, dtype=self.dtype, name="output")(nn.relu(x))


class NormedHead(nn.Module):
    """Linear layers without bias, each followed by batch norm, with ReLU in between: MoCo v3 and SimSiam's projector.

    The last batch norm has neither scale nor bias. Statistics are those of `MlpHead`.

    Attributes:
      layers: number of linear layers.
      hidden: width of all but the last.
      output: width of the last.
      momentum: decay of the running statistics.
      dtype: compute type.
    """

    layers: int
    hidden: int
    output: int
    momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"], train: bool = True) -> Float[Array, "*batch output"]:
        """Applies the head; `train`: normalise by the statistics of `x`, not by the running ones."""
        for i in range(self.layers):
            last = i == self.layers - 1
            width = self.output if last else self.hidden
            x = nn.Dense(width, use_bias=False, dtype=self.dtype, name=f"linear_{i}")(x)
            x = batch_norm(self.momentum, self.dtype, train, name=f"norm_{i}", affine=not last)(x)
            x = x if last else nn.relu(x)
        return x


class PlainHead(nn.Module):
    """Linear, ReLU, linear: the heads of MoCo v2 and DenseCL.

    Attributes:
      hidden: width of the hidden layer.
      output: width of the output.
      dtype: compute type.
    """

    hidden: int
    output: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch output"]:
        """Applies the head."""
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        return nn.Dense(self.output, dtype=self.dtype, name="output")(x)


def batch_norm(momentum: float, dtype: DTypeLike, train: bool, name: str, affine: bool = True) -> nn.BatchNorm:
    """Returns batch norm over all leading axes.

    Args:
      momentum: decay of the running statistics.
      dtype: compute type.
      train: normalise by the statistics of the input, not by the running ones.
      name: of the module.
      affine: learn a scale and a bias.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=1e-5,
        dtype=dtype,
        use_bias=affine,
        use_scale=affine,
        use_fast_variance=False,  # E[x^2] - E[x]^2 cancels
        name=name,
    )


class ProjectorPredictor(nn.Module):
    """A projector and a predictor, applied to each view on its own, so that batch norm is over the images of a view.

    Attributes:
      projector: from pooled features to projections.
      predictor: from projections to predictions.
    """

    projector: nn.Module
    predictor: nn.Module

    def __call__(self, pooled: Float[Array, "B V D"]) -> Float[Array, "B V P"]:
        """Runs both heads, for initialisation and tests; returns the predictions."""
        return self.predict(self.project(pooled))

    def project(self, pooled: Float[Array, "B V D"]) -> Float[Array, "B V P"]:
        """Computes the projections."""
        return jnp.stack([self.projector(pooled[:, i]) for i in range(pooled.shape[1])], axis=1)

    def predict(self, projections: Float[Array, "B V P"]) -> Float[Array, "B V P"]:
        """Computes the predictions."""
        return jnp.stack([self.predictor(projections[:, i]) for i in range(projections.shape[1])], axis=1)
