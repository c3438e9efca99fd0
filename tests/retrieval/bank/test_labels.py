import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.labels import ClassLabels, DepthLabels, patch_counts, patch_depth, patch_labels


def test_patch_labels_are_the_mean_of_one_hot_pixels():
    mask = np.array([[[0, 1, 2, 2], [0, 0, 2, 2]]])
    labels = patch_labels(mask, 2, 3)
    assert labels.shape == (1, 1, 2, 3)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels[0, 0], [[0.75, 0.25, 0], [0, 0, 1]])


def test_void_pixels_never_vote():
    mask = np.array([[0, 255, 255, 255], [1, 255, 255, 255]])
    np.testing.assert_allclose(patch_labels(mask, 2, 2)[0], [[0.5, 0.5], [0, 0]])


def test_patch_labels_agree_with_a_plain_loop():
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, 3, 4, 255], (2, 12, 20), p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.2])
    labels = patch_labels(mask, 4, 5)
    for b, i, j in np.ndindex(2, 3, 5):
        pixels = mask[b, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].ravel()
        valid = pixels[pixels != 255]
        expected = [np.mean(valid == c) if len(valid) else 0 for c in range(5)]
        np.testing.assert_allclose(labels[b, i, j], expected, atol=1e-7)


@pytest.mark.parametrize("wrong", [5, -1, 254])
def test_class_ids_out_of_range_are_refused_by_name(wrong):
    mask = np.zeros((4, 4), int)
    mask[2, 2] = wrong
    with pytest.raises(UserError, match=f"{wrong}.*0..4"):
        patch_labels(mask[None], 4, 5)


def test_another_void_value_is_respected():
    mask = np.array([[[7, 0], [0, 0]]])
    np.testing.assert_allclose(patch_labels(mask, 2, 2, ignore=7)[0, 0, 0], [1, 0])


def test_size_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(UserError, match=r"5x4.*patch size 4"):
        patch_labels(np.zeros((1, 5, 4), int), 4, 2)


def test_patch_depth_is_the_mean_of_valid_depths():
    depth = np.array([[1.0, 3.0, 0.0, np.nan], [0.0, 2.0, 50.0, np.inf]], np.float32)
    mean, counts = patch_depth(depth, 2, 0.001, 10.0)
    np.testing.assert_allclose(mean, [2.0, 0.0])
    assert counts.tolist() == [3, 0]


def test_sparse_labels_vote_like_dense_ones():
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 4, (40, 32)) * (rng.random((40, 32)) < 0.5)
    counts = patch_counts(mask, 8, 7)
    labels = ClassLabels.from_counts(counts)
    ids = rng.integers(0, len(counts), (5, 6))
    weights = rng.random((5, 6))
    dense = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(labels.vote(ids, weights), np.einsum("qk,qkc->qc", weights, dense[ids]), rtol=1e-6)
    np.testing.assert_array_equal(labels.dense(np.arange(len(counts))), counts)


def test_labels_without_loss_in_little_space():
    counts = np.zeros((1000, 150), int)
    counts[:, 3] = 256
    labels = ClassLabels.from_counts(counts)
    assert labels.nbytes < 20 * 1000
    np.testing.assert_array_equal(labels.dense(np.array([0, 999])), counts[:2])


def test_counts_of_huge_patches_do_not_overflow():
    counts = np.array([[300 * 300, 0], [5, 7]])
    labels = ClassLabels.from_counts(counts)
    np.testing.assert_array_equal(labels.dense(np.array([0, 1])), counts)
    np.testing.assert_allclose(labels.vote(np.array([[0, 1]]), np.array([[0.5, 0.5]])), [[0.5 + 2.5 / 12, 3.5 / 12]])


def test_missing_neighbours_do_not_vote():
    labels = ClassLabels.from_counts(np.array([[4, 0], [0, 4]]))
    ids, weights = np.array([[1, -1]]), np.array([[1.0, 0.0]])
    np.testing.assert_allclose(labels.vote(ids, weights), [[0, 1]])
    np.testing.assert_allclose(DepthLabels(np.array([1.0, 5.0], np.float32)).vote(ids, weights), [[5.0]])
