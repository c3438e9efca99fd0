"""ConvNeXt (Liu et al. 2022; V2: Woo et al. 2023) as a dense encoder: the map of a stage, with cells of 4 to 32 pixels.

Parameters: `stem_conv`, `stem_norm`; `stage_1_shrink_norm`, `stage_1_shrink` and so on before each later stage;
`stage_0_block_0/{dw, norm, up, down, scale, grn_scale, grn_bias}` and so on; and `norm`, which follows the pooling in
the published classifiers.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from hummingbird.models.backbone import Features
from hummingbird.models.staged import FrozenStages, StagedArchitecture, Stages


@dataclasses.dataclass(frozen=True)
class ConvNeXtArchitecture(StagedArchitecture):
    """Sizes and variations of a ConvNeXt.

    Attributes:
      layer_scale: V1's scale on each block.
      response_norm: V2's global response normalisation.
    """

    called: ClassVar[str] = "a ConvNeXt"

    layer_scale: bool = True
    response_norm: bool = False

    def backbone(self, features: Features, dtype: str) -> FrozenConvNeXt:
        return FrozenConvNeXt(self, features, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class FrozenConvNeXt(FrozenStages):
    """See `FrozenStages`."""

    arch: ConvNeXtArchitecture

    def module(self) -> ConvNeXt:
        return ConvNeXt(self.arch, self.dtype_of_module())


class ConvNeXt(Stages):
    """See `Stages`."""

    arch: ConvNeXtArchitecture
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        arch = self.arch
        conv = functools.partial(nn.Conv, padding="VALID", dtype=self.dtype)
        norm = functools.partial(nn.LayerNorm, epsilon=arch.epsilon, dtype=self.dtype)
        self.stem_conv = conv(arch.widths[0], (arch.stem, arch.stem), (arch.stem, arch.stem))
        self.stem_norm = norm()
        later = range(1, len(arch.depths))
        self.shrink_norms = [norm(name=f"stage_{stage}_shrink_norm") for stage in later]
        self.shrinks = [conv(arch.widths[i], (2, 2), (2, 2), name=f"stage_{i}_shrink") for i in later]
        self.blocks = [
            [ConvNeXtBlock(arch, width, self.dtype, name=f"stage_{stage}_block_{i}") for i in range(depth)]
            for stage, (depth, width) in enumerate(zip(arch.depths, arch.widths, strict=True))
        ]
        if arch.final_norm:
            self.norm = norm()

    def __call__(self, images: Float[Array | np.ndarray, "B H W 3"]) -> Float[Array, "B h w D"]:
        """Returns the map of the last stage after the final norm."""
        return self.normed(self.stages(images, len(self.arch.depths))[-1])

    def stages(self, images: Float[Array | np.ndarray, "B H W 3"], count: int) -> list[Float[Array, "B _ _ _"]]:
        """Returns the maps of the first `count` stages."""
        x, maps = self.stem_norm(self.stem_conv(images)), list[Array]()
        for stage, blocks in enumerate(self.blocks[:count]):
            if stage:
                x = self.shrinks[stage - 1](self.shrink_norms[stage - 1](x))
            for block in blocks:
                x = block(x)
            maps.append(x)
        return maps

    def normed(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        """Applies the final layer norm, if there is one."""
        return self.norm(x) if self.arch.final_norm else x


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7 convolution, norm and an MLP over channels, added to the input."""

    arch: ConvNeXtArchitecture
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        arch, width = self.arch, self.width
        y = nn.Conv(width, (7, 7), padding=3, feature_group_count=width, dtype=self.dtype, name="dw")(x)
        y = nn.LayerNorm(epsilon=arch.epsilon, dtype=self.dtype, name="norm")(y)
        y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="up")(y), approximate=False)
        if arch.response_norm:
            gamma, beta = (self.param(f"grn_{n}", nn.initializers.zeros, (4 * width,)) for n in ("scale", "bias"))
            energy = jnp.linalg.norm(y.astype(jnp.float32), axis=(1, 2), keepdims=True)
            response = energy / (energy.mean(-1, keepdims=True) + 1e-6)
            y = (y + gamma * (y * response) + beta).astype(self.dtype)
        y = nn.Dense(width, dtype=self.dtype, name="down")(y)
        if arch.layer_scale:
            y = y * self.param("scale", nn.initializers.ones, (width,)).astype(self.dtype)
        return x + y
