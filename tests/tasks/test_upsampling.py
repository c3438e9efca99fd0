import numpy as np
import pytest

from hummingbird.tasks.upsampling import contenders, upsample, upsampled_argmax, upsampled_winners
from tests import reference


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (5, 9), (3, 100)])
def test_upsampling_is_bilinear_with_half_pixel_centres(size):
    grid = np.random.default_rng(2).random((6, 7)).astype(np.float32)
    np.testing.assert_allclose(upsample(grid, *size), reference.bilinear(grid, *size), atol=2e-6)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("mode", "ours", "size"),
    [
        ("bilinear", reference.bilinear, (37, 53)),
        ("bilinear", reference.bilinear, (3, 100)),
        ("nearest-exact", reference.nearest, (64, 64)),
        ("nearest-exact", reference.nearest, (5, 9)),
    ],
)
def test_the_reference_resizes_as_pytorch(mode, ours, size):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    grid = np.random.default_rng(2).random((6, 7))
    theirs = torch.nn.functional.interpolate(torch.tensor(grid)[None, None], size, mode=mode)[0, 0].numpy()
    np.testing.assert_allclose(ours(grid, *size), theirs, atol=1e-12)


@pytest.mark.parametrize("size", [(96, 128), (75, 50)])
@pytest.mark.parametrize("classes", [2, 21, 150])
def test_argmax_after_upsampling_is_that_of_upsampled_votes(size, classes):
    rng = np.random.default_rng(classes)
    votes = rng.random((8, 9, classes)).astype(np.float32) ** 8
    votes /= votes.sum(-1, keepdims=True)
    planes = reference.bilinear(votes, *size)
    second, first = np.sort(planes, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = first - second > 1e-5  # rounding may decide ties either way
    prediction = upsampled_argmax(votes, *size)
    assert prediction.shape == size
    assert prediction.dtype == np.int32
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(prediction[clear], planes.argmax(-1)[clear])
    winners = upsampled_winners(votes, *size)
    np.testing.assert_array_equal(winners.classes, prediction)
    np.testing.assert_allclose(winners.votes, planes.max(-1), atol=1e-5)


def test_a_class_that_wins_only_between_patch_centres_is_kept():
    # Class 2 is second at both centres and wins half way between them.
    votes = np.array([[[0.6, 0.0, 0.4], [0.0, 0.6, 0.4]]], np.float32)
    assert contenders(votes)[1][4].tolist() == [True, True, True]  # of 2 x 3 cells, the one between them
    assert set(upsampled_argmax(votes, 1, 40)[0]) == {0, 1, 2}


def test_classes_without_a_chance_are_not_upsampled():
    votes = np.zeros((4, 4, 150), np.float32)
    votes[..., 7], votes[..., 9] = 0.9, 0.1
    possible = contenders(votes)[1]
    assert possible.sum() == len(possible)
    assert possible[:, 7].all()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (4, 4), (31, 29)])
def test_cells_fit_images_of_any_size(size):
    votes = np.random.default_rng(0).random((5, 4, 6)).astype(np.float32)
    planes = reference.bilinear(votes, *size)
    second, first = np.sort(planes, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = first - second > 1e-5
    np.testing.assert_array_equal(upsampled_argmax(votes, *size)[clear], planes.argmax(-1)[clear])


def test_cells_without_votes_are_class_0_and_ties_are_the_lowest_class():
    votes = np.zeros((2, 2, 300), np.float32)
    votes[0, :, [270, 299]] = 0.5
    prediction = upsampled_argmax(votes, 4, 4)
    assert prediction[:3].tolist() == [[270] * 4] * 3  # also far from where they are
    assert prediction[3].tolist() == [0] * 4
