"""MAE (He et al. 2022): masked autoencoders, which reconstruct the pixels of patches that the encoder does not see."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from hummingbird.config import PretrainConfig
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.decoder import Decoder
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import AnyArray, Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.models.vit import normalize, patchify
from hummingbird.objectives.interface import (
    Batch,
    Common,
    Heads,
    ImageKeys,
    Loss,
    PerImage,
    Replicate,
    Scheduled,
    Views,
)
from hummingbird.objectives.masking import build_grid, count_masked, is_kept, kept_patches, per_view


class MaeHeads(nn.Module):
    """The decoder.

    Attributes:
      decoder: from the kept patches to the pixels of all.
    """

    decoder: Decoder

    def __call__(
        self, tokens: Float[Array | np.ndarray, "B K D"], keep: Int[Array | np.ndarray, "B K"]
    ) -> Float[Array, "B N C"]:
        """Returns the predicted pixels of every patch."""
        return self.decoder(tokens, keep)


@dataclasses.dataclass(frozen=True)
class MAE(Common):
    """Mean squared error of the pixels of masked patches; see `interface.Objective`. No target network, no bank.

    The decoder is given the patches only: a [CLS] token, if there is one, takes part in the encoder.

    Attributes:
      heads: the decoder.
      grid: rows and columns of the patches.
      kept: K, patches that the encoder sees.
      patch: patch size, pixels.
      normalise: targets are normalised in each patch.
    """

    heads: MaeHeads
    grid: tuple[int, int]
    kept: int
    patch: int
    normalise: bool
    has_target = False

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the decoder; there is no other state."""
        example = jnp.zeros((1, self.kept, width)), jnp.zeros((1, self.kept), jnp.int32)
        return Heads(*initialise(self.heads, key, *example), {})

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Masks, encodes and decodes every view; `own` is {"loss": [b, V]}."""
        pictures, patches = views[GLOBAL], self.grid[0] * self.grid[1]
        keep = kept_patches(per_view(rngs, pictures.shape[1]), patches, self.kept)
        outputs = online.encode_views(pictures, keep=keep, tokens=True)
        assert outputs.tokens is not None
        flat = outputs.tokens.reshape(-1, *outputs.tokens.shape[2:])  # [b V, K, D]
        predicted, _ = online.apply(self.heads, MaeHeads.__call__, flat, keep.reshape(-1, self.kept))
        targets = pixel_targets(normalize(pictures.reshape(-1, *pictures.shape[2:])), self.patch, self.normalise)
        losses = masked_error(predicted, targets, ~is_kept(keep.reshape(-1, self.kept), patches))
        return {GLOBAL: outputs._replace(tokens=None, own={"loss": losses.reshape(keep.shape[:2])})}, {}

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Averages over the batch."""
        own = online.outputs[GLOBAL].own
        assert own is not None
        value = jnp.mean(own["loss"])
        return Loss(value, {"loss_pixels": value}, online, None, extra)


def pixel_targets(images: Float[AnyArray, "B H W 3"], patch: int, normalise: bool) -> Float[Array, "B N C"]:
    """Returns the pixels of each patch, with mean 0 and deviation 1 if `normalise` (Sec. 3, reconstruction target).

    Args:
      images: normalised by ImageNet's statistics.
      patch: patch size, pixels.
      normalise: by mean and (unbiased) variance of all values of a patch.
    """
    pixels = patchify(images, patch).reshape(len(images), -1, patch * patch * 3)
    if not normalise:
        return pixels
    return (pixels - pixels.mean(axis=-1, keepdims=True)) / jnp.sqrt(pixels.var(axis=-1, keepdims=True, ddof=1) + 1e-6)


def masked_error(
    predicted: Float[AnyArray, "B N C"], targets: Float[AnyArray, "B N C"], mask: AnyArray
) -> Float[Array, " B"]:
    """Computes the mean squared error over masked patches [B, N] of each image; 0 for an image without any."""
    errors = jnp.mean(jnp.square(predicted - targets), axis=-1)
    return jnp.sum(errors * mask, axis=1) / jnp.maximum(mask.sum(axis=1), 1)


def build(config: PretrainConfig, replicate: Replicate) -> MAE:
    """Builds the objective from `mae`, `encoder`, `input_size` and `dtype` of a config.

    Raises:
      UserError: a mask ratio that leaves no patch, or a decoder that cannot be built.
    """
    settings, grid = config.mae, build_grid(config)
    if settings.decoder_dim % settings.decoder_heads:
        raise UserError(
            f"config key mae.decoder_heads: {settings.decoder_heads} does not divide mae.decoder_dim "
            f"{settings.decoder_dim}"
        )
    if settings.decoder_dim % 4:
        raise UserError(f"config key mae.decoder_dim: {settings.decoder_dim} is not a multiple of 4")
    masked, patch = count_masked("mae.mask_ratio", settings.mask_ratio, grid), config.input_size // grid[0]
    arch = Architecture(
        patch_size=patch,
        width=settings.decoder_dim,
        depth=settings.decoder_depth,
        heads=settings.decoder_heads,
        mlp_dim=4 * settings.decoder_dim,
        grid=grid,
        cls=False,
        positions="sincos2d",
    )
    decoder = Decoder(arch, patch * patch * 3, config.encoder.remat, DTYPES[config.dtype])
    return MAE(MaeHeads(decoder), grid, grid[0] * grid[1] - masked, patch, settings.normalise_pixels)
