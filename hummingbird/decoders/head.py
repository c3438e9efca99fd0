"""What every decoder's head is: features of some layers of an encoder in, a map of outputs out."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from hummingbird.models.heads import batch_norm
from hummingbird.tasks.upsampling import interpolation

MOMENTUM = 0.9  # of running statistics; 0.1 in PyTorch's convention
CLASSIFIER = nn.initializers.normal(0.01)  # the last layer of mmseg's heads
HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # mmcv's convolutions before batch norm


class Decoded(NamedTuple):
    """Outputs of a head, float32; their grids are those of the head, not those of the labels.

    Attributes:
      output: [B, h', w', C], logits of classes or values.
      auxiliary: [B, h'', w'', C], what an auxiliary head predicts in training; None without one.
    """

    output: Float[Array, "B _ _ C"]
    auxiliary: Float[Array, "B _ _ C"] | None


class Head(nn.Module):
    """Maps features to outputs. Batch norm keeps "batch_stats"; dropout draws from the rng "dropout".

    Attributes:
      channels: C, classes or values of a pixel.
      layers: encoder outputs that it takes, as `Backbone.layers` counts them.
      norm: whether these pass through the encoder's final norm.
      uses_cls: whether it takes the [CLS] token of each of them too.
      dtype: type that it computes in; parameters, statistics and outputs are float32.
    """

    channels: int
    layers: tuple[int, ...] = (-1,)
    norm: bool = True
    uses_cls: bool = False
    dtype: DTypeLike = jnp.float32

    def __call__(
        self,
        features: Sequence[Float[Array, "B _ _ _"]],
        cls: Sequence[Float[Array, "B _"]] | None = None,
        train: bool = False,
    ) -> Decoded:
        """Applies the head.

        Args:
          features: one map [B, h, w, D] for each of `layers`.
          cls: one [CLS] token [B, D] for each of them; only used if `uses_cls`.
          train: normalise by the statistics of the batch and drop out.
        """
        raise TypeError(f"{type(self).__name__} is not a head of its own")


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU: the unit of UperNet and of FCN heads.

    Attributes:
      width: channels that it returns.
      kernel: side of the kernel in cells; the map keeps its size.
      dtype: type that it computes in.
    """

    width: int
    kernel: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"], train: bool) -> Float[Array, "B h w E"]:
        sides = (self.kernel, self.kernel)
        x = nn.Conv(self.width, sides, use_bias=False, kernel_init=HE, dtype=self.dtype, name="conv")(x)
        return nn.relu(batch_norm(MOMENTUM, self.dtype, train, name="norm")(x))


def resize(x: Float[Array, "B h w C"], height: int, width: int) -> Float[Array, "B {height} {width} C"]:
    """Resizes maps bilinearly with half-pixel centres and repeated edges (PyTorch's align_corners=False).

    Two taps along each axis, also where maps shrink.

    Example:
      >>> resize(jnp.array([[[[0.0], [1.0]]]]), 1, 4)[0, 0, :, 0].tolist()
      [0.0, 0.25, 0.75, 1.0]
    """
    rows, columns = x.shape[1:3]
    if rows != height:
        x = _product("Hh,bhwc->bHwc", interpolation(rows, height), x)
    if columns != width:
        x = _product("Ww,bhwc->bhWc", interpolation(columns, width), x)
    return x


def _product(formula: str, matrix: object, x: Array) -> Array:
    return jnp.einsum(formula, jnp.asarray(matrix, x.dtype), x, precision=jax.lax.Precision.HIGHEST)


def side_by_side(
    features: Sequence[Float[Array, "B _ _ _"]], cls: Sequence[Float[Array, "B _"]] | None = None
) -> Float[Array, "B h w E"]:
    """Concatenates the channels of maps, all resized to the grid of the first.

    Args:
      features: maps [B, h, w, D]; those of a network of stages differ in grid and width.
      cls: a [CLS] token for each of them, which is put beside every cell of its map (DINOv2).
    """
    height, width = features[0].shape[1:3]
    parts = list[Array]()
    for i, x in enumerate(features):
        parts.append(resize(x, height, width))
        if cls is not None:
            token = cls[i][:, None, None].astype(x.dtype)
            parts.append(jnp.broadcast_to(token, (len(token), height, width, token.shape[-1])))
    return jnp.concatenate(parts, axis=-1)
