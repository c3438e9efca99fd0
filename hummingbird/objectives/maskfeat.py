"""MaskFeat (Wei et al. 2022): masked patches predict histograms of oriented gradients (Dalal & Triggs 2005)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from hummingbird.config import PretrainConfig
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.context import l2_normalize
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import AnyArray, Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.models.vit import patchify
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
from hummingbird.objectives.mae import masked_error
from hummingbird.objectives.masking import block_masks, build_grid, count_masked, per_view


class MaskFeatHeads(nn.Module):
    """A linear layer from patches to histograms.

    Attributes:
      output: values of a patch.
      dtype: compute type.
    """

    output: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.histograms = nn.Dense(self.output, dtype=self.dtype)

    def __call__(self, tokens: Float[Array, "*batch D"]) -> Float[Array, "*batch C"]:
        """Returns the predicted histograms, float32."""
        return self.histograms(tokens).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class MaskFeat(Common):
    """Mean squared error of the histograms of masked patches; see `interface.Objective`. No target network, no bank.

    Attributes:
      heads: the linear layer.
      grid: rows and columns of the patches.
      masked: number of masked patches.
      patch: patch size, pixels.
      cell: side of a cell, pixels.
      bins: orientations.
    """

    heads: MaskFeatHeads
    grid: tuple[int, int]
    masked: int
    patch: int
    cell: int
    bins: int
    has_target = False

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the linear layer; there is no other state."""
        return Heads(*initialise(self.heads, key, jnp.zeros((2, width))), {})

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Masks and encodes every view; `own` is {"loss": [b, V]}."""
        pictures = views[GLOBAL]
        keys = per_view(rngs, pictures.shape[1])
        mask = block_masks(keys, self.grid, jnp.full(keys.shape, self.masked))
        outputs = online.encode_views(pictures, mask=mask, tokens=True)
        assert outputs.tokens is not None
        predicted, _ = online.apply(self.heads, MaskFeatHeads.__call__, outputs.tokens)
        pictures, predicted, mask = (x.reshape(-1, *x.shape[2:]) for x in (pictures, predicted, mask))  # [b V, ...]
        losses = masked_error(predicted, hog_patches(pictures, self.patch, self.cell, self.bins), mask)
        return {GLOBAL: outputs._replace(tokens=None, own={"loss": losses.reshape(keys.shape)})}, {}

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Averages over the batch."""
        own = online.outputs[GLOBAL].own
        assert own is not None
        value = jnp.mean(own["loss"])
        return Loss(value, {"loss_histograms": value}, online, None, extra)


def hog(images: Float[AnyArray, "B H W C"], cell: int, bins: int) -> Float[Array, "B h w C bins"]:
    """Computes histograms of oriented gradients (Sec. 3.2): one for each cell and channel, normalised by its l2 norm.

    Gradients are central differences, zero at the border; orientations are unsigned. A pixel votes with the magnitude
    of its gradient for the one bin of its orientation.

    Args:
      images: of sides that `cell` divides.
      cell: side of a cell, pixels.
      bins: orientations in [0, pi).
    """
    x = jnp.asarray(images, jnp.float32)
    across = jnp.pad(x[:, :, 2:] - x[:, :, :-2], ((0, 0), (0, 0), (1, 1), (0, 0)))
    down = jnp.pad(x[:, 2:] - x[:, :-2], ((0, 0), (1, 1), (0, 0), (0, 0)))
    angle = jnp.mod(jnp.arctan2(down, across) / jnp.pi, 1.0)  # in half turns
    votes = jax.nn.one_hot(jnp.floor(angle * bins).astype(jnp.int32) % bins, bins)
    votes = votes * jnp.sqrt(across**2 + down**2)[..., None]
    batch, height, width, channels = x.shape
    cells = votes.reshape(batch, height // cell, cell, width // cell, cell, channels, bins)
    return l2_normalize(cells.sum(axis=(2, 4)), 1e-6)


def hog_patches(images: Float[AnyArray, "B H W 3"], patch: int, cell: int, bins: int) -> Float[Array, "B N C"]:
    """Returns the histograms of the cells of each patch side by side, without gradient; (16/8)^2 3 9 = 108 values."""
    histograms = hog(images, cell, bins)
    joined = histograms.reshape(*histograms.shape[:3], -1)
    return jax.lax.stop_gradient(
        patchify(joined, patch // cell).reshape(len(images), -1, (patch // cell) ** 2 * 3 * bins)
    )


def build(config: PretrainConfig, replicate: Replicate) -> MaskFeat:
    """Builds the objective from `maskfeat`, `encoder`, `input_size` and `dtype` of a config.

    Raises:
      UserError: a mask ratio that leaves no patch, or cells that do not divide a patch.
    """
    settings, grid = config.maskfeat, build_grid(config)
    patch, cell = config.input_size // grid[0], settings.cell
    if patch % cell:
        raise UserError(f"config key maskfeat.cell: {cell} does not divide the patch size {patch}")
    masked = count_masked("maskfeat.mask_ratio", settings.mask_ratio, grid)
    heads = MaskFeatHeads((patch // cell) ** 2 * 3 * settings.bins, DTYPES[config.dtype])
    return MaskFeat(heads, grid, masked, patch, cell, settings.bins)
