"""An encoder of sound as a pure function: the ViT on spectrograms of AST and SSAST (Gong et al., 2021 and 2022)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from hummingbird.models.functional import at, attend, layer_norm, linear
from hummingbird.models.params import Params, leaf
from hummingbird.models.text import GELU

EPS = 1e-6
EXTRA = 2  # tokens before the patches: [CLS] and [DIST]


@dataclasses.dataclass(frozen=True)
class Ssast:
    """SSAST: a DeiT with two class tokens on the patches of a spectrogram. Parameters keep the names of its file.

    Attributes:
      depth: number of blocks.
      heads: attention heads.
      patch: bins of frequency and frames of time in a patch.
      grid: patches in frequency and time for which position embeddings are stored.
      stride: steps between patches; smaller than `patch`, they overlap, by 6 in the published evaluation.
    """

    depth: int
    heads: int
    patch: tuple[int, int]
    grid: tuple[int, int]
    stride: tuple[int, int]

    @property
    def layer(self) -> str:
        """The last attention's output projection, where FUNGI takes gradients."""
        return f"blocks/{self.depth - 1}/attn/proj"

    def __call__(self, params: Params, spectrograms: Float[Array, "V T F"]) -> Float[Array, "V D"]:
        """Returns the first class token, from which FUNGI's losses are computed."""
        return self.tokens(params, spectrograms)[:, 0]

    def embedding(self, params: Params, spectrograms: Float[Array, "V T F"]) -> Float[Array, "V D"]:
        """Returns the mean of both class tokens: the embedding of a sound beside its gradients."""
        return self.tokens(params, spectrograms)[:, :EXTRA].mean(axis=1)

    def tokens(self, params: Params, spectrograms: Float[Array, "V T F"]) -> Float[Array, "V N D"]:
        """Returns the outputs after the final norm: both class tokens, then the patches, lowest frequencies first."""
        pictures = jnp.asarray(spectrograms).swapaxes(1, 2)[:, None]  # [V, 1, F, T]
        embed = at(params, "patch_embed/proj")
        x = jax.lax.conv_general_dilated(pictures, leaf(embed, "kernel"), self.stride, "VALID")
        x = x + leaf(embed, "bias")[:, None, None]
        positions = self.positions(leaf(params, "pos_embed")[0], (x.shape[2], x.shape[3]))
        x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)
        extra = [jnp.broadcast_to(leaf(params, name), (len(x), 1, x.shape[-1])) for name in ("cls_token", "dist_token")]
        x = jnp.concatenate([*extra, x], axis=1) + positions
        for i in range(self.depth):
            x = self.block(at(params, f"blocks/{i}"), x)
        return layer_norm(params, "norm", x, EPS)

    def block(self, params: Params, x: Float[Array, "V N D"]) -> Float[Array, "V N D"]:
        """Applies one pre-norm block."""
        q, k, v = jnp.split(linear(params, "attn/qkv", layer_norm(params, "norm1", x, EPS)), 3, axis=-1)
        x = x + linear(params, "attn/proj", attend(q, k, v, self.heads, (q.shape[-1] // self.heads) ** -0.5))
        hidden = GELU(linear(params, "mlp/fc1", layer_norm(params, "norm2", x, EPS)))
        return x + linear(params, "mlp/fc2", hidden)

    def positions(self, table: Float[Array, "n D"], grid: tuple[int, int]) -> Float[Array, "N D"]:
        """Returns position embeddings for a grid, cropped to shorter sides and interpolated to longer ones (SSAST)."""
        extra, rest = table[:EXTRA], table[EXTRA:].reshape(*self.grid, -1)
        for axis, (stored, wanted) in enumerate(zip(self.grid, grid, strict=True)):
            if wanted > stored:
                shape = tuple(wanted if i == axis else side for i, side in enumerate(rest.shape))
                rest = jax.image.resize(rest, shape, "linear", antialias=False)
            elif wanted < stored:
                first = stored // 2 - wanted // 2
                rest = jax.lax.slice_in_dim(rest, first, first + wanted, axis=axis)
        return jnp.concatenate([extra, rest.reshape(-1, rest.shape[-1])])
