"""Objectives of pretraining, one in each file, and the losses they are made of."""

from __future__ import annotations

from collections.abc import Callable

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import DISTILLED
from hummingbird.errors import UserError
from hummingbird.objectives import (
    byol,
    classifier,
    densecl,
    dino,
    dinov2,
    hummingbird,
    ibot,
    loca,
    mae,
    maskfeat,
    mocov3,
    simclr,
    simsiam,
)
from hummingbird.objectives.byol import regression
from hummingbird.objectives.contrastive import contrastive, nt_xent, top1
from hummingbird.objectives.interface import Batch, Objective, Replicate
from hummingbird.objectives.mocov3 import info_nce
from hummingbird.objectives.simsiam import negative_cosine
from hummingbird.objectives.supervised import classification, retrieval_cross_entropy

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Objective",
    "build_objective",
    "classification",
    "contrastive",
    "info_nce",
    "negative_cosine",
    "nt_xent",
    "regression",
    "retrieval_cross_entropy",
    "top1",
]

# {objective.name: builds it from a config}
OBJECTIVES: dict[str, Callable[[PretrainConfig, Replicate], Objective]] = {
    "hummingbird": hummingbird.build,
    "simclr": simclr.build,
    "byol": byol.build,
    "simsiam": simsiam.build,
    "mocov3": mocov3.build,
    "densecl": densecl.build,
    "supervised": classifier.build,
    "dino": dino.build,
    "ibot": ibot.build,
    "dinov2": dinov2.build,
    "mae": mae.build,
    "maskfeat": maskfeat.build,
    "loca": loca.build,
}

# Which shared settings each objective uses; a setting that it would ignore is refused.
MULTI_CROP: tuple[str, ...] = DISTILLED  # the small crops of `augment.local`
ONE_VIEW: tuple[str, ...] = ("supervised", "mae", "maskfeat")  # no second global view
NOT_POOLED: tuple[str, ...] = ("mae", "maskfeat", "loca")  # neither context nor attention pooling
LABELLED: tuple[str, ...] = ("hummingbird", "supervised")  # labels


def build_objective(config: PretrainConfig, replicate: Replicate) -> Objective:
    """Builds the objective that a config names.

    Args:
      config: reads `objective.name` and what that objective needs.
      replicate: puts arrays whole on every device of the run's mesh.

    Raises:
      UserError: unknown name, or settings that do not fit the objective.
    """
    if config.objective.name not in OBJECTIVES:
        raise UserError(f"config key objective.name: {config.objective.name!r} is not one of {', '.join(OBJECTIVES)}")
    check_applies(config)
    return OBJECTIVES[config.objective.name](config, replicate)


def check_applies(config: PretrainConfig) -> None:
    """Raises UserError if a config sets something that its objective does not use."""
    name = config.objective.name
    if config.augment.local.count and name not in MULTI_CROP:
        raise UserError(f"config key augment.local.count: objective.name={name} uses no local crops; use 0")
    if config.augment.views < 2 and name not in ONE_VIEW:
        raise UserError(f"config key augment.views: objective.name={name} compares two views; use 2")
    if config.context.bank_length and name in NOT_POOLED:
        raise UserError(f"config key context.bank_length: objective.name={name} compares no pooled features; use 0")
    if config.pooling in ("qkv", "qk") and name in NOT_POOLED:
        raise UserError(f"config key pooling: objective.name={name} does not train attention pooling; use mean or cls")
    if config.supervised.weight and name not in LABELLED:
        raise UserError(f"config key supervised.weight: objective.name={name} has no supervised part; use 0")
