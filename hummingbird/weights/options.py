"""Optional arguments for reading the weights of other projects; imported where Flax is not needed yet."""

from __future__ import annotations

from typing import TypedDict


class Options(TypedDict, total=False):
    """Optional arguments of `foreign.load`; None stands for its default."""

    family: str | None
    features: str | None
    layers: tuple[int, ...] | None
    norm: bool | None
    prefix: str | None
    heads: int | None
    grid: tuple[int, int] | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
