"""The whole network of pretraining: encode, contextualise, pool, project, predict (Sections 3.2 and 3.3).

One module, applied with two trees of parameters: theta (online) and xi (target, the moving average of theta).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from hummingbird.models.context import contextualize
from hummingbird.models.heads import MlpHead
from hummingbird.models.pooling import POOLING
from hummingbird.models.vit import Tokens, ViT, build_vit, normalize, to_grid


class View(NamedTuple):
    """What the network makes of one view of B images.

    Attributes:
      tokens: h [B, N, D], the patch features: what is kept after pretraining.
      pooled: chat [B, D].
      masks: m [B, N], the pooling attention.
      projection: z [B, P]. prediction: q(z) [B, P].
      nearest, entropy: cosine of each token to its nearest bank entry and entropy of its attention over the bank [T];
        None without a bank.
    """

    tokens: Array
    pooled: Array
    masks: Array
    projection: Array
    prediction: Array
    nearest: Array | None
    entropy: Array | None


class Pretrainer(nn.Module):
    """Views of images [B, 2, S, S, 3] in [0, 1] and the bank's keys [slots, rows, D] -> two `View`s."""

    encoder: ViT
    pooling: str
    context_weight: float
    context_temperature: float
    context_hidden: int
    context_chunk: int
    head_hidden: int
    head_output: int
    bn_momentum: float
    dtype: Any = jnp.float32

    def setup(self) -> None:
        width = self.encoder.width
        mlp = lambda hidden, output: MlpHead(hidden, output, self.bn_momentum, self.dtype)
        self.value_head = mlp(self.context_hidden, width)  # phi
        self.mix = nn.Dense(width, dtype=self.dtype)  # psi
        self.pool = POOLING[self.pooling](self.dtype)  # a, omega
        self.projector = mlp(self.head_hidden, self.head_output)  # p
        self.predictor = mlp(self.head_hidden, self.head_output)  # q

    def __call__(self, views: Array, keys: Array) -> list[View]:
        values = self.value_head(keys.astype(self.dtype)) if keys.shape[0] else None  # v = phi(k), Eq. 2
        return [self.view(views[:, i], keys, values) for i in range(views.shape[1])]

    def encode(self, images: Array) -> Tokens:
        """h = f(x) (Eq. 2) of images [B, S, S, 3] in [0, 1]."""
        return self.encoder(normalize(images).astype(self.dtype))

    def view(self, images: Array, keys: Array, values: Array | None) -> View:
        """One view [B, S, S, 3], and the bank's keys and values [slots, rows, D]."""
        h = self.encode(images)
        used = h.cls[:, None] if self.pooling == "cls" and h.cls is not None else h.patches  # [B, N, D]
        c, nearest, entropy = self.contextualized(used, keys, values)
        pooled, masks = self.pool(c)  # Eq. 3
        z = self.projector(pooled)
        return View(h.patches, pooled, masks, z, self.predictor(z), nearest, entropy)

    def contextualized(self, h: Array, keys: Array, values: Array | None) -> tuple[Array, Array | None, Array | None]:
        """c = psi((1 - lambda) q / |q| + lambda vhat / |vhat|) for tokens [B, N, D]; without a bank c = h."""
        if values is None:
            return h, None, None
        flat = h.reshape(-1, h.shape[-1])  # [B * N, D]
        mixed, read = contextualize(
            flat, keys, values, self.context_weight, self.context_temperature, self.context_chunk
        )
        return self.mix(mixed).reshape(h.shape), read.nearest, read.entropy


def patch_features(model: Pretrainer, variables: Any, images: Array) -> Array:
    """f(x) as a map: images [B, H, W, 3] in [0, 1] -> [B, h, w, D]."""
    tokens: Any = model.apply(variables, images, method="encode")
    return to_grid(tokens.patches, images, model.encoder.patch_size)


DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build_pretrainer(config: Any) -> Pretrainer:
    """The network of a pretraining config."""
    dtype = DTYPES[config.dtype]
    encoder = config.encoder.to_dict()
    encoder["cls_token"] = encoder["cls_token"] or config.pooling == "cls"
    return Pretrainer(
        encoder=build_vit(encoder, config.input_size, dtype),
        pooling=config.pooling,
        context_weight=config.context.weight,
        context_temperature=config.context.temperature,
        context_hidden=config.context.hidden_dim,
        context_chunk=config.context.chunk,
        head_hidden=config.heads.hidden_dim,
        head_output=config.heads.output_dim,
        bn_momentum=config.heads.bn_momentum,
        dtype=dtype,
    )
