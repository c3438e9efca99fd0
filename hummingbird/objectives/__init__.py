"""Objectives of pretraining, one in each file, and the losses they are made of."""

from __future__ import annotations

from collections.abc import Callable

from jax import Array

from hummingbird.config import PretrainConfig
from hummingbird.errors import UserError
from hummingbird.objectives import hummingbird, simclr
from hummingbird.objectives.contrastive import contrastive, nt_xent, top1
from hummingbird.objectives.interface import Batch, Objective
from hummingbird.objectives.supervised import classification, retrieval_cross_entropy

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Objective",
    "build_objective",
    "classification",
    "contrastive",
    "nt_xent",
    "retrieval_cross_entropy",
    "top1",
]

Replicate = Callable[[tuple[Array, Array]], tuple[Array, Array]]

# {objective.name: builds it from a config}
OBJECTIVES: dict[str, Callable[[PretrainConfig, Replicate], Objective]] = {
    "hummingbird": hummingbird.build,
    "simclr": simclr.build,
}


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
    return OBJECTIVES[config.objective.name](config, replicate)
