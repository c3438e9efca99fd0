import numpy as np
import pytest
import torch

from hummingbird.errors import UserError
from hummingbird.retrieval.decode import attention_weights, contenders, cross_attend, upsample, upsampled_argmax


def naive(q, keys, values, beta):
    """Eq. 1, one query at a time."""
    out = []
    for i in range(len(q)):
        s = np.array([q[i] @ k / np.linalg.norm(q[i]) / np.linalg.norm(k) / beta for k in keys[i]])
        a = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        out.append(sum(a[j] * values[i][j] for j in range(len(a))))
    return np.array(out)


@pytest.mark.parametrize("beta", [0.02, 0.1, 1.0])
def test_cross_attend_is_equation_1(beta):
    rng = np.random.default_rng(0)
    q, keys, values = rng.normal(size=(4, 8)), rng.normal(size=(4, 5, 8)), rng.random((4, 5, 3))
    expected = naive(q, keys, values, beta)
    np.testing.assert_allclose(cross_attend(q, keys, values, beta), expected, rtol=1e-10)
    single = cross_attend(*(x.astype(np.float32) for x in (q, keys, values)), beta)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=2e-5)


def test_cross_attend_takes_similarities_or_one_bank_for_all():
    rng = np.random.default_rng(1)
    q, bank, values = rng.normal(size=(3, 8)), rng.normal(size=(6, 8)), rng.random((6, 2))
    expected = naive(q, [bank] * 3, [values] * 3, 0.1)
    cosine = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (bank / np.linalg.norm(bank, axis=1, keepdims=True)).T
    np.testing.assert_allclose(cross_attend(q, bank, values, 0.1), expected, rtol=1e-10)
    np.testing.assert_allclose(cross_attend(None, cosine, np.stack([values] * 3), 0.1), expected, rtol=1e-10)


def test_missing_neighbours_get_no_weight():
    weights = attention_weights(np.array([[0.5, -np.inf, 0.5]]), 0.02)
    np.testing.assert_allclose(weights, [[0.5, 0, 0.5]])
    with pytest.raises(UserError, match=r"no neighbour"):
        attention_weights(np.full((1, 2), -np.inf), 0.02)


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
