"""Attention within an image: from contextualised tokens to one vector (Eq. 3 and the rows of Table 5)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class MaskHead(nn.Module):
    """a of Eq. 3, a 2-layer MLP of width D, then the softmax over tokens: [B, N, D] -> masks [B, N] float32."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        hidden = nn.relu(nn.Dense(tokens.shape[-1], dtype=self.dtype, name="hidden")(tokens))
        logits = nn.Dense(1, dtype=self.dtype, name="logit")(hidden)[..., 0]
        return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)


class AttentionPooling(nn.Module):
    """chat = sum_j m_j omega(c_j) (Eq. 3). `value_head`: omega is linear (QKV); otherwise the identity (QK)."""

    value_head: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array) -> tuple[Array, Array]:
        masks = MaskHead(self.dtype, name="mask")(tokens)
        values = nn.Dense(tokens.shape[-1], dtype=self.dtype, name="value")(tokens) if self.value_head else tokens
        return jnp.einsum("bn,bnd->bd", masks.astype(values.dtype), values), masks


class MeanPooling(nn.Module):
    """The mean of the tokens (MoCLR); its mask is uniform."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array) -> tuple[Array, Array]:
        masks = jnp.full(tokens.shape[:2], 1 / tokens.shape[1], jnp.float32)
        return tokens.mean(axis=1), masks


# Each takes tokens [B, N, D] and gives the pooled [B, D] and the masks [B, N]. "cls" is handed the [CLS] token as the
# only one, so the mean is that token.
POOLING = {
    "qkv": lambda dtype: AttentionPooling(True, dtype),
    "qk": lambda dtype: AttentionPooling(False, dtype),
    "mean": lambda dtype: MeanPooling(dtype),
    "cls": lambda dtype: MeanPooling(dtype),
}
