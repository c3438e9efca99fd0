"""ResNets (He et al. 2016, with the stride in the 3 x 3 convolution as torchvision has it): the map of a stage.

Batch norms are folded into the convolutions before them. Parameters: `stem`; `stage_0_block_0/{conv1, conv2, conv3,
shortcut}` and so on, each a kernel and a bias; basic blocks have no `conv3`, most blocks no `shortcut`.
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

# torch's padding: the same on both sides, whatever the stride.
CONV = functools.partial(nn.Conv, padding=((1, 1), (1, 1)))


@dataclasses.dataclass(frozen=True)
class ResNetArchitecture(StagedArchitecture):
    """Sizes and variations of a ResNet.

    Attributes:
      inner: channels between the convolutions of a block, of each stage.
      bottleneck: whether a block has three convolutions, not two.
      groups: of the 3 x 3 convolutions of bottlenecks (ResNeXt).
      stem_width: channels of the first convolution.
      shortcuts: whether the first block of each stage has a convolution beside its branch.
    """

    called: ClassVar[str] = "a ResNet"

    final_norm: bool = False
    inner: tuple[int, ...] = ()
    bottleneck: bool = True
    groups: int = 1
    stem_width: int = 64
    shortcuts: tuple[bool, ...] = ()

    def backbone(self, features: Features, dtype: str) -> FrozenResNet:
        return FrozenResNet(self, features, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class FrozenResNet(FrozenStages):
    """See `FrozenStages`."""

    arch: ResNetArchitecture

    def module(self) -> ResNet:
        return ResNet(self.arch, self.dtype_of_module())


class ResNet(Stages):
    """See `Stages`."""

    arch: ResNetArchitecture
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.stem = nn.Conv(self.arch.stem_width, (7, 7), (2, 2), ((3, 3), (3, 3)), dtype=self.dtype)
        self.blocks = [
            [ResNetBlock(self.arch, stage, i == 0, self.dtype, name=f"stage_{stage}_block_{i}") for i in range(depth)]
            for stage, depth in enumerate(self.arch.depths)
        ]

    def __call__(self, images: Float[Array | np.ndarray, "B H W 3"]) -> Float[Array, "B h w D"]:
        return self.stages(images, len(self.arch.depths))[-1]

    def stages(self, images: Float[Array | np.ndarray, "B H W 3"], count: int) -> list[Float[Array, "B _ _ _"]]:
        x = jnp.pad(nn.relu(self.stem(images)), ((0, 0), (1, 1), (1, 1), (0, 0)))
        x, maps = nn.max_pool(x, (3, 3), (2, 2)), list[Array]()
        for blocks in self.blocks[:count]:
            for block in blocks:
                x = block(x)
            maps.append(x)
        return maps

    def normed(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        return x


class ResNetBlock(nn.Module):
    """A basic or bottleneck block; the first of each stage but the first halves the map.

    Attributes:
      arch: sizes and variations.
      stage: that it belongs to.
      first: whether it is the first one there.
      dtype: type that it computes in.
    """

    arch: ResNetArchitecture
    stage: int
    first: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B _ _ D"]:
        arch, width, inner = self.arch, self.arch.widths[self.stage], self.arch.inner[self.stage]
        stride = 2 if self.first and self.stage else 1
        dense = functools.partial(nn.Conv, kernel_size=(1, 1), dtype=self.dtype)
        conv = functools.partial(CONV, kernel_size=(3, 3), dtype=self.dtype)
        if arch.bottleneck:
            y = nn.relu(dense(inner, name="conv1")(x))
            y = nn.relu(conv(inner, strides=stride, feature_group_count=arch.groups, name="conv2")(y))
            y = dense(width, name="conv3")(y)
        else:
            y = nn.relu(conv(inner, strides=stride, name="conv1")(x))
            y = conv(width, name="conv2")(y)
        if self.first and arch.shortcuts[self.stage]:
            x = dense(width, strides=stride, name="shortcut")(x)
        return nn.relu(x + y)
