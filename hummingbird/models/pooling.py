"""Attention within an image: from contextualised tokens to one vector (Eq. 3 and the rows of Table 5)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float


class MaskHead(nn.Module):
    """a of Eq. 3: a 2-layer MLP of width D, followed by the softmax over tokens.

    Attributes:
      dtype: compute type.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"]) -> Float[Array, "B N"]:
        """Returns one weight per token, float32; the weights of an image sum to 1."""
        hidden = nn.relu(nn.Dense(tokens.shape[-1], dtype=self.dtype, name="hidden")(tokens))
        logits = nn.Dense(1, dtype=self.dtype, name="logit")(hidden)[..., 0]
        return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)


class AttentionPooling(nn.Module):
    """chat = sum_j m_j omega(c_j) (Eq. 3).

    Attributes:
      value_head: omega is linear (QKV in Table 5); otherwise the identity (QK).
      dtype: compute type.
    """

    value_head: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"]) -> tuple[Float[Array, "B D"], Float[Array, "B N"]]:
        """Returns the pooled vector of each image and its weights, float32."""
        masks = MaskHead(self.dtype, name="mask")(tokens)
        values = nn.Dense(tokens.shape[-1], dtype=self.dtype, name="value")(tokens) if self.value_head else tokens
        return jnp.einsum("bn,bnd->bd", masks.astype(values.dtype), values), masks


class MeanPooling(nn.Module):
    """The mean of the tokens (MoCLR)."""

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"]) -> tuple[Float[Array, "B D"], Float[Array, "B N"]]:
        """Returns the mean of each image and uniform weights, float32."""
        masks = jnp.full(tokens.shape[:2], 1 / tokens.shape[1], jnp.float32)
        return tokens.mean(axis=1), masks


Pooling = AttentionPooling | MeanPooling

# {name: dtype -> pooling}. "cls" is given the [CLS] token alone (`Pretrainer.pooling_tokens`): its mean is that token.
POOLING: dict[str, Callable[[DTypeLike], Pooling]] = {
    "qkv": lambda dtype: AttentionPooling(True, dtype),
    "qk": lambda dtype: AttentionPooling(False, dtype),
    "mean": lambda dtype: MeanPooling(),
    "cls": lambda dtype: MeanPooling(),
}
