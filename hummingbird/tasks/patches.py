"""Which patch each pixel of an image lies in."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Int

from hummingbird.errors import UserError


@functools.lru_cache(maxsize=8)
def patch_index(height: int, width: int, patch: int) -> Int[np.ndarray, "{height} {width}"]:
    """Returns the number of the patch that each pixel lies in; patches are numbered row by row.

    Raises:
      UserError: height or width is not a multiple of `patch`.

    Example:
      >>> patch_index(2, 4, 2)
      array([[0, 0, 1, 1],
             [0, 0, 1, 1]])
    """
    if height % patch or width % patch:
        raise UserError(f"label size {height}x{width} is not a multiple of the patch size {patch}")
    columns = width // patch
    rows = np.arange(height) // patch
    return rows[:, None] * columns + np.arange(width) // patch


def patch_count(height: int, width: int, patch: int) -> int:
    """Returns the number of patches of an image."""
    return (height // patch) * (width // patch)
