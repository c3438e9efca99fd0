"""The windows of Swin transformers: how maps are cut into them, which cells may attend, and where they lie."""

from __future__ import annotations

import numpy as np
from jax import Array
from jaxtyping import Float

MASKED = -100.0  # added to the scores of tokens that only the cyclic shift made neighbours


def offsets(window: tuple[int, int], pretrained: int) -> Float[np.ndarray, "R C 2"]:
    """Returns log-spaced offsets of rows and columns (Liu et al. 2022, Eq. 4).

    Args:
      window: rows and columns of cells.
      pretrained: side of the windows in pretraining, which scales offsets so that the greatest is 8 before the
        logarithm; 0: the side of `window`.
    """
    axes = [np.arange(1 - n, n) / max((pretrained or n) - 1, 1) for n in window]
    linear = 8 * np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return (np.sign(linear) * np.log2(np.abs(linear) + 1) / np.log2(8)).astype(np.float32)


def mask(grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Float[np.ndarray, "n t t"]:
    """Returns a large negative number for the pairs of a window's tokens that the shift brought together."""
    regions = list[np.ndarray]()
    for side, length, by in zip(grid, window, shift, strict=True):
        cells = np.arange(side)
        regions.append((cells >= side - length).astype(int) + (cells >= side - by) if by else np.zeros(side, int))
    labels = 3 * regions[0][:, None] + regions[1][None]
    parts = labels.reshape(grid[0] // window[0], window[0], grid[1] // window[1], window[1])
    parts = parts.transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
    return np.where(parts[:, :, None] == parts[:, None], 0.0, MASKED).astype(np.float32)


def windows(x: Float[Array, "B h w D"], window: tuple[int, int]) -> Float[Array, "B n t D"]:
    """Cuts maps into n windows of t cells, both row by row."""
    batch, rows, columns, width = x.shape
    x = x.reshape(batch, rows // window[0], window[0], columns // window[1], window[1], width)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, window[0] * window[1], width)


def unwindowed(x: Float[Array, "B n t D"], grid: tuple[int, int], window: tuple[int, int]) -> Float[Array, "B h w D"]:
    """Puts windows together again: the inverse of `windows`."""
    batch, _, _, width = x.shape
    x = x.reshape(batch, grid[0] // window[0], grid[1] // window[1], *window, width)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, *grid, width)
