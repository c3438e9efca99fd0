"""Vision Transformer encoder (Dosovitskiy et al. 2021), from images to layer-normed patch tokens.

Parameters: `patch_embed` (kernel [patch * patch * 3, D]: rows are patch row, patch column, channel), `positions`
[gh * gw, D] (learned only), `cls` [D] (its own position included), `block_00` ... each with `norm1`, `attention/{qkv,
out}`, `norm2`, `mlp/{up, down}`, and `norm`. With `scan_layers` the blocks are one tree `blocks` whose arrays have a
leading layer axis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from hummingbird.errors import UserError
from hummingbird.models.attention import Dense, self_attention

# ImageNet statistics of pixels in [0, 1]; the encoder is fed (x - MEAN) / STD.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# name: (width D, depth, heads); MLP width 4 D. ViT Table 1; Ti and S from DeiT.
SIZES = {"ti": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "h": (1280, 32, 16)}


class Tokens(NamedTuple):
    """Output of the encoder: patches [B, N, D] in row-major order, cls [B, D] or None. Both after the last norm."""

    patches: Array
    cls: Array | None


class Mlp(nn.Module):
    """D -> hidden -> D with an exact GELU."""

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = nn.initializers.xavier_uniform()
        dense = lambda width, name: Dense(width, dtype=self.dtype, kernel_init=init, name=name)
        return dense(x.shape[-1], "down")(gelu(dense(self.hidden, "up")(x)))


def gelu(x: Array) -> Array:
    """x P(X <= x) of a standard normal X, exact; computed in float32, where 1 + erf keeps the tail.

    By erf, which XLA computes in fewer operations than the erfc of `flax.linen.gelu`.
    """
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(y * 0.5**0.5))).astype(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention of [B, N, D]."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, tokens, width = x.shape
        init = nn.initializers.xavier_uniform()
        qkv = Dense(3 * width, dtype=self.dtype, kernel_init=init, name="qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(batch, tokens, 3, self.heads, width // self.heads), 2, 0)
        out = self_attention(q, k, v).reshape(batch, tokens, width)
        return Dense(width, dtype=self.dtype, kernel_init=init, name="out")(out)


class Block(nn.Module):
    """Pre-norm transformer layer. Returns a pair, as `nn.scan` wants it."""

    heads: int
    mlp_dim: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, _: None = None) -> tuple[Array, None]:
        norm = lambda name: nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=name)
        x = x + Attention(self.heads, self.dtype, name="attention")(norm("norm1")(x))
        x = x + Mlp(self.mlp_dim, self.dtype, name="mlp")(norm("norm2")(x))
        return x, None


class ViT(nn.Module):
    """f of the paper: normalised images [B, H, W, 3] -> `Tokens`.

    Attributes:
      patch_size: side of a patch in pixels; must divide H and W.
      width, depth, heads, mlp_dim: sizes.
      grid: (rows, columns) of patches that learned positions are stored for; other grids are resized bicubically.
      cls_token: prepend a learned [CLS] token.
      positions: "learned" or "sincos2d" (fixed).
      scan_layers, remat, dtype: how it is computed; the result is the same up to rounding.
    """

    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_dim: int
    grid: tuple[int, int]
    cls_token: bool = False
    positions: str = "learned"
    scan_layers: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Tokens:
        patches = patchify(images, self.patch_size)  # [B, gh, gw, patch * patch * 3]
        batch, gh, gw, _ = patches.shape
        # A product of flattened patches is the strided convolution, and faster on every backend.
        x = Dense(self.width, dtype=self.dtype, name="patch_embed")(patches.reshape(batch, gh * gw, -1))
        x = x + POSITIONS[self.positions](self, gh, gw).astype(self.dtype)
        if self.cls_token:
            cls = self.param("cls", nn.initializers.normal(0.02), (self.width,)).astype(self.dtype)
            x = jnp.concatenate([jnp.broadcast_to(cls, (batch, 1, self.width)), x], axis=1)
        x = self._layers(x)
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        return Tokens(x[:, 1:], x[:, 0]) if self.cls_token else Tokens(x, None)

    def _layers(self, x: Array) -> Array:
        block = nn.remat(Block, prevent_cse=not self.scan_layers) if self.remat else Block
        sizes = {"heads": self.heads, "mlp_dim": self.mlp_dim, "dtype": self.dtype}
        if self.scan_layers:
            stack = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.depth)
            return stack(**sizes, name="blocks")(x, None)[0]
        for layer in range(self.depth):
            x, _ = block(**sizes, name=f"block_{layer:02d}")(x)
        return x


def patchify(images: Array, patch: int) -> Array:
    """[B, H, W, C] -> [B, H / patch, W / patch, patch * patch * C], values in row, column, channel order."""
    batch, height, width, channels = images.shape
    if height % patch or width % patch:
        raise UserError(f"images of {height}x{width} pixels cannot be cut into patches of {patch}: use a multiple")
    x = images.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // patch, width // patch, patch * patch * channels)


def to_grid(tokens: Array, images: Array, patch: int) -> Array:
    """[B, N, ...] tokens of images [B, H, W, 3] -> [B, H / patch, W / patch, ...]."""
    return tokens.reshape(len(tokens), images.shape[1] // patch, images.shape[2] // patch, *tokens.shape[2:])


def _learned_positions(vit: ViT, gh: int, gw: int) -> Array:
    table = vit.param("positions", nn.initializers.normal(0.02), (vit.grid[0] * vit.grid[1], vit.width))
    return resize_positions(table, vit.grid, (gh, gw))[None]


def _sincos_positions(vit: ViT, gh: int, gw: int) -> Array:
    return jnp.asarray(sincos2d(gh, gw, vit.width), jnp.float32)[None]


POSITIONS = {"learned": _learned_positions, "sincos2d": _sincos_positions}


def resize_positions(table: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """[old rows * old columns, D] -> [new rows * new columns, D], bicubic (Keys, a = -0.5), antialiased if smaller."""
    if tuple(old) == tuple(new):
        return table
    grid = table.reshape(*old, -1).astype(jnp.float32)
    return jax.image.resize(grid, (*new, grid.shape[-1]), "cubic", antialias=True).reshape(new[0] * new[1], -1)


def sincos2d(rows: int, columns: int, width: int) -> np.ndarray:
    """Fixed 2-D positions [rows * columns, width] (MoCo-v3): sin, cos of column, then sin, cos of row."""
    if width % 4:
        raise UserError(f"encoder.width {width} must be a multiple of 4 for encoder.positions=sincos2d")
    frequency = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
    row, column = (axis.reshape(-1, 1) * frequency for axis in np.mgrid[:rows, :columns].astype(np.float64))
    return np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=1)


def normalize(images: Array) -> Array:
    """Pixels in [0, 1] -> the encoder's input, with ImageNet's mean and standard deviation."""
    return (images - jnp.asarray(MEAN, images.dtype)) / jnp.asarray(STD, images.dtype)


def encoder_sizes(name: str) -> dict[str, int]:
    """Sizes that a name like `vit_b16` stands for: width, depth, heads, mlp_dim, patch_size."""
    match = re.fullmatch(r"vit_([a-z]+)(\d+)", name)
    if not match or match[1] not in SIZES or int(match[2]) < 1:
        raise UserError(f"encoder.name {name!r} is not known: use vit_{{{','.join(SIZES)}}}PATCH, for example vit_b16")
    width, depth, heads = SIZES[match[1]]
    return {"width": width, "depth": depth, "heads": heads, "mlp_dim": 4 * width, "patch_size": int(match[2])}


def build_vit(encoder: Mapping[str, Any], input_size: int, dtype: Any = jnp.float32) -> ViT:
    """The encoder of a config's `encoder` group; `input_size` sets the grid of learned positions.

    Raises:
      UserError: unknown name, heads that do not divide the width, a patch size that does not divide the input.
    """
    sizes = encoder_sizes(encoder["name"])
    given = {key: encoder[key] for key in sizes if encoder.get(key) is not None}
    if "width" in given and "mlp_dim" not in given:
        given["mlp_dim"] = 4 * given["width"]
    sizes.update(given)
    if sizes["width"] % sizes["heads"]:
        raise UserError(f"encoder.heads {sizes['heads']} does not divide encoder.width {sizes['width']}")
    if input_size % sizes["patch_size"]:
        raise UserError(f"input_size {input_size} is not a multiple of the patch size {sizes['patch_size']}")
    side = input_size // sizes["patch_size"]
    how = {key: encoder[key] for key in ("cls_token", "positions", "scan_layers", "remat") if key in encoder}
    return ViT(grid=(side, side), dtype=dtype, **sizes, **how)
