"""Encoders of text as pure functions: BERT and the encoder of T5. Parameters have the names of the published files.

Both take {"ids": [V, T], "mask": [V, T]}, with a mask that is False for padding, and return the output of the first
token, which is FUNGI's embedding of a text, for T5 too (App. B.3).
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from hummingbird.models.functional import at, attend, layer_norm, linear, rms_norm
from hummingbird.models.params import AnyArray, Params, leaf

Tokens = Mapping[str, AnyArray]  # {"ids": Int [V, T], "mask": Bool [V, T]}
GELU = functools.partial(jax.nn.gelu, approximate=False)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": GELU,
    "gelu_new": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


class TextEncoder(abc.ABC):
    """A transformer on token ids; the output of a text's first token is its embedding."""

    def __call__(self, params: Params, inputs: Tokens) -> Float[Array, "V D"]:
        """Returns the output of the first token of each text, without any pooling layer."""
        return self.tokens(params, jnp.asarray(inputs["ids"]), jnp.asarray(inputs["mask"], bool))[:, 0]

    @abc.abstractmethod
    def tokens(self, params: Params, ids: Int[Array, "V T"], mask: Bool[Array, "V T"]) -> Float[Array, "V T D"]:
        """Returns the outputs of all tokens."""


@dataclasses.dataclass(frozen=True)
class Bert(TextEncoder):
    """BERT (Devlin et al., 2018): post-norm blocks, learned positions.

    Attributes:
      depth: number of blocks.
      heads: attention heads.
      activation: key of `ACTIVATIONS`.
      eps: of the layer norms.
    """

    depth: int
    heads: int
    activation: str = "gelu"
    eps: float = 1e-12

    @property
    def layer(self) -> str:
        """The last attention's output projection, where FUNGI takes gradients."""
        return f"encoder/layer/{self.depth - 1}/attention/output/dense"

    def tokens(self, params: Params, ids: Int[Array, "V T"], mask: Bool[Array, "V T"]) -> Float[Array, "V T D"]:
        """Returns the outputs of the last block."""
        names = ("word", "token_type", "position")
        words, types, positions = (leaf(params, "embeddings", f"{name}_embeddings", "embedding") for name in names)
        x = words[ids] + types[0] + positions[: ids.shape[1]]
        x = layer_norm(params, "embeddings/LayerNorm", x, self.eps)
        for i in range(self.depth):
            x = self.block(at(params, f"encoder/layer/{i}"), x, mask)
        return x

    def block(self, params: Params, x: Float[Array, "V T D"], mask: Bool[Array, "V T"]) -> Float[Array, "V T D"]:
        """Applies one block."""
        q, k, v = (linear(params, f"attention/self/{name}", x) for name in ("query", "key", "value"))
        attended = attend(q, k, v, self.heads, (q.shape[-1] // self.heads) ** -0.5, mask=mask)
        x = layer_norm(
            params, "attention/output/LayerNorm", x + linear(params, "attention/output/dense", attended), self.eps
        )
        hidden = ACTIVATIONS[self.activation](linear(params, "intermediate/dense", x))
        return layer_norm(params, "output/LayerNorm", x + linear(params, "output/dense", hidden), self.eps)


@dataclasses.dataclass(frozen=True)
class T5Encoder(TextEncoder):
    """The encoder of T5 (Raffel et al., 2020): pre-norm blocks without biases, relative positions.

    Attributes:
      depth: number of blocks.
      heads: attention heads.
      activation: key of `ACTIVATIONS`.
      gated: whether a second linear layer gates the hidden one (T5 1.1).
      distance: positions this far apart, and farther, share one bucket.
      eps: of the norms.
    """

    depth: int
    heads: int
    activation: str = "relu"
    gated: bool = False
    distance: int = 128
    eps: float = 1e-6

    @property
    def layer(self) -> str:
        """The last attention's output projection, where FUNGI takes gradients."""
        return f"encoder/block/{self.depth - 1}/layer/0/SelfAttention/o"

    def tokens(self, params: Params, ids: Int[Array, "V T"], mask: Bool[Array, "V T"]) -> Float[Array, "V T D"]:
        """Returns the outputs of the encoder."""
        table = leaf(
            params, "encoder", "block", "0", "layer", "0", "SelfAttention", "relative_attention_bias", "embedding"
        )
        bias = table[buckets(ids.shape[1], len(table), self.distance)].transpose(2, 0, 1)
        x = leaf(params, "shared", "embedding")[ids]
        for i in range(self.depth):
            x = self.block(at(params, f"encoder/block/{i}/layer"), x, mask, bias)
        return rms_norm(params, "encoder/final_layer_norm", x, self.eps)

    def block(
        self, params: Params, x: Float[Array, "V T D"], mask: Bool[Array, "V T"], bias: Float[Array, "h T T"]
    ) -> Float[Array, "V T D"]:
        """Applies one block."""
        normal = rms_norm(params, "0/layer_norm", x, self.eps)
        q, k, v = (linear(params, f"0/SelfAttention/{name}", normal) for name in "qkv")
        x = x + linear(params, "0/SelfAttention/o", attend(q, k, v, self.heads, 1.0, bias, mask))
        normal = rms_norm(params, "1/layer_norm", x, self.eps)
        first = linear(params, f"1/DenseReluDense/{'wi_0' if self.gated else 'wi'}", normal)
        hidden = ACTIVATIONS[self.activation](first)
        hidden = hidden * linear(params, "1/DenseReluDense/wi_1", normal) if self.gated else hidden
        return x + linear(params, "1/DenseReluDense/wo", hidden)


def buckets(length: int, count: int, distance: int) -> Int[np.ndarray, "T T"]:
    """Returns the bucket of the relative position of each query (row) and key (column).

    Keys before and after the query have half of the buckets each. In a half, the first buckets stand for one distance
    each, the others for ranges of distances that grow geometrically up to `distance`.

    Example:
      >>> buckets(4, count=8, distance=16)[0]
      array([0, 5, 6, 6])
    """
    offset = np.arange(length)[None, :] - np.arange(length)[:, None]
    side, away = count // 2, np.abs(offset)
    exact = side // 2
    # In float32, as the published models were trained: at the edges of a range, rounding decides.
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(exact)) / np.float32(math.log(distance / exact))
    far = np.minimum(exact + (ratio * np.float32(side - exact)).astype(np.int64), side - 1)
    return np.where(offset > 0, side, 0) + np.where(away < exact, away, far)
