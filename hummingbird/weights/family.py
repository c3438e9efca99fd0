"""What a family of weights is: settings that its arrays do not show, and how its files are recognised."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable

from hummingbird.models.architecture import MEAN, STD
from hummingbird.weights.mapping import Arrays


def never(names: Arrays) -> bool:
    """Holds for no file."""
    return False


def always(names: Arrays) -> bool:
    """Holds for every file."""
    return True


def has(*wanted: str) -> Callable[[Arrays], bool]:
    """Returns a function that says whether a file has one of the arrays `wanted`."""
    return lambda names: any(w in names for w in wanted)


def bare(names: Arrays) -> bool:
    """Returns whether it is a plain ViT in timm's names: no classifier, no LayerScale, no registers."""
    return not any(n.startswith(("head.weight", "fc_norm", "attn_pool", "norm_pre")) or "reg" in n for n in names) and (
        not scaled(names)
    )


def scaled(names: Arrays) -> bool:
    """Returns whether the branches of blocks are scaled (LayerScale)."""
    return any("ls1.gamma" in n or "gamma_1" in n for n in names)


def relative(names: Arrays) -> bool:
    """Returns whether attention has tables of relative positions, for each layer or for all."""
    return any(n.endswith("relative_position_bias_table") for n in names)


def gated(names: Arrays) -> bool:
    """Returns whether the MLP of a ViT in EVA's names has a gate, beside its first layer or within."""
    up, down = names.get("blocks.0.mlp.fc1.weight"), names.get("blocks.0.mlp.fc2.weight")
    packed = up is not None and down is not None and up.shape[0] == 2 * down.shape[-1]
    return packed or any(n.startswith(("blocks.0.mlp.fc1_g.", "blocks.0.mlp.w1.")) for n in names)


def first_eva(names: Arrays) -> bool:
    """Returns whether it is an EVA of the first version; EVA02-CLIP-E, 1792 wide, norms after its branches."""
    table = names.get("pos_embed")
    if table is None or table.shape[-1] == 1792 or relative(names) or gated(names):
        return False
    return "blocks.0.attn.q_bias" in names  # a plain ViT without such biases has the names of all other arrays


def perception(names: Arrays) -> bool:
    """Returns whether it is a Perception Encoder: norms before the blocks, and a pooling or LayerScale of its own."""
    pooled = any(n.startswith(("attn_pool.probe", "attn_pool.latent")) for n in names)
    scale = any(n.endswith(("ls_1.gamma", "gamma_1")) for n in names)
    for first, last in (("ln_pre.weight", "ln_post.weight"), ("norm_pre.weight", "norm.weight")):
        if first in names:
            return pooled or scale or last not in names
    return False


def positions_without_cls(names: Arrays) -> bool:
    """Returns whether there is a [CLS] token but no position for it."""
    table = names.get("pos_embed")
    return "cls_token" in names and table is not None and round(table.shape[-2] ** 0.5) ** 2 == table.shape[-2]


@dataclasses.dataclass(frozen=True)
class Family:
    """Settings that the arrays of a project do not show, and how its files are recognised.

    Attributes:
      layouts: namings of arrays that it uses, names in `layouts.LAYOUTS`.
      about: for people.
      mean, std: statistics of pixels in [0, 1]; None: known from a config only.
      epsilon, activation, resize, rotary, rotary_rule, relative: as in `Architecture`.
      possible: whether arrays with these names (prefix removed) may belong to this family.
      sure: whether they can belong to no other one.
      prefix: pattern of prefixes that only this family uses.
      names: pattern of file names that suggest this family.
      model_types: values of Hugging Face's `model_type`.
      heads: (width, attention heads) where they differ from `HEADS`.
    """

    layouts: tuple[str, ...]
    about: str
    mean: tuple[float, float, float] | None = MEAN
    std: tuple[float, float, float] | None = STD
    epsilon: float = 1e-6
    activation: str = "gelu"
    resize: str = "bicubic_antialias"
    rotary: float = 0.0
    rotary_rule: str = "dinov3"
    relative: str = ""
    possible: Callable[[Arrays], bool] = always
    sure: Callable[[Arrays], bool] = never
    prefix: str = r"(?!)"
    names: str = r"(?!)"
    model_types: tuple[str, ...] = ()
    heads: tuple[tuple[int, int], ...] = ()

    @property
    def settings(self) -> tuple[Hashable, ...]:
        """Everything about a family that changes the features."""
        pixels, positions = (self.mean, self.std), (self.resize, self.rotary, self.rotary_rule, self.relative)
        return (*pixels, self.epsilon, self.activation, *positions, self.heads)
