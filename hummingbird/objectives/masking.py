"""Which patches are masked: random ones (MAE) or blocks (BEiT, iBOT, MaskFeat), drawn for each image on its own."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from hummingbird.config import PretrainConfig
from hummingbird.errors import UserError
from hummingbird.models.architecture import build_architecture

ATTEMPTS = 30  # blocks tried; what is missing after them is filled with single patches
SMALLEST = 4  # patches of a block, if so many are left to mask
ASPECT = 0.3  # a block's aspect ratio is log-uniform in [ASPECT, 1 / ASPECT]


def build_grid(config: PretrainConfig) -> tuple[int, int]:
    """Returns rows and columns of the patches of a global view."""
    grid = build_architecture(dataclasses.asdict(config.encoder), config.input_size).grid
    assert grid is not None
    return grid


def count_masked(key: str, ratio: float, grid: tuple[int, int]) -> int:
    """Returns how many patches of a grid a ratio masks, rounded up.

    Raises:
      UserError: it leaves no patch.
    """
    patches = grid[0] * grid[1]
    masked = patches - int(patches * (1 - ratio))
    if masked == patches:
        raise UserError(f"config key {key}: {ratio} leaves none of the {patches} patches; use less")
    return masked


def per_view(rngs: Key[Array, " B"], views: int) -> Key[Array, "B V"]:
    """Returns a key for each view of each image."""
    return jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(rngs, jnp.arange(views))


def uniform(keys: Key[Array, " B"], count: int) -> Float[Array, "B n"]:
    """Draws `count` numbers in [0, 1) by each key."""

    def one(key: Array) -> Array:
        return jax.random.uniform(key, (count,))

    return jax.vmap(one)(keys)


def kept_patches(keys: Key[Array, " *B"], patches: int, kept: int) -> Int[Array, "*B K"]:
    """Draws which patches are kept, uniformly and without replacement (He et al. 2022, Sec. 3).

    Args:
      keys: one per image or view.
      patches: N, number of patches.
      kept: K, how many are kept.
    """
    noise = uniform(keys.reshape(-1), patches)
    return jnp.argsort(noise, axis=1)[:, :kept].reshape(*keys.shape, kept)


def is_kept(keep: Int[Array, "*B K"], patches: int) -> Bool[Array, "*B N"]:
    """Returns for each of N patches whether its number is in `keep`."""
    return jnp.any(keep[..., None] == jnp.arange(patches), axis=-2)


def block_masks(
    keys: Key[Array, " *B"], grid: tuple[int, int], masked: Int[Array | np.ndarray, " *B"]
) -> Bool[Array, "*B N"]:
    """Draws masks made of rectangular blocks (BEiT, Bao et al. 2022, Algorithm 1), of an exact number of patches.

    Blocks of random area, aspect ratio and place are added while they fit; single random patches fill the rest.

    Args:
      keys: one per image or view.
      grid: rows and columns of the patches.
      masked: number of patches to mask, for each.
    """
    rows, columns = grid

    def one(key: Array, count: Array) -> Array:
        row, column = jnp.mgrid[:rows, :columns]

        def attempt(i: int | Array, mask: Array) -> Array:
            area, aspect, down, right = jax.random.uniform(jax.random.fold_in(key, i), (4,))
            left = count - mask.sum()
            smallest = jnp.minimum(SMALLEST, left)
            side = jnp.sqrt(smallest + area * (left - smallest))
            stretch = jnp.exp((aspect - 0.5) * -jnp.log(ASPECT))  # sqrt of the aspect ratio
            height = jnp.clip(jnp.round(side * stretch), 1, rows)
            width = jnp.clip(jnp.round(side / stretch), 1, columns)
            top, start = jnp.floor(down * (rows - height + 1)), jnp.floor(right * (columns - width + 1))
            block = (row >= top) & (row < top + height) & (column >= start) & (column < start + width)
            return mask | (block & ((block & ~mask).sum() <= left))

        mask = jax.lax.fori_loop(0, ATTEMPTS, attempt, jnp.zeros(grid, bool)).reshape(-1)
        order = jnp.argsort(-(mask + jax.random.uniform(jax.random.fold_in(key, ATTEMPTS), mask.shape)))
        return jnp.argsort(order) < count  # masked patches come first, then random ones

    masks = jax.vmap(one)(keys.reshape(-1), jnp.asarray(masked).reshape(-1))
    return masks.reshape(*keys.shape, rows * columns)


def some_block_masks(
    keys: Key[Array, " *B"], grid: tuple[int, int], probability: float, ratio: tuple[float, float]
) -> Bool[Array, "*B N"]:
    """Draws iBOT's masks: with `probability` blocks of a share that is uniform in `ratio`, else nothing.

    Args:
      keys: one per view.
      grid: rows and columns of the patches.
      probability: that a view is masked.
      ratio: range of the share of masked patches.
    """
    draws = uniform(jax.vmap(jax.random.fold_in, (0, None))(keys.reshape(-1), ATTEMPTS + 1), 2)
    share = ratio[0] + (ratio[1] - ratio[0]) * draws[:, 1]
    masked = jnp.where(draws[:, 0] < probability, jnp.floor(share * grid[0] * grid[1]), 0).astype(jnp.int32)
    return block_masks(keys, grid, masked.reshape(keys.shape))
