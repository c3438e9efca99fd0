import numpy as np
import pytest

from hummingbird.tasks.boundary_iou import DILATION, BoundaryIou, boundary


def by_distance(mask):
    """Pixels of the mask within reach, in chessboard distance, of one that is not in it."""
    reach = max(1, round(DILATION * float(np.hypot(*mask.shape))))
    padded, found = np.pad(mask, reach), np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        found[y, x] = not padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1].all()
    return found


def test_a_boundary_is_what_lies_close_to_the_contour():
    mask = np.zeros((90, 120), bool)  # a diagonal of 150: a width of 3
    mask[20:60, 0:70] = True
    mask[30:40, 30:50] = False
    np.testing.assert_array_equal(boundary(mask), by_distance(mask))


def test_boundary_iou_is_summed_over_images_and_averaged_over_classes():
    rng = np.random.default_rng(0)
    metric, both, any_ = BoundaryIou(3), np.zeros(3), np.zeros(3)
    for _ in range(2):
        truth = rng.integers(0, 2, (6, 8)).repeat(10, 0).repeat(10, 1)
        guess = rng.integers(0, 2, (6, 8)).repeat(10, 0).repeat(10, 1)
        truth[:5] = 255
        metric.add(truth, guess)
        for c in range(3):
            a, b = by_distance(truth == c), by_distance((guess == c) & (truth != 255))
            both[c] += (a & b).sum()
            any_[c] += (a | b).sum()
    assert any_[2] == 0
    assert metric.result() == pytest.approx(100 * (both[:2] / any_[:2]).mean())
    assert np.isnan(BoundaryIou(2).result())
