"""Which views are cut from each image for pretraining: groups of crops, each with one size and one range of scales."""

from __future__ import annotations

import dataclasses

from hummingbird.config import PretrainConfig

GLOBAL = "global"  # the group that every config has


@dataclasses.dataclass(frozen=True)
class ViewGroup:
    """Random resized crops of one size.

    Attributes:
      count: V, crops per image.
      size: S, side of the crops in pixels.
      area: range of a crop's area, as a fraction of the image's.
      aspect: range of width / height, sampled log-uniformly.
    """

    count: int
    size: int
    area: tuple[float, float]
    aspect: tuple[float, float]


def build_view_groups(config: PretrainConfig) -> dict[str, ViewGroup]:
    """Builds the view groups of a pretraining config, by name; all objectives share two views of `input_size`."""
    return {GLOBAL: ViewGroup(2, config.input_size, config.augment.crop_area, config.augment.crop_aspect)}
