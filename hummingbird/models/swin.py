"""Swin transformers (Liu et al. 2021; V2: Liu et al. 2022) as dense encoders: the map of a stage.

Windows and shifts are those of a model that timm creates for the size of the images: a window is never larger than the
map, the map is padded to whole windows after the shift, and no side is shifted that one window covers.

Parameters: `stem`, `stem_norm`; `shrink_1`, `shrink_1_norm` and so on before each later stage; `block_00` ... counted
through all stages, each with `norm1`, `attention/{qkv, out}`, `norm2`, `mlp/{up, down}` and the attention's `relative`
(V1) or `offset_up`, `offset_down` and `scale` (V2); and `norm`.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from hummingbird.models.attention import Dense
from hummingbird.models.backbone import Features, Images, LastBlock, Projection, Tokens
from hummingbird.models.blocks import gelu
from hummingbird.models.params import Params, leaf, subtree
from hummingbird.models.positions import RELATIVE
from hummingbird.models.staged import FrozenStages, StagedArchitecture, Stages
from hummingbird.models.vit import patchify
from hummingbird.models.windows import mask, offsets, unwindowed, windows


@dataclasses.dataclass(frozen=True)
class SwinArchitecture(StagedArchitecture):
    """Sizes and variations of a Swin transformer.

    Attributes:
      heads: attention heads of each stage.
      windows: rows and columns of each stage's windows, in cells.
      second: whether it is a V2: cosine attention, norms after the branches, continuous relative positions.
      pretrained: V2's windows in pretraining, which the relative positions are measured by.
      qkv_bias: whether queries and values (in V1 keys too) have biases.
      stem_norm: whether a layer norm follows the patch embedding.
    """

    called: ClassVar[str] = "a Swin transformer"
    attends: ClassVar[bool] = True

    heads: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()
    second: bool = False
    pretrained: tuple[int, ...] = ()
    qkv_bias: bool = True
    stem_norm: bool = True

    def first_block(self, stage: int) -> int:
        """Returns the number of a stage's first block among all blocks."""
        return sum(self.depths[:stage])

    def backbone(self, features: Features, dtype: str) -> FrozenSwin:
        return FrozenSwin(self, features, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class FrozenSwin(FrozenStages):
    """See `FrozenStages`."""

    arch: SwinArchitecture

    def module(self) -> Swin:
        return Swin(self.arch, self.dtype_of_module())

    def body(self, params: Params, images: Images) -> LastBlock:
        stage, model = self.stage(), self.module().bind({"params": params})
        x, last = model.before_last(self.normalized(images, stage), stage), model.last(stage)
        return LastBlock(_flat(x), _flat(last.attend(x)))

    def tail(self, params: Params, last: LastBlock, projected: Float[Array, "B T D"] | None) -> Float[Array, "B T D"]:
        stage, model = self.stage(), Swin(self.arch).bind({"params": params})
        block = model.last(stage)
        if projected is None:
            projected = block.project(last.attended.astype(jnp.float32))
        x = block.finish(last.residual.astype(jnp.float32), projected.astype(jnp.float32))
        return model.normed(x) if self.chosen.norm and stage == self.depth - 1 else x

    def projection(self, params: Params) -> Projection:
        number = self.arch.first_block(self.stage() + 1) - 1
        out = subtree(params, f"block_{number:02d}", "attention", "out")
        return Projection(leaf(out, "kernel"), leaf(out, "bias"))

    def split(self, tokens: Float[Array, "B T D"]) -> Tokens:
        return Tokens(tokens, None)


def _flat(x: Float[Array, "B h w D"]) -> Float[Array, "B T D"]:
    return x.reshape(x.shape[0], -1, x.shape[-1])


class Swin(Stages):
    """See `Stages`."""

    arch: SwinArchitecture
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        arch, later = self.arch, range(1, len(self.arch.depths))
        norm = functools.partial(nn.LayerNorm, epsilon=arch.epsilon, dtype=self.dtype)
        self.stem = Dense(arch.widths[0], dtype=self.dtype)
        self.stem_norm = norm() if arch.stem_norm else None
        self.shrinks = [Dense(arch.widths[i], use_bias=False, dtype=self.dtype, name=f"shrink_{i}") for i in later]
        self.shrink_norms = [norm(name=f"shrink_{i}_norm") for i in later]
        stage_of = [stage for stage, depth in enumerate(arch.depths) for _ in range(depth)]
        self.blocks = [
            SwinBlock(arch, stage, (i - arch.first_block(stage)) % 2 == 1, self.dtype, name=f"block_{i:02d}")
            for i, stage in enumerate(stage_of)
        ]
        self.norm = norm() if arch.final_norm else None

    def __call__(self, images: Float[Array | np.ndarray, "B H W 3"]) -> Float[Array, "B h w D"]:
        return self.normed(self.stages(images, len(self.arch.depths))[-1])

    def stages(self, images: Float[Array | np.ndarray, "B H W 3"], count: int) -> list[Float[Array, "B _ _ _"]]:
        x, maps = self._embed(images), list[Array]()
        for stage in range(count):
            x = self._enter(x, stage)
            for block in self._of_stage(stage):
                x = block(x)
            maps.append(x)
        return maps

    def before_last(self, images: Float[Array | np.ndarray, "B H W 3"], stage: int) -> Float[Array, "B h w D"]:
        """Returns the input of the last block of a stage."""
        before = self.stages(images, stage)
        x = self._enter(before[-1] if before else self._embed(images), stage)
        for block in self._of_stage(stage)[:-1]:
            x = block(x)
        return x

    def last(self, stage: int) -> SwinBlock:
        """Returns the last block of a stage."""
        return self._of_stage(stage)[-1]

    def normed(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        return x if self.norm is None else self.norm(x)

    def _of_stage(self, stage: int) -> list[SwinBlock]:
        return list(self.blocks[self.arch.first_block(stage) : self.arch.first_block(stage + 1)])

    def _embed(self, images: Float[Array | np.ndarray, "B H W 3"]) -> Float[Array, "B h w D"]:
        x = self.stem(patchify(images, self.arch.stem))
        return x if self.stem_norm is None else self.stem_norm(x)

    def _enter(self, x: Float[Array, "B h w D"], stage: int) -> Float[Array, "B _ _ E"]:
        """Merges 2 x 2 cells into one before each stage but the first: columns of cells first, then rows."""
        if not stage:
            return x
        batch, rows, columns, width = x.shape
        x = x.reshape(batch, rows // 2, 2, columns // 2, 2, width).transpose(0, 1, 3, 4, 2, 5)
        x = x.reshape(batch, rows // 2, columns // 2, 4 * width)
        shrink, norm = self.shrinks[stage - 1], self.shrink_norms[stage - 1]
        return norm(shrink(x)) if self.arch.second else shrink(norm(x))


class SwinBlock(nn.Module):
    """Attention within windows, shifted by half a window in every second block, and an MLP.

    Attributes:
      arch: sizes and variations.
      stage: that it belongs to.
      shifted: whether its windows are shifted.
      dtype: type that it computes in.
    """

    arch: SwinArchitecture
    stage: int
    shifted: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        width, norm = self.arch.widths[self.stage], functools.partial(nn.LayerNorm, dtype=self.dtype)
        self.norm1, self.norm2 = norm(epsilon=self.arch.epsilon), norm(epsilon=self.arch.epsilon)
        self.attention = WindowAttention(self.arch, self.stage, self.shifted, self.dtype)
        self.mlp = SwinMlp(width, self.dtype)

    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        return self.finish(x, self.project(self.attend(x)))

    def attend(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        """Returns the input of the attention's output projection."""
        return self.attention(x if self.arch.second else self.norm1(x))

    def project(self, attended: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Applies the attention's output projection."""
        return self.attention.out(attended)

    def finish(self, x: Float[Array, "*B D"], projected: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Adds the projected attention and then the MLP to the block's input; V2 norms the branches at their end."""
        if self.arch.second:
            x = x + self.norm1(projected)
            return x + self.norm2(self.mlp(x))
        x = x + projected
        return x + self.mlp(self.norm2(x))


class SwinMlp(nn.Module):
    """Two dense layers with a GELU between them."""

    width: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.up, self.down = Dense(4 * self.width, dtype=self.dtype), Dense(self.width, dtype=self.dtype)

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        return self.down(gelu(self.up(x)))


class WindowAttention(nn.Module):
    """Self-attention within windows, up to its output projection; attributes as in `SwinBlock`."""

    arch: SwinArchitecture
    stage: int
    shifted: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        arch, heads, window = self.arch, self.arch.heads[self.stage], self.arch.windows[self.stage]
        width = arch.widths[self.stage]
        self.qkv = Dense(3 * width, use_bias=arch.qkv_bias, dtype=self.dtype)
        self.out = Dense(width, dtype=self.dtype)
        if arch.second:
            self.scale = self.param("scale", nn.initializers.constant(math.log(10)), (heads,))
            self.offset_up, self.offset_down = nn.Dense(512), nn.Dense(heads, use_bias=False)
        else:
            self.relative = self.param("relative", nn.initializers.zeros, ((2 * window - 1) ** 2, heads))

    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        rows, columns = x.shape[1:3]
        full = self.arch.windows[self.stage]
        window = (min(rows, full), min(columns, full))
        shift = [full // 2 if self.shifted and side > full else 0 for side in (rows, columns)]
        x = jnp.roll(x, (-shift[0], -shift[1]), axis=(1, 2))
        x = jnp.pad(x, ((0, 0), (0, -rows % window[0]), (0, -columns % window[1]), (0, 0)))
        padded = (x.shape[1], x.shape[2])
        bias = self._bias(window)[None]
        if any(shift):
            bias = bias + mask(padded, window, (shift[0], shift[1]))[:, None]
        mixed = self._attend(windows(x, window), bias)
        x = unwindowed(mixed, padded, window)[:, :rows, :columns]
        return jnp.roll(x, (shift[0], shift[1]), axis=(1, 2))

    def _attend(self, x: Array, bias: Array) -> Array:
        """Attends within each of n windows of t tokens: x [B, n, t, D], bias [n or 1, heads, t, t]."""
        heads = self.arch.heads[self.stage]
        q, k, v = (
            y.reshape(*y.shape[:3], heads, -1).transpose(0, 1, 3, 2, 4) for y in jnp.split(self.qkv(x), 3, axis=-1)
        )
        if self.arch.second:
            q, k = (y / jnp.maximum(jnp.linalg.norm(y, axis=-1, keepdims=True), 1e-12) for y in (q, k))
            factor = jnp.exp(jnp.minimum(self.scale, math.log(100)))[:, None, None]
        else:
            factor = q.shape[-1] ** -0.5
        scores = (q @ k.swapaxes(-1, -2)).astype(jnp.float32) * factor + bias
        mixed = jax.nn.softmax(scores, axis=-1).astype(v.dtype) @ v  # [B, n, heads, t, d]
        return mixed.transpose(0, 1, 3, 2, 4).reshape(x.shape)

    def _bias(self, window: tuple[int, int]) -> Float[Array, "heads t t"]:
        """Returns what the relative positions within a window add to the scores."""
        full, heads = self.arch.windows[self.stage], self.arch.heads[self.stage]
        sides = [2 * side - 1 for side in window]
        if self.arch.second:
            table = jax.nn.relu(self.offset_up(jnp.asarray(offsets(window, self.arch.pretrained[self.stage]))))
            table = 16 * jax.nn.sigmoid(self.offset_down(table))
        else:
            whole = window == (full, full)
            r, c = (np.eye(n) if whole else RELATIVE["geometric"](2 * full - 1, n) for n in sides)
            table = self.relative.reshape(2 * full - 1, 2 * full - 1, heads)
            precision = jax.lax.Precision.HIGHEST
            table = jnp.einsum("ri,cj,ijh->rch", jnp.float32(r), jnp.float32(c), table, precision=precision)
        row, column = (axis.reshape(-1) for axis in np.mgrid[: window[0], : window[1]])
        down, right = (a[:, None] - a[None] + n - 1 for a, n in zip((row, column), window, strict=True))
        return table.reshape(-1, heads)[down * sides[1] + right].transpose(2, 0, 1)
