"""Windows of Swin transformers: which cells of a shifted map may attend, and the way there and back."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.models.windows import MASKED, mask, unwindowed, windows

GRID, WINDOW = (4, 6), (2, 3)


@pytest.mark.parametrize("shift", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_cells_attend_that_were_neighbours_before_the_shift(shift):
    """Cells from beyond the border, which the cyclic shift brought into a window, form a group of their own."""
    cells = np.moveaxis(np.indices(GRID), 0, -1).astype(np.float32)  # row and column of each cell
    rolled = jnp.asarray(np.roll(cells, (-shift[0], -shift[1]), axis=(0, 1)))
    moved = np.asarray(windows(rolled[None], WINDOW)[0])  # [n, t, 2]
    apart = np.abs(moved[:, :, None] - moved[:, None])
    near = np.all(apart < np.array(WINDOW), axis=-1)
    np.testing.assert_array_equal(mask(GRID, WINDOW, shift), np.where(near, 0, MASKED))


def test_windows_are_put_together_again():
    x = jnp.arange(2 * 4 * 6 * 5.0).reshape(2, 4, 6, 5)
    np.testing.assert_array_equal(unwindowed(windows(x, WINDOW), GRID, WINDOW), x)
