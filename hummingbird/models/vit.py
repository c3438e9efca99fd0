"""Vision Transformer encoder (Dosovitskiy et al. 2021), from images to layer-normed patch tokens.

One module serves pretraining and the image towers of other projects; `Architecture` says how they differ.

Parameters: `patch_embed` (kernel [patch * patch * 3, D]: rows are patch row, patch column, channel), `positions`
[rows * columns, D] (learned only), `cls` [D] (its own position included), `registers` [R, D], `mask_token` [D] (where
objectives mask patches), `pre_norm`, `block_00` ... each with `norm1`, `attention/{qkv, out}`, `scale1`, `norm2`,
`mlp/{up, down}`, `scale2`, and `norm`; `attention/relative` are BEiT's tables of relative positions. With `scan_layers`
the blocks are one tree `blocks` of arrays with a leading layer axis.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key, Shaped

from hummingbird.errors import UserError
from hummingbird.models.architecture import MEAN, STD, Architecture, build_architecture
from hummingbird.models.attention import Dense
from hummingbird.models.backbone import Tokens
from hummingbird.models.blocks import Block, Places, Relative, Rotation, survival_factors
from hummingbird.models.params import Params
from hummingbird.models.positions import ROTARY, relative_matrix, resize_positions, sincos2d


class ViT(nn.Module):
    """f of the paper: normalised images [B, H, W, 3] to `Tokens`.

    Attributes:
      arch: sizes and variations.
      scan_layers: compile one block and scan it over the layers: faster to compile.
      remat: recompute each block in the backward pass: less memory.
      dtype: type that it computes in; parameters are float32.
      layer_scale: initial value of LayerScale, if there is one.
      drop_path: probability that an image skips a branch of the last layer, in calls with `drop_keys`.
      masked: whether there is a token for masked patches.
      freeze_patches: the patch embedding gets no gradient (MoCo v3, Sec. 4.2).
    """

    arch: Architecture
    scan_layers: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    layer_scale: float = 1.0
    drop_path: float = 0.0
    masked: bool = False
    freeze_patches: bool = False

    @property
    def width(self) -> int:
        """D, channels of a token."""
        return self.arch.width

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.arch.patch_size

    def setup(self) -> None:
        arch, normal = self.arch, nn.initializers.normal(0.02)
        # A product of flattened patches is the strided convolution, and faster on every backend.
        self.patch_embed = Dense(arch.width, use_bias=arch.patch_bias, dtype=self.dtype)
        if arch.positions == "learned" and arch.grid:
            self.positions = self.param("positions", normal, (arch.grid[0] * arch.grid[1], arch.width))
        if arch.cls:
            self.cls = self.param("cls", normal, (arch.width,))
        if arch.registers:
            self.registers = self.param("registers", normal, (arch.registers, arch.width))
        if self.masked:
            self.mask_token = self.param("mask_token", normal, (arch.width,))
        if arch.pre_norm:
            self.pre_norm = nn.LayerNorm(epsilon=arch.epsilon, dtype=self.dtype)
        block = nn.remat(Block, prevent_cse=not self.scan_layers) if self.remat else Block
        if self.scan_layers:
            axes: Any = (nn.broadcast, 0)  # one per argument, where Flax's annotation has a number
            scanned = nn.scan(block, {"params": 0}, split_rngs={"params": True}, in_axes=axes, length=arch.depth)
            self.blocks = scanned(arch, self.dtype, self.layer_scale)
        else:
            self.layers = [block(arch, self.dtype, self.layer_scale, name=f"block_{i:02d}") for i in range(arch.depth)]
        if arch.final_norm:
            self.norm = nn.LayerNorm(epsilon=arch.epsilon, dtype=self.dtype)

    def __call__(
        self,
        images: Float[Array | np.ndarray, "B H W 3"],
        mask: Bool[Array, "B N"] | None = None,
        keep: Int[Array, "B K"] | None = None,
        drop_keys: Key[Array, " B"] | None = None,
    ) -> Tokens:
        """Encodes normalised images; their sides are multiples of the patch size.

        Args:
          images: of any size.
          mask: patches to replace by the mask token; their positions stay.
          keep: numbers of the patches to encode; only these K are returned, in this order. None: all.
          drop_keys: one key per image for stochastic depth; None: without.
        """
        x, places = self.embed(images, mask, keep)
        depth, factors = self.arch.depth, None
        if drop_keys is not None and self.drop_path:
            factors = survival_factors(drop_keys, depth, self.drop_path)
        if self.scan_layers:
            x, _ = self.blocks(x, places, factors)
        else:
            for i, block in enumerate(self.layers):
                x, _ = block(x, places, None if factors is None else factors[i])
        return split_tokens(self.normed(x), self.arch)

    def embed(
        self,
        images: Float[Array | np.ndarray, "B H W 3"],
        mask: Bool[Array, "B N"] | None = None,
        keep: Int[Array, "B K"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Places]:
        """Returns the input of the first block, T tokens ([CLS], registers, patches), and what its attention needs."""
        arch = self.arch
        patches = patchify(images, arch.patch_size)
        batch, rows, columns, values = patches.shape
        x = self.patch_embed(patches.reshape(batch, rows * columns, values))
        x = jax.lax.stop_gradient(x) if self.freeze_patches else x
        if mask is not None:
            x = jnp.where(mask[..., None], self.mask_token.astype(self.dtype), x)
        if arch.positions == "learned" and arch.grid:
            x = x + resize_positions(self.positions, arch.grid, (rows, columns), arch.resize).astype(self.dtype)
        elif arch.positions == "sincos2d":  # computed for this grid; libraries that read our exports interpolate
            x = x + jnp.asarray(sincos2d(rows, columns, arch.width), self.dtype)
        if keep is not None:
            x = take_tokens(x, keep)
        prefix = [self.cls[None]] if arch.cls else []
        prefix += [self.registers] if arch.registers else []
        x = jnp.concatenate([jnp.broadcast_to(t.astype(self.dtype), (batch, *t.shape)) for t in prefix] + [x], axis=1)
        if arch.pre_norm:
            x = self.pre_norm(x)
        return x, places_of(arch, rows, columns)

    def normed(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Applies the final layer norm, if there is one."""
        return self.norm(x) if self.arch.final_norm else x


def places_of(arch: Architecture, rows: int, columns: int) -> Places:
    """Returns what the attention of each layer needs to know about the positions of a grid of patches."""
    if arch.rotary:
        angles = ROTARY[arch.rotary_rule](arch, rows, columns)
        return Rotation(jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32))
    if arch.relative and arch.grid:
        r, c, index = relative_matrix(arch.relative, arch.grid, (rows, columns))
        # Registers take the entries of [CLS]; without one, its entries are unused.
        tokens = np.concatenate([np.zeros(arch.prefix, int), np.arange(1, rows * columns + 1)])
        index = index[np.ix_(tokens, tokens)]
        return Relative(jnp.asarray(r, jnp.float32), jnp.asarray(c, jnp.float32), jnp.asarray(index))
    return None


def take_tokens(x: Float[Array | np.ndarray, "B N D"], keep: Int[Array | np.ndarray, "B K"]) -> Float[Array, "B K D"]:
    """Returns the tokens with these numbers: as a product, since the gradient of a gather adds in no fixed order."""
    return jnp.einsum("bkn,bnd->bkd", jax.nn.one_hot(keep, x.shape[1], dtype=x.dtype), x, precision="highest")


def split_tokens(x: Float[Array, "B T D"], arch: Architecture) -> Tokens:
    """Splits T tokens ([CLS], registers, patches) into what they stand for; registers are dropped."""
    return Tokens(x[:, arch.prefix :], x[:, 0] if arch.cls else None)


def patchify(images: Shaped[Array | np.ndarray, "B H W C"], patch: int) -> Shaped[Array, "B h w V"]:
    """Cuts images into patches of V = patch * patch * C values, in row, column, channel order.

    Raises:
      UserError: `patch` does not divide the sides.

    Example:
      >>> patchify(jnp.zeros((2, 32, 48, 3)), 16).shape
      (2, 2, 3, 768)
    """
    batch, height, width, channels = images.shape
    if height % patch or width % patch:
        raise UserError(f"images of {height}x{width} pixels cannot be cut into patches of {patch}: use a multiple")
    x = jnp.asarray(images).reshape(batch, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // patch, width // patch, patch * patch * channels)


def to_grid(
    tokens: Shaped[Array, "B N *more"], images: Shaped[Array | np.ndarray, "B H W C"], patch: int
) -> Shaped[Array, "B h w *more"]:
    """Arranges the tokens of images as a map of H / patch rows and W / patch columns."""
    return tokens.reshape(len(tokens), images.shape[1] // patch, images.shape[2] // patch, *tokens.shape[2:])


def unstacked(params: Params, depth: int) -> Params:
    """Splits scanned layers: `blocks`, with arrays that have a leading layer axis, into `block_00`, `block_01`, ..."""
    if "blocks" not in params:
        return params
    blocks = {f"block_{i:02d}": jax.tree.map(lambda x: x[i], params["blocks"]) for i in range(depth)}  # noqa: B023
    return {name: x for name, x in params.items() if name != "blocks"} | blocks


def normalize(images: Float[Array | np.ndarray, "*B H W 3"]) -> Float[Array, "*B H W 3"]:
    """Normalises pixels in [0, 1] by ImageNet's mean and standard deviation: the input of a pretraining encoder."""
    return (jnp.asarray(images) - jnp.asarray(MEAN, images.dtype)) / jnp.asarray(STD, images.dtype)


def build_vit(
    encoder: Mapping[str, int | float | str | bool | None],
    input_size: int,
    dtype: DTypeLike = jnp.float32,
    masked: bool = False,
) -> ViT:
    """Returns the encoder that a pretraining config's `encoder` group describes.

    Args:
      encoder: as in `build_architecture`, and optionally `scan_layers`, `remat`, `layer_scale`, `drop_path` and
        `freeze_patches`.
      input_size: side of the training images in pixels.
      dtype: type that it computes in.
      masked: whether patches may be masked.

    Raises:
      UserError: as `build_architecture` raises.
    """
    return ViT(
        build_architecture(encoder, input_size),
        scan_layers=bool(encoder.get("scan_layers", False)),
        remat=bool(encoder.get("remat", False)),
        dtype=dtype,
        layer_scale=float(encoder.get("layer_scale") or 1.0),
        drop_path=float(encoder.get("drop_path") or 0.0),
        masked=masked,
        freeze_patches=bool(encoder.get("freeze_patches", False)),
    )
