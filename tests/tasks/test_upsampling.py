import numpy as np
import pytest
import torch

from hummingbird.tasks.upsampling import contenders, upsample, upsampled_argmax


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (5, 9), (3, 100)])
def test_upsampling_matches_pytorch_bilinear(size):
    grid = np.random.default_rng(2).random((6, 7)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.tensor(grid)[None, None], size, mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(upsample(grid, *size), expected, atol=2e-6)


@pytest.mark.parametrize("size", [(96, 128), (75, 50)])
@pytest.mark.parametrize("classes", [2, 21, 150])
def test_argmax_after_upsampling_matches_pytorch(size, classes):
    rng = np.random.default_rng(classes)
    votes = rng.random((8, 9, classes)).astype(np.float32) ** 8
    votes /= votes.sum(-1, keepdims=True)
    planes = torch.nn.functional.interpolate(torch.tensor(votes).permute(2, 0, 1)[None], size, mode="bilinear")[0]
    top = planes.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-5).numpy()  # rounding may decide ties either way
    prediction = upsampled_argmax(votes, *size)
    assert prediction.shape == size
    assert prediction.dtype == np.int32
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(prediction[clear], planes.argmax(0).numpy()[clear])


def test_a_class_that_wins_only_between_patch_centres_is_kept():
    # Class 2 is second at both centres and wins half way between them.
    votes = np.array([[[0.6, 0.0, 0.4], [0.0, 0.6, 0.4]]], np.float32)
    assert contenders(votes).tolist() == [0, 1, 2]
    assert set(upsampled_argmax(votes, 1, 40)[0]) == {0, 1, 2}


def test_classes_without_a_chance_are_not_upsampled():
    votes = np.zeros((4, 4, 150), np.float32)
    votes[..., 7], votes[..., 9] = 0.9, 0.1
    assert contenders(votes).tolist() == [7]
