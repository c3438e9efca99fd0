"""The whole network of pretraining: encode, contextualise, pool, project, predict (Sections 3.2 and 3.3).

One module, applied with two trees of parameters: theta (online) and xi (target, the moving average of theta). It works
in three parts, so that a batch larger than memory can pass the second one piece by piece:

    values = phi(keys)                          of the bank
    seen = look(views, keys, values)            each image by itself
    projections, predictions = predict(seen)    the whole batch: batch norm
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from hummingbird.config import PretrainConfig
from hummingbird.models.bank_attention import build_bank_attention
from hummingbird.models.context import BankAttention, contextualize
from hummingbird.models.heads import MlpHead
from hummingbird.models.pooling import POOLING
from hummingbird.models.value_head import ValueHead
from hummingbird.models.vit import Tokens, ViT, build_vit, normalize, to_grid


class Seen(NamedTuple):
    """What the network makes of V views of B images, image by image.

    Attributes:
      summary: [B, V, D] float32, h averaged over the patches: what the bank takes (Eq. 2).
      pooled: chat [B, V, D].
      masks: m [B, V, N] float32, the pooling attention.
      bank: of each token's attention over the bank [B, V, N] float32: "similarity", the cosine to the nearest entry,
        "share", its weight, and "entropy"; empty without a bank.
    """

    summary: Array
    pooled: Array
    masks: Array
    bank: dict[str, Array]


class Pretrainer(nn.Module):
    """Views of images [B, V, S, S, 3] in [0, 1] and the bank's keys [slots, rows, D] -> Seen, z and q(z) [B, V, P]."""

    encoder: ViT
    pooling: str
    context_weight: float
    context_hidden: int
    context_chunk: int
    bank_attention: BankAttention
    head_hidden: int
    head_output: int
    bn_momentum: float
    classes: int = 0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        width = self.encoder.width
        mlp = lambda hidden, output: MlpHead(hidden, output, self.bn_momentum, self.dtype)
        self.value_head = ValueHead(self.context_hidden, width, self.context_chunk, self.bn_momentum, self.dtype)  # phi
        self.mix = nn.Dense(width, dtype=self.dtype)  # psi
        self.pool = POOLING[self.pooling](self.dtype)  # a, omega
        self.projector = mlp(self.head_hidden, self.head_output)  # p
        self.predictor = mlp(self.head_hidden, self.head_output)  # q
        if self.classes:
            self.classifier = nn.Dense(self.classes, dtype=self.dtype)

    def __call__(self, views: Array, keys: Array) -> tuple[Seen, Array, Array]:
        seen = self.look(views, keys, self.values(keys))
        if self.classes:
            self.classify(seen.pooled)
        return seen, *self.predict(seen.pooled)

    def values(self, keys: Array, train: bool = True) -> Array:
        """v = phi(k) (Eq. 2) of the bank's keys [slots, rows, D]; empty without a bank.

        `train`: phi's batch norm uses the statistics of the bank, not the running ones.
        """
        return self.value_head(keys, train) if keys.shape[0] else keys

    def look(self, views: Array, keys: Array, values: Array) -> Seen:
        """Encodes, contextualises and pools views [B, V, S, S, 3]: nothing here depends on the other images."""
        tokens = [self.encode(views[:, i]) for i in range(views.shape[1])]
        # All views read the bank together, [B, V N, D]: it is streamed, and fetched from other devices, once.
        together = jnp.concatenate([self.summarized(h) for h in tokens], axis=1)
        contextual, bank = self.contextualized(together, keys, values)
        pooled, masks = zip(*(self.pool(c) for c in jnp.split(contextual, len(tokens), axis=1)), strict=True)  # Eq. 3
        summary = [h.patches.astype(jnp.float32).mean(axis=1) for h in tokens]
        by_view = jax.tree.map(lambda x: x.reshape(len(views), len(tokens), -1), bank)
        return Seen(jnp.stack(summary, axis=1), jnp.stack(pooled, axis=1), jnp.stack(masks, axis=1), by_view)

    def predict(self, pooled: Array) -> tuple[Array, Array]:
        """Projections z and predictions q(z) [B, V, P] of pooled views [B, V, D]; batch norm over each view's batch."""
        projections = [self.projector(pooled[:, i]) for i in range(pooled.shape[1])]
        predictions = [self.predictor(z) for z in projections]
        return jnp.stack(projections, axis=1), jnp.stack(predictions, axis=1)

    def classify(self, pooled: Array) -> Array:
        """Logits of a linear classifier [..., classes] float32."""
        return self.classifier(pooled).astype(jnp.float32)

    def encode(self, images: Array) -> Tokens:
        """h = f(x) (Eq. 2) of images [B, S, S, 3] in [0, 1]."""
        return self.encoder(normalize(images).astype(self.dtype))

    def summarized(self, h: Tokens) -> Array:
        """The tokens [B, N, D] that pooling summarises: the patches, or the [CLS] token alone."""
        return h.cls[:, None] if self.pooling == "cls" and h.cls is not None else h.patches

    def contextualized(self, h: Array, keys: Array, values: Array) -> tuple[Array, dict[str, Array]]:
        """c = psi((1 - lambda) q / |q| + lambda vhat / |vhat|) for tokens [B, N, D]; without a bank c = h.

        Returns:
          c [B, N, D], and of each token's attention what `Seen.bank` lists [B, N].
        """
        if not keys.shape[0]:
            return h, {}
        flat = h.reshape(-1, h.shape[-1])  # [B * N, D]
        mixed, read = contextualize(flat, keys, values, self.context_weight, self.bank_attention)
        told = {"similarity": read.nearest, "share": read.share, "entropy": read.entropy}
        return self.mix(mixed).reshape(h.shape), {name: x.reshape(h.shape[:-1]) for name, x in told.items()}


def patch_features(model: Pretrainer, variables: Any, images: Array) -> Array:
    """f(x) as a map: images [B, H, W, 3] in [0, 1] -> [B, h, w, D]."""
    tokens: Any = model.apply(variables, images, method="encode")
    return to_grid(tokens.patches, images, model.encoder.patch_size)


DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build_pretrainer(config: PretrainConfig, mesh: Mesh | None = None) -> Pretrainer:
    """The network of a pretraining config; `mesh`: of a run on several devices."""
    dtype = DTYPES[config.dtype]
    encoder = dataclasses.asdict(config.encoder)
    encoder["cls_token"] = config.encoder.cls_token or config.pooling == "cls"
    classifies = config.supervised.weight and config.supervised.objective == "classifier"
    return Pretrainer(
        encoder=build_vit(encoder, config.input_size, dtype),
        pooling=config.pooling,
        context_weight=config.context.weight,
        context_hidden=config.context.hidden_dim,
        context_chunk=config.context.chunk,
        bank_attention=build_bank_attention(config.context, mesh),
        head_hidden=config.heads.hidden_dim,
        head_output=config.heads.output_dim,
        bn_momentum=config.heads.bn_momentum,
        classes=config.supervised.classes if classifies else 0,
        dtype=dtype,
    )
