"""UperNet (Xiao et al. 2018) on a plain ViT, as MAE was fine-tuned for segmentation (He et al. 2022, App. A.4).

A ViT has one grid; MAE's pyramid makes four of it. Sizes for 512 pixels and patches of 16:

    taps     [B, 32, 32, D] x 4
    pyramid  [B, 128, 128, D]  [B, 64, 64, D]  [B, 32, 32, D]  [B, 16, 16, D]
    laterals [B, 128, 128, W]  [B, 64, 64, W]  [B, 32, 32, W]  PPM: [B, 16, 16, W]
    output   [B, 128, 128, C]                                  auxiliary [B, 32, 32, C]

Maps of networks of stages have four grids already and pass the pyramid as they are.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from hummingbird.decoders.head import CLASSIFIER, MOMENTUM, ConvNormRelu, Decoded, Head, resize
from hummingbird.errors import UserError
from hummingbird.models.attention import Dense
from hummingbird.models.blocks import gelu
from hummingbird.models.heads import batch_norm

POOLED = (1, 2, 3, 6)  # cells along a side of the pooled maps of the pyramid pooling module


class UperNet(Head):
    """Pyramid pooling on the coarsest of four maps, a feature pyramid over all, and an auxiliary FCN head.

    Attributes:
      width: W, channels of the decoder.
      auxiliary_width: channels of the auxiliary head; 0: without one.
      dropout: probability that a channel of an image is dropped before each classifier.
    """

    width: int = 768
    auxiliary_width: int = 256
    dropout: float = 0.1

    @nn.compact
    def __call__(
        self,
        features: Sequence[Float[Array, "B _ _ _"]],
        cls: Sequence[Float[Array, "B _"]] | None = None,
        train: bool = False,
    ) -> Decoded:
        maps = [x.astype(self.dtype) for x in features]
        if all(x.shape == maps[0].shape for x in maps):
            maps = Pyramid(self.dtype, name="pyramid")(maps, train)
        unit = lambda name, kernel: ConvNormRelu(self.width, kernel, self.dtype, name=name)
        laterals = [unit(f"lateral_{i}", 1)(maps[i], train) for i in range(3)]
        laterals.append(PyramidPooling(self.width, self.dtype, name="pooling")(maps[3], train))
        for i in (2, 1, 0):
            laterals[i] = laterals[i] + resize(laterals[i + 1], *laterals[i].shape[1:3])
        merged = [unit(f"merge_{i}", 3)(laterals[i], train) for i in range(3)] + [laterals[3]]
        height, width = merged[0].shape[1:3]
        x = jnp.concatenate([resize(y, height, width) for y in merged], axis=-1)
        output = self._classified(unit("fuse", 3)(x, train), train, "output")
        if not self.auxiliary_width or not (train or self.is_initializing()):
            return Decoded(output, None)
        y = ConvNormRelu(self.auxiliary_width, 3, self.dtype, name="auxiliary")(maps[2], train)
        return Decoded(output, self._classified(y, train, "auxiliary_output"))

    def _classified(self, x: Array, train: bool, name: str) -> Array:
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2))(x, deterministic=not train)
        return Dense(self.channels, dtype=self.dtype, kernel_init=CLASSIFIER, name=name)(x).astype(jnp.float32)


class Pyramid(nn.Module):
    """Four maps of one grid, enlarged 4 and 2 times, as they are, and halved.

    Attributes:
      dtype: type that it computes in.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[Float[Array, "B h w D"]], train: bool) -> list[Float[Array, "B _ _ D"]]:
        """Returns maps of 4, 2, 1 and 1/2 cells for each cell along a side, the last one rounded down.

        Raises:
          UserError: a map has one row or column only.
        """
        if min(maps[3].shape[1:3]) < 2:
            raise UserError(f"UperNet needs at least 2x2 patches, not {maps[3].shape[1]}x{maps[3].shape[2]}")
        width = maps[0].shape[-1]
        double = lambda name: Double(width, self.dtype, name=name)
        largest = gelu(batch_norm(MOMENTUM, self.dtype, train, name="norm_0")(double("up_0")(maps[0])))
        return [double("up_1")(largest), double("up_2")(maps[1]), maps[2], nn.max_pool(maps[3], (2, 2), (2, 2))]


class Double(nn.Module):
    """A transposed convolution of 2 x 2 cells with stride 2, as the product that it is.

    The start is PyTorch's: uniform in +-1 / sqrt(4 D).

    Attributes:
      width: D, channels that it returns.
      dtype: type that it computes in.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B h w _"]) -> Float[Array, "B _ _ D"]:
        batch, height, width, channels = x.shape
        bound = (4 * self.width) ** -0.5
        start = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        kernel = self.param("kernel", start, (channels, 2, 2, self.width))
        bias = self.param("bias", start, (self.width,))
        y = x.reshape(-1, channels) @ kernel.astype(self.dtype).reshape(channels, -1)
        y = y.reshape(batch, height, width, 2, 2, self.width).transpose(0, 1, 3, 2, 4, 5)
        return y.reshape(batch, 2 * height, 2 * width, self.width) + bias.astype(self.dtype)


class PyramidPooling(nn.Module):
    """The pyramid pooling module (Zhao et al. 2017): means over parts of the map beside the map itself.

    Attributes:
      width: channels that it returns.
      dtype: type that it computes in.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"], train: bool) -> Float[Array, "B h w W"]:
        height, width = x.shape[1:3]
        parts = [x]
        for cells in POOLED:
            y = ConvNormRelu(self.width, 1, self.dtype, name=f"pooled_{cells}")(adaptive_mean(x, cells), train)
            parts.append(resize(y, height, width))
        return ConvNormRelu(self.width, 3, self.dtype, name="merge")(jnp.concatenate(parts, axis=-1), train)


def adaptive_mean(x: Float[Array, "B h w D"], cells: int) -> Float[Array, "B {cells} {cells} D"]:
    """Returns the means over cells x cells parts, which overlap where `cells` does not divide a side.

    Part i of n rows are rows floor(i n / cells) to ceil((i + 1) n / cells), as in PyTorch's AdaptiveAvgPool2d.
    """
    rows, columns = (jnp.asarray(parts(side, cells), x.dtype) for side in x.shape[1:3])
    return jnp.einsum("ih,jw,bhwd->bijd", rows, columns, x, precision=jax.lax.Precision.HIGHEST)


def parts(side: int, cells: int) -> Float[np.ndarray, "{cells} {side}"]:
    """Returns the weights of an adaptive mean along one axis.

    Example:
      >>> parts(4, 3).tolist()
      [[0.5, 0.5, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    matrix = np.zeros((cells, side))
    for i in range(cells):
        first, end = i * side // cells, -(-(i + 1) * side // cells)
        matrix[i, first:end] = 1 / (end - first)
    return matrix
