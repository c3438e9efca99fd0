"""What stands for an image: its pooled features, or these and gradients of self-supervised objectives (FUNGI)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, UInt8

from hummingbird import gradients
from hummingbird.config.features import Variant
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.gradients.image_losses import DEFAULT
from hummingbird.retrieval.recognition.embed import Embedded, image_id
from hummingbird.retrieval.recognition.pooled import POOLING

Pictures = Sequence[UInt8[np.ndarray, "_ _ 3"]]


def unlabelled(units: Float32[np.ndarray, "B D"], norms: Float32[np.ndarray, " B"]) -> Embedded:
    """Returns features without labels."""
    return Embedded(units, norms, np.zeros(len(units), np.int32))


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Pooled features.

    Attributes:
      encoder: gives the features.
      pooling: key of `POOLING`.
    """

    encoder: Encoder
    pooling: str
    padded: ClassVar[bool] = True

    def __call__(
        self, images: UInt8[np.ndarray, "B H W 3"], wholes: Pictures, ids: Sequence[int]
    ) -> Float32[np.ndarray, "B D"]:
        """Encodes images."""
        return np.asarray(POOLING[self.pooling](self.encoder, images), np.float32)

    def units(self, features: Float32[np.ndarray, "B D"], norms: Float32[np.ndarray, " B"]) -> Embedded:
        """L2-normalises the features."""
        return unlabelled(features / np.where(norms > 0, norms, 1)[:, None], norms)


@dataclasses.dataclass(frozen=True)
class Gradients:
    """Gradients of objectives beside the pooled features, each part L2-normalised (FUNGI, Eq. 2).

    Attributes:
      encoder: a ViT.
      pooling: "cls" or "mean".
      objectives: some of "kl", "dino" and "simclr".
      projection, rank, dim: of the gradients, as in `hummingbird.gradients.features`.
      seed: draws heads, projection and crops.
      size: side of the crops, pixels.
      negatives: of simclr.
      variant: heads, augmentation and layer.
    """

    encoder: Encoder
    pooling: str
    objectives: tuple[str, ...]
    projection: str
    rank: int
    dim: int | None
    seed: int
    size: int
    negatives: gradients.Negatives | None = None
    variant: Variant = DEFAULT
    padded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuses what gradients cannot be taken of."""
        if self.pooling not in ("cls", "mean"):
            raise UserError(f"config key images.pooling: gradients are for cls and mean, not {self.pooling}")
        if self.projection == "none":
            raise UserError("config key features.projection: whole images need dense or tensor, not none")

    @property
    def needs_whole(self) -> bool:
        """Whether crops are cut out of the images as they were before they were prepared."""
        return self.objectives != ("kl",)

    def __call__(
        self, images: UInt8[np.ndarray, "B H W 3"], wholes: Pictures, ids: Sequence[int]
    ) -> Float32[np.ndarray, "B F"]:
        """Computes gradients and features of images."""
        return gradients.features(
            self.encoder,
            images,
            self.objectives,
            projection=self.projection,
            rank=self.rank,
            dim=self.dim,
            seed=self.seed,
            whole=wholes if self.needs_whole else None,
            negatives=self.negatives,
            ids=ids,
            pooling=self.pooling,
            size=self.size,
            variant=self.variant,
        )

    def units(self, features: Float32[np.ndarray, "B F"], norms: Float32[np.ndarray, " B"]) -> Embedded:
        """Returns the features as they are: each part has length 1."""
        return unlabelled(features, np.ones(len(features), np.float32))

    def with_negatives(self, images: Pictures, names: Sequence[str]) -> Gradients:
        """Returns the same with negatives for simclr, drawn from training images; with others as it is.

        Args:
          images: of the training set, of which only those drawn are read.
          names: of all of them, by which images are told apart.
        """
        if "simclr" not in self.objectives:
            return self
        ids = [image_id(name) for name in names]
        found = gradients.fit_negatives(
            self.encoder, images, seed=self.seed, ids=ids, pooling=self.pooling, size=self.size, variant=self.variant
        )
        return dataclasses.replace(self, negatives=found)
