"""Architectures of vision transformers: everything besides its arrays that an encoder needs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import ClassVar

from hummingbird.errors import UserError

# ImageNet statistics of pixels in [0, 1]; a pretraining encoder takes (x - MEAN) / STD.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# name: (width D, depth, heads); the MLP has width 4 D. ViT Table 1; Ti and S from DeiT.
SIZES = {"ti": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "h": (1280, 32, 16)}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Sizes and variations of a vision transformer. Stored in hummingbird.json of imported and exported folders.

    Attributes:
      patch_size: side of a patch in pixels.
      width: D, channels of a token.
      depth: number of blocks.
      heads: attention heads.
      mlp_dim: hidden width of the MLP, the input width of `mlp/down`.
      grid: (rows, columns) of patches that learned or relative positions are stored for; None without such a table.
      cls: whether there is a [CLS] token.
      registers: number of register tokens.
      activation: nonlinearity of the MLP, a name in `blocks.ACTIVATIONS`.
      swiglu: whether the MLP is gated; `mlp/up` then holds gate and value side by side, gate first.
      positions: "learned", "sincos2d" (fixed) or "none".
      resize: how learned positions are resized to other grids, a name in `positions.RESIZE`, or `CROPPED`.
      rotary: theta of rotary positions; 0 for none.
      rotary_rule: which angles these are, a name in `positions.ROTARY`.
      relative: how each layer's table of relative positions (BEiT) is resized from `grid` to other grids, a name in
        `positions.RELATIVE`; "" for none.
      layer_scale: whether the branches of a block are scaled (`scale1`, `scale2`).
      pre_norm: whether a layer norm precedes the blocks.
      final_norm: whether a layer norm follows the blocks.
      patch_bias, qkv_bias, out_bias, mlp_bias: whether these layers have biases.
      attention_norm, mlp_norm: whether a layer norm precedes the last dense layer of attention and MLP (sub-LN).
      epsilon: of every layer norm.
      mean, std: statistics of pixels in [0, 1] by which images are normalised.
    """

    called: ClassVar[str] = "a vision transformer"

    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_dim: int
    grid: tuple[int, int] | None = None
    cls: bool = True
    registers: int = 0
    activation: str = "gelu"
    swiglu: bool = False
    positions: str = "learned"
    resize: str = "bicubic_antialias"
    rotary: float = 0.0
    rotary_rule: str = "dinov3"
    relative: str = ""
    layer_scale: bool = False
    pre_norm: bool = False
    final_norm: bool = True
    patch_bias: bool = True
    qkv_bias: bool = True
    out_bias: bool = True
    mlp_bias: bool = True
    attention_norm: bool = False
    mlp_norm: bool = False
    epsilon: float = 1e-6
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: [CLS], then registers."""
        return int(self.cls) + self.registers


def encoder_sizes(name: str) -> dict[str, int]:
    """Returns the sizes that a name such as `vit_b16` stands for.

    Returns:
      width, depth, heads, mlp_dim and patch_size.

    Raises:
      UserError: the name is not `vit_SIZEPATCH`.

    Example:
      >>> encoder_sizes("vit_s8")
      {'width': 384, 'depth': 12, 'heads': 6, 'mlp_dim': 1536, 'patch_size': 8}
    """
    match = re.fullmatch(r"vit_([a-z]+)(\d+)", name)
    if not match or match[1] not in SIZES or int(match[2]) < 1:
        raise UserError(f"encoder.name {name!r} is not known: use vit_{{{','.join(SIZES)}}}PATCH, for example vit_b16")
    width, depth, heads = SIZES[match[1]]
    return {"width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width, "patch_size": int(match[2])}


def build_architecture(encoder: Mapping[str, int | float | str | bool | None], input_size: int) -> Architecture:
    """Returns the architecture of an encoder to pretrain.

    Args:
      encoder: `name` (vit_b16), and optionally sizes that replace those of the name, `cls_token`, `positions`,
        `registers`, `layer_scale` and `mlp`.
      input_size: side of the training images in pixels; sets the grid of learned positions.

    Raises:
      UserError: unknown name, heads that do not divide the width, a patch size that does not divide the input.
    """
    sizes = encoder_sizes(str(encoder["name"]))
    given = {key: int(value) for key in sizes if (value := encoder.get(key)) is not None}
    mlp = str(encoder.get("mlp") or "gelu")
    gated = mlp == "swiglu"
    if "mlp_dim" not in given:
        hidden = 4 * given.get("width", sizes["width"])
        # Two thirds, up to a multiple of 8: as many parameters as without the gate (DINOv2).
        given["mlp_dim"] = 8 * -(-2 * hidden // (3 * 8)) if gated else hidden
    sizes |= given
    if sizes["width"] % sizes["heads"]:
        raise UserError(f"encoder.heads {sizes['heads']} does not divide encoder.width {sizes['width']}")
    if input_size % sizes["patch_size"]:
        raise UserError(f"input_size {input_size} is not a multiple of the patch size {sizes['patch_size']}")
    side = input_size // sizes["patch_size"]
    cls, positions = bool(encoder.get("cls_token", False)), str(encoder.get("positions", "learned"))
    return Architecture(
        patch_size=sizes["patch_size"],
        width=sizes["width"],
        depth=sizes["depth"],
        heads=sizes["heads"],
        mlp_dim=sizes["mlp_dim"],
        grid=(side, side),
        cls=cls,
        registers=int(encoder.get("registers") or 0),
        activation="silu" if gated else mlp,
        swiglu=gated,
        positions=positions,
        layer_scale=bool(encoder.get("layer_scale")),
    )
