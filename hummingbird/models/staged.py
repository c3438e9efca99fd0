"""Networks of stages as dense encoders: the feature map of one stage, with cells of 4 to 32 pixels."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from hummingbird.errors import UserError
from hummingbird.models.architecture import MEAN, STD
from hummingbird.models.backbone import (
    ARITHMETIC,
    LAST_LAYER,
    Backbone,
    Features,
    Images,
    Output,
    indices,
    to_unit,
)
from hummingbird.models.params import Params


@dataclasses.dataclass(frozen=True)
class StagedArchitecture:
    """Sizes of a network of stages. Stored in hummingbird.json of imported and exported folders.

    Attributes:
      depths: blocks of each stage.
      widths: channels of each stage's map.
      stem: pixels along a side of a cell of the first stage.
      final_norm: whether a norm follows the last stage.
      epsilon: of every layer norm.
      mean, std: statistics of pixels in [0, 1] by which images are normalised.
    """

    called: ClassVar[str] = "a network of stages"
    attends: ClassVar[bool] = False

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem: int = 4
    final_norm: bool = True
    epsilon: float = 1e-6
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def backbone(self, features: Features, dtype: str) -> FrozenStages:
        """Returns the backbone that gives these features."""
        raise UserError(f"{self.called} cannot be run")

    def cell(self, stage: int) -> int:
        """Returns the pixels along a side of a cell of a stage's feature map."""
        return self.stem * 2**stage


class Stages(nn.Module, abc.ABC):
    """Normalised images [B, H, W, 3] to the feature maps of the stages [B, H / cell, W / cell, D]."""

    @abc.abstractmethod
    def stages(self, images: Float[Array | np.ndarray, "B H W 3"], count: int) -> list[Float[Array, "B _ _ _"]]:
        """Returns the maps of the first `count` stages."""

    @abc.abstractmethod
    def normed(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        """Applies the norm after the last stage, if there is one."""

    @abc.abstractmethod
    def __call__(self, images: Float[Array | np.ndarray, "B H W 3"]) -> Float[Array, "B h w D"]:
        """Returns the map of the last stage after the final norm."""


@dataclasses.dataclass(frozen=True)
class FrozenStages(Backbone):
    """See `Backbone`; the features are the map of one stage, and `layers` counts stages.

    Attributes:
      arch: sizes and variations.
      chosen: which stage gives the features.
    """

    arch: StagedArchitecture
    chosen: Features = LAST_LAYER

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stage()

    def __str__(self) -> str:
        return self.arch.called

    @property
    def patch_size(self) -> int:
        return self.arch.cell(self.stage())

    @property
    def dim(self) -> int:
        return self.arch.widths[self.stage()]

    @property
    def std(self) -> tuple[float, float, float]:
        return self.arch.std

    def with_std(self, std: tuple[float, float, float]) -> FrozenStages:
        return dataclasses.replace(self, arch=dataclasses.replace(self.arch, std=std))

    @property
    def depth(self) -> int:
        """Number of stages to choose from."""
        return len(self.arch.depths)

    @abc.abstractmethod
    def module(self) -> Stages:
        """Returns the Flax module."""

    def features(self, params: Params, images: Images) -> Output:
        return self.layers(params, images, (self.stage(),), self.chosen.norm)[0]

    def layers(
        self,
        params: Params,
        images: Images,
        layers: tuple[int, ...],
        norm: bool,
        drop_keys: Key[Array, " B"] | None = None,
    ) -> list[Output]:
        stages = indices(layers, self.depth)
        model = self.module().bind({"params": params})
        maps = model.stages(self.normalized(images, max(stages)), count=max(stages) + 1)
        last = self.depth - 1
        return [Output(model.normed(maps[i]) if norm and i == last else maps[i], None) for i in stages]

    def stage(self) -> int:
        """Returns the number of the stage that gives the features, counted from 0."""
        if self.chosen.kind != "tokens" or len(self.chosen.layers) != 1:
            has = "has" if self.arch.attends else "has no attention, and"
            raise UserError(f"{self} {has} stages of different grids: features=tokens, one of its layers")
        return self.chosen.indices(self.depth)[0]

    def normalized(self, images: Images, stage: int) -> Float[Array, "B H W 3"]:
        """Returns the input of the network.

        Raises:
          UserError: the images cannot be cut into cells of `stage`.
        """
        cell, (height, width) = self.arch.cell(stage), images.shape[1:3]
        if height % cell or width % cell:
            raise UserError(f"images of {height}x{width} pixels cannot be cut into patches of {cell}: use a multiple")
        mean, std = jnp.asarray(self.arch.mean, jnp.float32), jnp.asarray(self.arch.std, jnp.float32)
        return (to_unit(images) - mean) / std

    def dtype_of_module(self) -> DTypeLike:
        """Returns the type that the network computes in."""
        return jnp.dtype(ARITHMETIC[self.dtype].dtype)
