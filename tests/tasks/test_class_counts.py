import numpy as np

from hummingbird.tasks.class_counts import ClassCounts, sparse_columns
from hummingbird.tasks.patches import patch_cells
from hummingbird.tasks.segmentation import class_areas


def from_counts(counts):
    return ClassCounts(counts.shape[1], *sparse_columns(counts).values())


def test_sparse_labels_vote_like_dense_ones():
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 4, (40, 32)) * (rng.random((40, 32)) < 0.5)
    counts = class_areas(mask, patch_cells(40, 32, 8), 7)
    labels = from_counts(counts)
    ids = rng.integers(0, len(counts), (5, 6))
    weights = rng.random((5, 6))
    dense = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(labels.vote(ids, weights), np.einsum("qk,qkc->qc", weights, dense[ids]), rtol=1e-6)
    np.testing.assert_array_equal(labels.dense(np.arange(len(counts))), counts)


def test_labels_without_loss_in_little_space():
    counts = np.zeros((1000, 150), int)
    counts[:, 3] = 256
    labels = from_counts(counts)
    assert labels.nbytes < 20 * 1000
    np.testing.assert_array_equal(labels.dense(np.array([0, 999])), counts[:2])


def test_counts_of_huge_patches_do_not_overflow():
    counts = np.array([[300 * 300, 0], [5, 7]])
    labels = from_counts(counts)
    np.testing.assert_array_equal(labels.dense(np.array([0, 1])), counts)
    np.testing.assert_allclose(labels.vote(np.array([[0, 1]]), np.array([[0.5, 0.5]])), [[0.5 + 2.5 / 12, 3.5 / 12]])


def test_missing_neighbours_do_not_vote():
    labels = from_counts(np.array([[4, 0], [0, 4]]))
    ids, weights = np.array([[1, -1]]), np.array([[1.0, 0.0]])
    np.testing.assert_allclose(labels.vote(ids, weights), [[0, 1]])


def test_taken_rows_and_stored_columns_are_the_same_labels():
    counts = np.random.default_rng(0).integers(0, 3, (20, 5)) + np.eye(5, dtype=int)[np.arange(20) % 5]
    labels, rows = from_counts(counts), np.array([7, 3, 3, 19])
    np.testing.assert_array_equal(labels.take(rows).dense(np.arange(4)), counts[rows])
    restored = ClassCounts(5, *labels.take(rows).columns().values())
    np.testing.assert_array_equal(restored.dense(np.arange(4)), counts[rows])


def test_an_entry_is_described_by_its_largest_class_and_the_lowest_on_ties():
    labels = from_counts(np.array([[0, 3, 1], [2, 0, 2]]))
    assert [labels.describe(0), labels.describe(1)] == [(1, 0.75), (0, 0.5)]
