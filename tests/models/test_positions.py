"""Each rule of resizing positions against the library that its projects call."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.ndimage

from hummingbird.errors import UserError
from hummingbird.models.positions import RESIZE, relative_matrix, resize_matrix, rotary_angles
from tests.weights.upstream import upstream

OLD = (5, 4)


def by_torch(table, new, **how):
    torch = upstream("torch")
    x = torch.from_numpy(table).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(x, **({"size": new} | how))[0].permute(1, 2, 0).numpy()


REFERENCES = {
    "bicubic": lambda t, new: by_torch(t, new, mode="bicubic"),
    "bicubic_antialias": lambda t, new: by_torch(t, new, mode="bicubic", antialias=True),
    "bilinear_antialias": lambda t, new: np.asarray(jax.image.resize(t, (*new, t.shape[-1]), "bilinear")),
    "bilinear_corners": lambda t, new: scipy.ndimage.zoom(t, (new[0] / OLD[0], new[1] / OLD[1], 1), order=1),
    "bicubic_offset": lambda t, new: by_torch(
        t, None, mode="bicubic", scale_factor=tuple((n + 0.1) / o for n, o in zip(new, OLD, strict=True))
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("rule", RESIZE)
@pytest.mark.parametrize("new", [(7, 9), (3, 2), (10, 3), (5, 8)])
def test_positions_are_resized_as_the_projects_library_does(rule, new):
    table = np.random.default_rng(0).normal(size=(*OLD, 3)).astype(np.float32)
    rows, columns = resize_matrix(rule, OLD, new)
    ours = np.einsum("ri,cj,ijd->rcd", rows, columns, table.astype(np.float64))
    np.testing.assert_allclose(ours, REFERENCES[rule](table, new), rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_cropped_positions_are_those_of_a_square():
    """RADIO's: the rectangle's positions are the first rows and columns of the square's."""
    table = np.random.default_rng(0).normal(size=(*OLD, 3)).astype(np.float32)
    rows, columns = resize_matrix("bilinear_cropped", OLD, (3, 6))
    ours = np.einsum("ri,cj,ijd->rcd", rows, columns, table.astype(np.float64))
    np.testing.assert_allclose(ours, by_torch(table, (6, 6), mode="bilinear")[:3], rtol=1e-4, atol=1e-5)


def test_positions_stay_where_the_grid_stays():
    for rule in RESIZE:
        for matrix in resize_matrix(rule, OLD, OLD):
            np.testing.assert_array_equal(matrix, np.eye(len(matrix)))
    with pytest.raises(UserError, match="use one of bicubic, "):
        resize_matrix("nearest", OLD, OLD)


@pytest.mark.parametrize("rule", ["bilinear", "geometric"])
def test_relative_positions_name_the_offset_of_each_pair_of_patches(rule):
    """A table that holds its own offsets, (row, column) of the query minus those of the key, is easy to check."""
    down, right = np.mgrid[-1:2, -2:3]
    for new in ((2, 3), (3, 5)):
        rows, columns, entries = relative_matrix(rule, (2, 3), new)
        assert rows.shape == (2 * new[0] - 1, 3)
        np.testing.assert_allclose([rows.sum(1).min(), columns.sum(1).max()], 1)
        assert entries[0, 1] == entries.max() - 2  # from [CLS], to [CLS], within [CLS]
        assert (entries[1, 0], entries[0, 0]) == (entries.max() - 1, entries.max())
        resized = [np.einsum("ri,cj,ij->rc", rows, columns, x).reshape(-1)[entries[1:, 1:]] for x in (down, right)]
        cells = np.stack(np.divmod(np.arange(new[0] * new[1]), new[1]))
        offsets = cells[:, :, None] - cells[:, None]
        if new == (2, 3):
            np.testing.assert_allclose(resized, offsets)
        assert np.array_equal(np.sign(np.round(resized, 6)), np.sign(offsets))


def test_rotary_angles_are_those_of_the_formula():
    angles = rotary_angles(3, 5, 8, 100.0)
    assert angles.shape == (15, 8)
    row, column = 2, 1  # centers at (2 + .5) / 3 and (1 + .5) / 5 of the side, in [-1, 1]
    y, x = 2 * 2.5 / 3 - 1, 2 * 1.5 / 5 - 1
    expected = 2 * np.pi * np.array([y, y * 100**-0.5, x, x * 100**-0.5])
    np.testing.assert_allclose(angles[row * 5 + column], np.tile(expected, 2), rtol=1e-12)
    with pytest.raises(UserError, match="multiple of 4"):
        rotary_angles(2, 2, 6, 100.0)
