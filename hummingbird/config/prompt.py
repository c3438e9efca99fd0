"""Settings of `hummingbird.Prompt`."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypedDict

from hummingbird.config.schema import setting


@dataclasses.dataclass(frozen=True)
class PromptSettings:
    """How a prompt shows images to its encoder, and how it answers."""

    input_size: int = setting(
        512, "side of the encoder's input, pixels; rounded to a multiple of the patch size", low=1
    )
    resize: Literal["squash", "shorter", "none"] = setting(
        "squash",
        "images become squares of input_size (squash), or their shorter side gets that length (shorter), or they keep "
        "their size, and the encoder gets overlapping tiles of input_size (none): for large images",
    )
    scale: float = setting(1.0, "resize=none: pixels that the encoder gets for a pixel of the image", above=0, high=16)
    value_range: tuple[float, float] | None = setting(
        None, "black and white level of images that do not span the range of their type, such as 0,4095; none: they do"
    )
    void: int = setting(255, "class id of pixels without an annotation", low=0, high=65_535)
    neighbours: int = setting(30, "k, patches of the prompt that vote for a patch", low=1)
    temperature: float = setting(0.02, "beta, softmax temperature of the neighbours' votes (Eq. 1)", above=0)
    refine: Literal["none", "guided"] = setting(
        "none", "smooth votes along image edges (guided filter); published numbers do not use it"
    )
    batch_size: int = setting(8, "images encoded at a time", low=1)


class Search(TypedDict, total=False):
    """What may differ from one prediction to the next."""

    neighbours: int
    temperature: float
    refine: Literal["none", "guided"]


class Options(Search, total=False):
    """The settings as keyword arguments."""

    input_size: int
    resize: Literal["squash", "shorter", "none"]
    scale: float
    value_range: tuple[float, float] | None
    void: int
    batch_size: int
