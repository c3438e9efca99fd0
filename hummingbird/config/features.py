"""Settings of features that are computed from gradients of the encoder."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypedDict

from hummingbird.config.schema import setting
from hummingbird.errors import UserError


@dataclasses.dataclass(frozen=True)
class Variant:
    """The paper's ablations of gradients of whole images; the defaults are the paper's choices."""

    alone: bool = setting(False, "leave out the encoder's own features (Tables 6, 15, Figures 8, 10)")
    head: Literal["linear", "none"] = setting(
        "linear", "input of the loss: a random projection of the features, or the features themselves (Table 6)"
    )
    unit: Literal["auto", "yes", "no"] = setting(
        "auto", "L2-normalise features before the head (Table 6); auto: yes, except for simclr"
    )
    shared_heads: bool = setting(False, "dino: one head for teacher and student (Table 15)")
    augmentation: Literal["crops", "dino"] = setting(
        "crops", "dino: random crops alone, or with DINO's flips, colour jitter, blur and solarisation (Table 15)"
    )
    layer: int | None = setting(
        None,
        "block to take gradients at, counted from 0, by autodiff through all later blocks (Figure 8)",
        low=0,
        none="last",
    )


@dataclasses.dataclass(frozen=True)
class Features:
    """Gradients of self-supervised objectives as features, beside the encoder's own (FUNGI)."""

    gradients: tuple[Literal["kl", "dino", "simclr"], ...] = setting(
        (), "objectives to take gradients of; empty: the encoder's features alone. Patches: simclr, or kl"
    )
    preset: Literal["paper", "public-code", "attraction"] = setting(
        "paper",
        "patches, simclr: the loss as printed, as its authors' code computes it, or its first term alone, which needs "
        "no support index; `hummingbird.gradients.presets` has the details",
    )
    projection: Literal["dense", "tensor", "none"] = setting(
        "dense",
        "random projection of a gradient: dense as published (1.8 to 4.4 times the cost of the encoder), tensor for a "
        "fiftieth of that and a noisier kernel, none for the exact kernel (patches: by exact or device search, or to "
        "re-score ScaNN's candidates)",
    )
    rank: int = setting(8, "projection=tensor: rank-one terms of each matrix", low=1, high=256)
    dim: int | None = setting(None, "outputs of the projection of a gradient; none: the encoder's width", low=1)
    pca: int | None = setting(
        None,
        "principal components to keep, fitted on the prompt or the training set; none: all. Skipped if there are no "
        "more samples or features than that",
        low=1,
    )
    own_patches: bool = setting(
        False, "patches: a prompt image's own patches may be among its negatives, as in the paper and its code"
    )
    interleave: bool = setting(
        False, "preset=public-code: mix the channels of the five neighbours of a token, as that code does"
    )
    variant: Variant = Variant()

    def __post_init__(self) -> None:
        """Refuses settings that are meant for another preset."""
        if self.interleave and self.preset != "public-code":
            raise UserError("config key features.interleave is for features.preset=public-code")
        if len(set(self.gradients)) != len(self.gradients):
            raise UserError(f"config key features.gradients: {', '.join(self.gradients)} names an objective twice")
        if self.projection == "none" and self.pca is not None:
            raise UserError("config key features.pca needs features.projection=dense or tensor")


class Options(TypedDict, total=False):
    """The fields of `Features`, for functions that take them as keywords."""

    gradients: tuple[str, ...]
    preset: str
    projection: str
    rank: int
    dim: int | None
    pca: int | None
    own_patches: bool
    interleave: bool
    variant: Variant
