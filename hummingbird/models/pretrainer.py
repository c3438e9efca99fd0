"""The network of pretraining: encode, contextualise, pool (Sections 3.2 and 3.3).

One module, applied with two trees of parameters: theta (online) and xi (target, the moving average of theta). It works
in two parts, so that a batch larger than memory can pass the second one in micro-batches:

    values = phi(keys)                              once for the whole bank
    outputs = encode_views(views, keys, values)     each image on its own
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Key

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import MASKED
from hummingbird.devices.mesh import Device
from hummingbird.errors import UserError
from hummingbird.models.backbone import Tokens
from hummingbird.models.bank_attention import build_bank_attention
from hummingbird.models.context import BankAttention, contextualise, unit_keys
from hummingbird.models.params import Params
from hummingbird.models.pooling import POOLING
from hummingbird.models.value_head import ValueHead
from hummingbird.models.vit import ViT, build_vit, normalize, to_grid


class ViewOutputs(NamedTuple):
    """Per-image outputs for B images x V views.

    Attributes:
      summary: [B, V, D] float32, h averaged over the patches; the bank takes that of the first view (Eq. 2).
      pooled: [B, V, D], chat (Eq. 3).
      masks: [B, V, N] float32, m, the pooling attention (Eq. 3).
      attention_stats: {"similarity", "share", "entropy"}: [B, V, N] float32 each, what `Attended` has for each token's
        attention over the bank; empty without a bank.
      tokens: [B, V, N, D], the patches h, for objectives that ask `encode_views` for them.
      own: what else an objective computes per image, by name, [B, ...] each.
    """

    summary: Array
    pooled: Array
    masks: Array
    attention_stats: dict[str, Array]
    tokens: Array | None = None
    own: Mapping[str, Array] | None = None


class Pretrainer(nn.Module):
    """The part that objectives share: encoder, contextualisation and pooling.

    Attributes:
      encoder: f.
      pooling: a name in `POOLING`.
      context_weight: lambda.
      context_hidden: hidden width of phi.
      context_chunk: number of bank entries that phi processes at a time.
      bank_attention: CA.
      bn_momentum: decay of running batch-norm statistics.
      dtype: compute type.
    """

    encoder: ViT
    pooling: str
    context_weight: float
    context_hidden: int
    context_chunk: int
    bank_attention: BankAttention
    bn_momentum: float
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        width = self.encoder.width
        self.value_head = ValueHead(self.context_hidden, width, self.context_chunk, self.bn_momentum, self.dtype)  # phi
        self.mix = nn.Dense(width, dtype=self.dtype)  # psi
        self.pool = POOLING[self.pooling](self.dtype)  # a, omega

    def __call__(self, views: Float[Array, "B V S S 3"], keys: Float[Array, "slots rows D"]) -> ViewOutputs:
        """Runs every part, for initialisation and tests."""
        return self.encode_views(views, unit_keys(keys, self.dtype), self.values(keys))

    def values(self, keys: Float[Array, "slots rows D"], train: bool = True) -> Float[Array, "slots rows D"]:
        """Computes v = phi(k) (Eq. 2) for the keys of the bank; without a bank returns the empty `keys`.

        Args:
          keys: keys of the bank.
          train: phi's batch norm uses the statistics of the bank, not the running ones.
        """
        return self.value_head(keys, train) if keys.shape[0] else keys

    def encode_views(
        self,
        views: Float[Array, "B V S S 3"],
        keys: Float[Array, "slots rows D"],
        values: Float[Array, "slots rows D"],
        mask: Bool[Array, "B V N"] | None = None,
        keep: Int[Array, "B V K"] | None = None,
        drop_keys: Key[Array, " B"] | None = None,
        tokens: bool = False,
    ) -> ViewOutputs:
        """Encodes, contextualises and pools views; no output depends on another image of the batch.

        Args:
          views: pixels in [0, 1].
          keys: keys of the bank, as `unit_keys` makes them.
          values: what `values` returns for the bank.
          mask, keep: as in `ViT`, for each view.
          drop_keys: one key per image for stochastic depth; None: without.
          tokens: whether the outputs have `tokens`.
        """
        batch, count = views.shape[:2]
        drops: Array | None = None
        if drop_keys is not None:
            drops = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(drop_keys, jnp.arange(count))  # [B, V]
        # All views pass together, [B V, ...]: the bank is streamed once, and the step compiles in half the time.
        mask, keep, drops = (None if x is None else x.reshape(batch * count, *x.shape[2:]) for x in (mask, keep, drops))
        h = self.encode(views.reshape(batch * count, *views.shape[2:]), mask, keep, drops)
        contextual, stats = self.contextualise(self.pooling_tokens(h), keys, values)
        pooled, masks = self.pool(contextual)  # Eq. 3
        summary = h.patches.astype(jnp.float32).mean(axis=1)

        def by_view(x: Array) -> Array:
            return x.reshape(batch, count, *x.shape[1:])

        patches = by_view(h.patches) if tokens else None
        by_views = {name: by_view(x) for name, x in stats.items()}
        return ViewOutputs(by_view(summary), by_view(pooled), by_view(masks), by_views, patches)

    def encode(
        self,
        images: Float[Array, "B H W 3"],
        mask: Bool[Array, "B N"] | None = None,
        keep: Int[Array, "B K"] | None = None,
        drop_keys: Key[Array, " B"] | None = None,
    ) -> Tokens:
        """Computes h = f(x) (Eq. 2) for pixels in [0, 1]; other arguments as in `ViT`."""
        return self.encoder(normalize(images).astype(self.dtype), mask, keep, drop_keys)

    def pooling_tokens(self, h: Tokens) -> Float[Array, "B N D"]:
        """Returns the tokens that are pooled: the patches, or the [CLS] token alone if pooling is "cls"."""
        return h.cls[:, None] if self.pooling == "cls" and h.cls is not None else h.patches

    def contextualise(
        self, h: Float[Array, "B N D"], keys: Float[Array, "slots rows D"], values: Float[Array, "slots rows D"]
    ) -> tuple[Float[Array, "B N D"], dict[str, Array]]:
        """Computes c = psi((1 - lambda) q / |q| + lambda vhat / |vhat|) (App. B); without a bank c = h.

        Args:
          h: tokens of some images.
          keys, values: as in `encode_views`.

        Returns:
          c, and the statistics of each token's attention that `ViewOutputs.attention_stats` lists, [B, N] each.
        """
        if not keys.shape[0]:
            return h, {}
        flat = h.reshape(-1, h.shape[-1])  # [B N, D]
        mixed, read = contextualise(flat, keys, values, self.context_weight, self.bank_attention)
        stats = {"similarity": read.nearest, "share": read.share, "entropy": read.entropy}
        return self.mix(mixed).reshape(h.shape), {name: x.reshape(h.shape[:-1]) for name, x in stats.items()}


def patch_features(
    model: Pretrainer, variables: Mapping[str, Params], images: Float[Array, "B H W 3"]
) -> Float[Array, "B h w D"]:
    """Computes f(x) as a map of patches.

    Args:
      model: the network.
      variables: {"params": theta or xi}; other collections are ignored.
      images: pixels in [0, 1].
    """
    tokens: Any = model.apply(variables, images, method=Pretrainer.encode)
    return to_grid(tokens.patches, images, model.encoder.patch_size)


DTYPES: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build_pretrainer(config: PretrainConfig, device: Device | None = None) -> Pretrainer:
    """Builds the network of a pretraining config.

    Args:
      config: reads `objective.name`, `encoder`, `pooling`, `context`, `heads.bn_momentum`, `input_size` and `dtype`.
      device: one of those that it will run on; None: the first of this machine.

    Raises:
      UserError: no such encoder, views that its patches do not divide, or a kernel that is not for this device.
    """
    dtype = DTYPES[config.dtype]
    encoder = dataclasses.asdict(config.encoder)
    encoder["cls_token"] = config.encoder.cls_token or config.pooling == "cls"
    masked = config.objective.name in MASKED
    vit, local = build_vit(encoder, config.input_size, dtype, masked), config.augment.local
    if local.count and local.size % vit.patch_size:
        raise UserError(
            f"config key augment.local.size: {local.size} is not a multiple of the patch size {vit.patch_size}"
        )
    return Pretrainer(
        encoder=vit,
        pooling=config.pooling,
        context_weight=config.context.weight,
        context_hidden=config.context.hidden_dim,
        context_chunk=config.context.chunk,
        bank_attention=build_bank_attention(config.context, device),
        bn_momentum=config.heads.bn_momentum,
        dtype=dtype,
    )
