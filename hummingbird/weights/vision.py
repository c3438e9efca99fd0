"""One Flax transformer for the image towers of other projects.

It is the encoder of `hummingbird.models.vit` with the variations that those projects use: register tokens, LayerScale,
SwiGLU, rotary positions, a norm before the blocks, other GELUs, missing biases. Its parameters carry the same names;
beside them `registers` [R, D], `pre_norm`, and `scale1`, `scale2` [D] in each block. With SwiGLU `mlp/up` holds gate
and value side by side, gate first.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from hummingbird.errors import UserError
from hummingbird.models.attention import Dense, self_attention
from hummingbird.models.vit import MEAN, STD, gelu, patchify, sincos2d
from hummingbird.weights.positions import resize_matrix, rotary_angles


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Everything beside the arrays that an encoder needs. Written to config.json of an imported folder.

    Attributes:
      patch_size, width, depth, heads, mlp_dim: sizes; mlp_dim is the width that `mlp/down` reads.
      grid: (rows, columns) of the stored positions; None: no table (rotary, fixed or no positions).
      cls: there is a [CLS] token. registers: number of register tokens.
      activation: a name in `ACTIVATIONS`. swiglu: the MLP is gated.
      positions: "learned", "sincos2d" or "none".
      resize: a name in `positions.RESIZE`. rotary: theta of rotary positions, 0 for none.
      layer_scale, pre_norm, final_norm: what is there.
      patch_bias, qkv_bias, out_bias, mlp_bias: which biases are there.
      epsilon: of every layer norm.
      mean, std: statistics of pixels in [0, 1] that the encoder was trained with.
    """

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
    layer_scale: bool = False
    pre_norm: bool = False
    final_norm: bool = True
    patch_bias: bool = True
    qkv_bias: bool = True
    out_bias: bool = True
    mlp_bias: bool = True
    epsilon: float = 1e-6
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    @property
    def prefix(self) -> int:
        """Tokens before those of the patches."""
        return int(self.cls) + self.registers

    def module(self, features: Features, dtype: Any) -> nn.Module:
        """The network that gives these features."""
        return VisionTransformer(self, features, dtype)

    def patch_of(self, features: Features) -> int:
        """Pixels per cell of these features."""
        return self.patch_size

    def dim_of(self, features: Features) -> int:
        """Channels of these features."""
        return self.width * len(features.indices(self.depth))


@dataclasses.dataclass(frozen=True)
class Features:
    """Which tokens are the features.

    Attributes:
      kind: "tokens" (outputs of blocks), or the "query", "key" or "value" of their attention, heads side by side and
        before rotation.
      layers: blocks whose features are concatenated, counted from 0 or, negative, from the end.
      norm: pass "tokens" through the final layer norm, if there is one.
    """

    kind: str = "tokens"
    layers: tuple[int, ...] = (-1,)
    norm: bool = True

    def indices(self, depth: int) -> tuple[int, ...]:
        """The layers counted from 0; UserError where kind or layer does not exist."""
        if self.kind not in KINDS:
            raise UserError(f"features {self.kind!r} are not known: use one of {', '.join(KINDS)}")
        if not self.layers or any(not -depth <= layer < depth for layer in self.layers):
            raise UserError(f"layers {list(self.layers)}: the encoder has layers 0 to {depth - 1}, or -1 to -{depth}")
        return tuple(layer % depth for layer in self.layers)


KINDS = ("tokens", "query", "key", "value")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "silu": nn.silu,
}


class VisionTransformer(nn.Module):
    """Normalised images [B, H, W, 3] -> features of the patches [B, H / patch, W / patch, D * layers]."""

    arch: Architecture
    features: Features = Features()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        arch = self.arch
        patches = patchify(images, arch.patch_size)
        batch, rows, columns, _ = patches.shape
        x = Dense(arch.width, use_bias=arch.patch_bias, dtype=self.dtype, name="patch_embed")(
            patches.reshape(batch, rows * columns, -1)
        )
        x = x + self._positions(rows, columns).astype(self.dtype)
        x = jnp.concatenate([*self._prefix(batch), x], axis=1)
        if arch.pre_norm:
            x = self._norm("pre_norm")(x)
        rotation = None
        if arch.rotary:
            angles = rotary_angles(rows, columns, arch.width // arch.heads, arch.rotary)
            rotation = (jnp.asarray(jnp.cos(angles), jnp.float32), jnp.asarray(jnp.sin(angles), jnp.float32))

        wanted, seen = self.features.indices(arch.depth), {}
        for layer in range(arch.depth):
            x, qkv = Block(arch, self.dtype, name=f"block_{layer:02d}")(x, rotation)
            seen[layer] = x if self.features.kind == "tokens" else qkv[KINDS.index(self.features.kind) - 1]
        if arch.final_norm:
            norm = self._norm("norm")
            normed = self.features.norm and self.features.kind == "tokens"
            seen = {i: norm(seen[i]) if normed else seen[i] for i in set(wanted)}
            if not normed:
                norm(x)  # its parameters exist whether or not they are used
        out = jnp.concatenate([seen[i] for i in wanted], axis=-1)[:, arch.prefix :]
        return out.reshape(batch, rows, columns, -1)

    def _norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(epsilon=self.arch.epsilon, dtype=self.dtype, name=name)

    def _positions(self, rows: int, columns: int) -> Array:
        arch = self.arch
        if arch.positions == "sincos2d":
            return jnp.asarray(sincos2d(rows, columns, arch.width), jnp.float32)
        if arch.positions == "none" or arch.grid is None:
            return jnp.zeros((1, 1), jnp.float32)
        table = self.param("positions", nn.initializers.normal(0.02), (arch.grid[0] * arch.grid[1], arch.width))
        r, c = (jnp.asarray(m, jnp.float32) for m in resize_matrix(arch.resize, arch.grid, (rows, columns)))
        grid = table.astype(jnp.float32).reshape(*arch.grid, arch.width)
        grid = jnp.einsum("ri,cj,ijd->rcd", r, c, grid, precision=jax.lax.Precision.HIGHEST)
        return grid.reshape(rows * columns, arch.width)

    def _prefix(self, batch: int) -> list[Array]:
        tokens = []
        init = nn.initializers.normal(0.02)
        if self.arch.cls:
            tokens.append(self.param("cls", init, (self.arch.width,))[None])
        if self.arch.registers:
            tokens.append(self.param("registers", init, (self.arch.registers, self.arch.width)))
        return [jnp.broadcast_to(t.astype(self.dtype), (batch, *t.shape)) for t in tokens]


class Block(nn.Module):
    """Pre-norm transformer layer; beside its output [B, N, D] the queries, keys and values of its attention."""

    arch: Architecture
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, rotation: tuple[Array, Array] | None) -> tuple[Array, tuple[Array, Array, Array]]:
        arch = self.arch
        norm = functools.partial(nn.LayerNorm, epsilon=arch.epsilon, dtype=self.dtype)
        attended, qkv = Attention(arch, self.dtype, name="attention")(norm(name="norm1")(x), rotation)
        x = x + self._scaled("scale1", attended)
        x = x + self._scaled("scale2", Mlp(arch, self.dtype, name="mlp")(norm(name="norm2")(x)))
        return x, qkv

    def _scaled(self, name: str, x: Array) -> Array:
        if not self.arch.layer_scale:
            return x
        return x * self.param(name, nn.initializers.ones, (self.arch.width,)).astype(self.dtype)


class Attention(nn.Module):
    """Self-attention whose patch tokens may be rotated; also returns its queries, keys and values [B, N, D]."""

    arch: Architecture
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, rotation: tuple[Array, Array] | None) -> tuple[Array, tuple[Array, Array, Array]]:
        arch = self.arch
        qkv = Dense(3 * arch.width, use_bias=arch.qkv_bias, dtype=self.dtype, name="qkv")(x)
        query, key, value = jnp.split(qkv, 3, axis=-1)
        flat = (query, key, value)
        q, k, v = (y.reshape(*y.shape[:2], arch.heads, arch.width // arch.heads) for y in flat)
        if rotation is not None:
            q, k = (rotate(y, *rotation) for y in (q, k))
        out = self_attention(q, k, v).reshape(x.shape)
        return Dense(arch.width, use_bias=arch.out_bias, dtype=self.dtype, name="out")(out), flat


class Mlp(nn.Module):
    """Two layers with an activation between them, or the gated SwiGLU."""

    arch: Architecture
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        arch = self.arch
        dense = functools.partial(Dense, use_bias=arch.mlp_bias, dtype=self.dtype)
        hidden = dense(arch.mlp_dim * (2 if arch.swiglu else 1), name="up")(x)
        activation = ACTIVATIONS[arch.activation]
        if arch.swiglu:
            gate, value = jnp.split(hidden, 2, axis=-1)
            hidden = activation(gate) * value
        else:
            hidden = activation(hidden)
        return dense(arch.width, name="down")(hidden)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turns the patch tokens among [B, prefix + N, heads, d] by angles [N, d]; halves of the channels are the pairs."""
    prefix = x.shape[1] - cos.shape[0]
    patches = x[:, prefix:].astype(jnp.float32)
    first, second = jnp.split(patches, 2, axis=-1)
    turned = patches * cos[None, :, None] + jnp.concatenate([-second, first], -1) * sin[None, :, None]
    return jnp.concatenate([x[:, :prefix], turned.astype(x.dtype)], axis=1)
