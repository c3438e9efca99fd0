"""Encoders that are trained with their decoder, and what they gain over frozen ones.

MAE's fine-tuning for segmentation, like BEiT's, adds tables of relative positions and LayerScale to a ViT that was
pretrained without. Tables of zeros and scales of one change nothing at first.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import Backbone
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.params import Params, leaf, subtree
from hummingbird.models.positions import resize_positions

RESIZED = "bilinear"  # how tables serve other grids than that of the training crops


def trainable(
    backbone: Backbone,
    grid: tuple[int, int],
    *,
    relative_bias: bool = False,
    layer_scale: bool = False,
    drop_path: float = 0.0,
    remat: bool = False,
) -> Backbone:
    """Returns an encoder as it is trained; `trainable_params` returns parameters that fit it.

    Learned positions are those of `grid` from now on: interpolated once, then trained, as MAE's are.

    Args:
      backbone: of the frozen encoder.
      grid: rows and columns of patches of the training crops.
      relative_bias: each layer of a ViT gets a table of relative positions, if it has no relative or rotary ones.
      layer_scale: each branch of a ViT gets a scale for each channel, if it has none.
      drop_path: probability that an image skips a branch of the last layer, from 0 in the first.
      remat: recompute each block in the backward pass.

    Raises:
      UserError: one of these is requested for an encoder that is not a ViT.
    """
    if not isinstance(backbone, FrozenViT):
        wanted = {"relative_bias": relative_bias, "layer_scale": layer_scale, "drop_path": drop_path}
        for name in (name for name, value in wanted.items() if value):
            raise UserError(f"config key decoder.{name}: {backbone} is not a ViT; leave it out")
        return backbone
    arch = backbone.arch
    adds_table = relative_bias and not arch.relative and not arch.rotary
    arch = dataclasses.replace(
        arch,
        grid=arch.grid if arch.relative else grid if arch.positions == "learned" or adds_table else arch.grid,
        relative=RESIZED if adds_table else arch.relative,
        layer_scale=arch.layer_scale or layer_scale,
    )
    return dataclasses.replace(backbone, arch=arch, drop_path=drop_path, remat=remat)


def trainable_params(params: Params, old: Backbone, new: Backbone) -> Params:
    """Returns the parameters of `old` with what `new` has in addition, float32; features stay what they were.

    Args:
      params: of the frozen encoder.
      old: its backbone.
      new: what `trainable` made of it.
    """
    if not isinstance(old, FrozenViT) or not isinstance(new, FrozenViT):
        return params
    before, after = old.arch, new.arch
    names = [f"block_{i:02d}" for i in range(after.depth)]
    changed: dict[str, Array | Params] = {name: _added(subtree(params, name), before, after) for name in names}
    if "positions" in params and before.grid and after.grid and before.grid != after.grid:
        changed["positions"] = resize_positions(leaf(params, "positions"), before.grid, after.grid, before.resize)
    return {**params, **changed}


def _added(block: Params, before: Architecture, after: Architecture) -> Params:
    added: dict[str, Array | Params] = {}
    if after.layer_scale and not before.layer_scale:
        added |= {name: jnp.ones(after.width, jnp.float32) for name in ("scale1", "scale2")}
    if after.relative and not before.relative and after.grid:
        entries = (2 * after.grid[0] - 1) * (2 * after.grid[1] - 1) + 3
        table = jnp.zeros((entries, after.heads), jnp.float32)
        added["attention"] = {**subtree(block, "attention"), "relative": table}
    return {**block, **added}
