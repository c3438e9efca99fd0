"""Which views are cut from each image for pretraining: groups of crops, each with one size and one range of scales."""

from __future__ import annotations

import dataclasses

from hummingbird.config import PretrainConfig

GLOBAL = "global"  # the group that every config has
LOCAL = "local"  # small crops beside it (multi-crop)


@dataclasses.dataclass(frozen=True)
class ViewGroup:
    """Random resized crops of one size.

    Attributes:
      count: V, crops per image.
      size: S, side of the crops in pixels.
      area: range of a crop's area, as a fraction of the image's.
      aspect: range of width / height, sampled log-uniformly.
      same: whether all of an image's crops are one and the same.
    """

    count: int
    size: int
    area: tuple[float, float]
    aspect: tuple[float, float]
    same: bool = False


def build_view_groups(config: PretrainConfig) -> dict[str, ViewGroup]:
    """Builds the view groups of a pretraining config, by name: `augment.views` of `input_size`, and local crops."""
    augment, local = config.augment, config.augment.local
    groups = {
        GLOBAL: ViewGroup(
            augment.views, config.input_size, augment.crop_area, augment.crop_aspect, same=augment.same_crop
        )
    }
    if local.count:
        groups[LOCAL] = ViewGroup(local.count, local.size, local.crop_area, augment.crop_aspect)
    return groups
