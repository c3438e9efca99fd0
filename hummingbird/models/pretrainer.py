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
      nearest, entropy: cosine of each token of all views to its nearest bank entry, and entropy of its attention over
        the bank [T]; None without a bank.
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
        tokens = [self.encode(views[:, i]) for i in range(views.shape[1])]
        # Both views read the bank together, [B, 2 N, D]: it is streamed, and fetched from other devices, once.
        both = jnp.concatenate([self.summarized(h) for h in tokens], axis=1)
        contextual, nearest, entropy = self.contextualized(both, keys)
        outputs = []
        for h, c in zip(tokens, jnp.split(contextual, len(tokens), axis=1), strict=True):
            pooled, masks = self.pool(c)  # Eq. 3
            z = self.projector(pooled)
            outputs.append(View(h.patches, pooled, masks, z, self.predictor(z), nearest, entropy))
        return outputs

    def encode(self, images: Array) -> Tokens:
        """h = f(x) (Eq. 2) of images [B, S, S, 3] in [0, 1]."""
        return self.encoder(normalize(images).astype(self.dtype))

    def summarized(self, h: Tokens) -> Array:
        """The tokens [B, N, D] that pooling summarises: the patches, or the [CLS] token alone."""
        return h.cls[:, None] if self.pooling == "cls" and h.cls is not None else h.patches

    def contextualized(self, h: Array, keys: Array, train: bool = True) -> tuple[Array, Array | None, Array | None]:
        """c = psi((1 - lambda) q / |q| + lambda vhat / |vhat|) for tokens [B, N, D]; without a bank c = h.

        `train`: phi's batch norm uses the statistics of the bank, not the running ones.
        """
        if not keys.shape[0]:
            return h, None, None
        values = self.value_head(keys.astype(self.dtype), train)  # v = phi(k), Eq. 2
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
