"""Transformer blocks: pre-norm self-attention and MLP, with the variations that published encoders use."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Key

from hummingbird.models.architecture import Architecture
from hummingbird.models.attention import Dense, self_attention
from hummingbird.models.positions import NEIGHBOURS


class Rotation(NamedTuple):
    """Rotary positions of N patches, for heads of width d.

    Attributes:
      cos, sin: of each patch's angles, [N, d].
    """

    cos: Float[Array, "N d"]
    sin: Float[Array, "N d"]


class Relative(NamedTuple):
    """What turns a layer's table of relative positions into a bias of its attention; see `positions.relative_matrix`.

    Attributes:
      rows, columns: matrices that resize the table.
      entries: [T, T], numbers of the resized table's entries.
    """

    rows: Float[Array, "R r"]
    columns: Float[Array, "C c"]
    entries: Int[Array, "T T"]


# What attention learns about positions, the same in each layer.
Places: TypeAlias = Rotation | Relative | None
INIT = nn.initializers.xavier_uniform()


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes x P(X <= x) of a standard normal X, exactly, in float32, where 1 + erf keeps the tail.

    It uses erf, which XLA computes in fewer operations than the erfc of `flax.linen.gelu`.
    """
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(y * 0.5**0.5))).astype(x.dtype)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "silu": nn.silu,
}


class Mlp(nn.Module):
    """Two dense layers with an activation between them, or the gated SwiGLU."""

    arch: Architecture
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        dense = functools.partial(Dense, use_bias=self.arch.mlp_bias, dtype=self.dtype, kernel_init=INIT)
        self.up = dense(self.arch.mlp_dim * (2 if self.arch.swiglu else 1))
        self.down = dense(self.arch.width)
        if self.arch.mlp_norm:
            self.norm = nn.LayerNorm(epsilon=self.arch.epsilon, dtype=self.dtype)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        # Scanned layers keep every intermediate for the backward pass; recomputing these costs no product.
        hidden, activation = self.up(x), jax.checkpoint(ACTIVATIONS[self.arch.activation], prevent_cse=False)
        if self.arch.swiglu:
            gate, value = jnp.split(hidden, 2, axis=-1)
            hidden = activation(gate) * value
        else:
            hidden = activation(hidden)
        return self.down(self.norm(hidden) if self.arch.mlp_norm else hidden)


class Attention(nn.Module):
    """Multi-head self-attention in two parts, so that what enters the output projection is accessible."""

    arch: Architecture
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        arch = self.arch
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=INIT)
        self.qkv = dense(3 * arch.width, use_bias=arch.qkv_bias)
        self.out = dense(arch.width, use_bias=arch.out_bias)
        if arch.attention_norm:
            self.norm = nn.LayerNorm(epsilon=arch.epsilon, dtype=self.dtype)
        if arch.relative and arch.grid:
            entries = (2 * arch.grid[0] - 1) * (2 * arch.grid[1] - 1) + 3
            self.relative = self.param("relative", nn.initializers.zeros, (entries, arch.heads))

    def split(self, x: Float[Array, "B T D"]) -> dict[str, Float[Array, "B T D"]]:
        """Returns "query", "key" and "value" before rotation, the heads side by side."""
        query, key, value = jnp.split(self.qkv(x), 3, axis=-1)
        return {"query": query, "key": key, "value": value}

    def attend(self, x: Float[Array, "B T D"], places: Places) -> Float[Array, "B T D"]:
        """Returns the projection's input: softmax(q k^T / sqrt(d)) v, heads side by side, after sub-LN if any."""
        heads, neighbours = self.arch.heads, self.arch.rotary_rule in NEIGHBOURS
        q, k, v = (y.reshape(*y.shape[:2], heads, y.shape[2] // heads) for y in self.split(x).values())
        if isinstance(places, Rotation):
            q, k = rotate(q, *places, neighbours), rotate(k, *places, neighbours)
        bias = relative_bias(self.relative, *places) if isinstance(places, Relative) else None
        mixed = self_attention(q, k, v, bias).reshape(x.shape)
        return self.norm(mixed) if self.arch.attention_norm else mixed


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)), each branch scaled if LayerScale is.

    `finish(x, project(attend(x)))` is the whole block; after `attend` no token depends on another one.

    Attributes:
      arch: sizes and variations.
      dtype: type that it computes in.
      layer_scale: initial value of LayerScale (Touvron et al. 2021, Eq. 5), if there is one.
    """

    arch: Architecture
    dtype: DTypeLike = jnp.float32
    layer_scale: float = 1.0

    def setup(self) -> None:
        arch = self.arch
        norm = functools.partial(nn.LayerNorm, epsilon=arch.epsilon, dtype=self.dtype)
        self.norm1, self.attention = norm(), Attention(arch, self.dtype)
        self.norm2, self.mlp = norm(), Mlp(arch, self.dtype)
        if arch.layer_scale:
            start = nn.initializers.constant(self.layer_scale)
            self.scale1 = self.param("scale1", start, (arch.width,))
            self.scale2 = self.param("scale2", start, (arch.width,))

    def __call__(
        self, x: Float[Array, "B T D"], places: Places, survival: Float[Array, "B 2"] | None = None
    ) -> tuple[Float[Array, "B T D"], None]:
        """Returns the output, in a pair as `nn.scan` wants it; `survival`: factors of each image's two branches."""
        return self.finish(x, self.project(self.attend(x, places)), survival), None

    def split(self, x: Float[Array, "B T D"]) -> dict[str, Float[Array, "B T D"]]:
        """Returns the "query", "key" and "value" of the attention, before rotation, the heads side by side."""
        return self.attention.split(self.norm1(x))

    def attend(self, x: Float[Array, "B T D"], places: Places) -> Float[Array, "B T D"]:
        """Returns the input of the attention's output projection."""
        return self.attention.attend(self.norm1(x), places)

    def project(self, attended: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Applies the attention's output projection."""
        return self.attention.out(attended)

    def finish(
        self, x: Float[Array, "B T D"], projected: Float[Array, "B T D"], survival: Float[Array, "B 2"] | None = None
    ) -> Float[Array, "B T D"]:
        """Adds the projected attention and then the MLP to the block's input `x`."""
        x = x + self._branch(projected, 0, survival)
        return x + self._branch(self.mlp(self.norm2(x)), 1, survival)

    def _branch(self, y: Float[Array, "B T D"], i: int, survival: Float[Array, "B 2"] | None) -> Float[Array, "B T D"]:
        """Scales the output of branch `i`: attention, MLP."""
        if self.arch.layer_scale:
            y = y * (self.scale1, self.scale2)[i].astype(self.dtype)
        return y if survival is None else y * survival[:, i, None, None].astype(self.dtype)


def survival_factors(rngs: Key[Array, " B"], depth: int, rate: float) -> Float[Array, "depth B 2"]:
    """Draws stochastic depth (Huang et al. 2016): 0 for a branch that an image skips, else 1 / its probability.

    The rate grows linearly from 0 in the first layer to `rate` in the last (Sec. 3 there; per image as in DeiT).
    """
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (depth, 2)))(rngs).swapaxes(0, 1)  # [depth, B, 2]
    survives = 1 - rate * jnp.linspace(0, 1, depth)[:, None, None]
    return (uniform < survives) / survives


def relative_bias(
    table: Float[Array, "E heads"], rows: Float[Array, "R r"], columns: Float[Array, "C c"], entries: Int[Array, "T T"]
) -> Float[Array, "heads T T"]:
    """Resizes a layer's table of relative positions and looks up its entries; the last three belong to [CLS]."""
    offsets = table[:-3].reshape(rows.shape[1], columns.shape[1], -1)
    resized = jnp.einsum("ri,cj,ijh->hrc", rows, columns, offsets, precision=jax.lax.Precision.HIGHEST)
    whole = jnp.concatenate([resized.reshape(len(resized), -1), table[-3:].T], axis=1)  # [heads, entries]
    return whole[:, entries]


def rotate(
    x: Float[Array, "B T heads d"], cos: Float[Array, "N d"], sin: Float[Array, "N d"], neighbours: bool = False
) -> Float[Array, "B T heads d"]:
    """Rotates the last N of T tokens, those of the patches, by their angles.

    Channels i and i + d/2 form a pair or, if `neighbours`, channels 2i and 2i + 1.
    """
    prefix = x.shape[1] - cos.shape[0]
    patches = x[:, prefix:].astype(jnp.float32)
    if neighbours:
        quarter = jnp.stack([-patches[..., 1::2], patches[..., ::2]], axis=-1).reshape(patches.shape)
    else:
        first, second = jnp.split(patches, 2, axis=-1)
        quarter = jnp.concatenate([-second, first], axis=-1)
    turned = patches * cos[None, :, None] + quarter * sin[None, :, None]
    return jnp.concatenate([x[:, :prefix], turned.astype(x.dtype)], axis=1)
