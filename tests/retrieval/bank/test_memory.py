import ml_dtypes
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.memory import (
    BankBuilder,
    features_per_image,
    normalise,
    sample_patches,
    sample_uniform,
)
from hummingbird.tasks import DepthTask, LocalLabels, SegmentationTask


class FixedRandom(np.random.Generator):
    """A generator of uniform numbers that are all 1, so that Eq. 5 can be worked by hand."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def random(self, n):
        return np.ones(n)


def local(values):
    values = np.asarray(values)
    return LocalLabels(values, (values > 0).any(1))


DEPTHS = LocalLabels(np.array([[1.0], [2.0]], np.float32), np.array([True, True]))


def test_sampling_takes_the_lowest_class_scores_first():
    # Class 0 in 4 patches, class 1 in 2, class 2 in 1: class scores 4, 4+2, 4, 4+1, 2.
    labels = np.array([[1, 0, 0], [0.5, 0.5, 0], [1, 0, 0], [0.9, 0, 0.1], [0, 1, 0]])
    assert sample_patches(labels, 5, FixedRandom()).tolist() == [4, 0, 2, 3, 1]


def test_sampling_follows_equation_5_with_its_random_numbers():
    rng = np.random.default_rng(3)
    labels = rng.random((50, 6)) * (rng.random((50, 6)) < 0.3)
    labels[7] = 0
    x = np.random.default_rng(9).random(50)
    final = []
    for j in range(50):
        score = sum((labels[:, c] > 0).sum() for c in range(6) if labels[j, c] > 0)
        final.append(score * x[j] + 1e6 * (not (labels[j] > 0).any()))
    chosen = sample_patches(labels, 20, np.random.default_rng(9))
    assert chosen.tolist() == np.argsort(final, kind="stable")[:20].tolist()


def test_empty_patches_come_last():
    labels = np.zeros((10, 2))
    labels[[2, 5]] = [0.1, 0.9]
    assert set(sample_patches(labels, 2, np.random.default_rng(0))) == {2, 5}
    assert set(sample_uniform(labels.any(1), 2, np.random.default_rng(0))) == {2, 5}


def test_depth_sampling_is_a_random_order_of_all_patches():
    valid = np.array([True, False, True, True])
    orders = {tuple(sample_uniform(valid, 4, np.random.default_rng(s)).tolist()) for s in range(60)}
    assert len(orders) == 6
    assert all(order[-1] == 1 for order in orders)


def test_more_patches_than_there_are_gives_all():
    assert sorted(sample_patches(np.eye(3), 10, np.random.default_rng(0))) == [0, 1, 2]


def test_features_per_image_share_the_memory():
    assert features_per_image(10_240_000, 10_582, 2, 1024, "salient") == 483
    assert features_per_image(10_240_000, 795, 0, 1024, "salient") == 1024
    assert features_per_image(1000, 10, 2, 64, "all") == 64
    with pytest.raises(UserError, match=r"retrieval.memory_length"):
        features_per_image(100, 60, 2, 64, "salient")


def test_bank_drops_empty_patches_and_knows_where_entries_come_from():
    builder = BankBuilder(10, SegmentationTask("abc"), 16)
    counts = np.array([[1, 0, 0], [0, 0, 0], [0, 2, 2]])
    builder.add(np.eye(3, 4, dtype=np.float32), local(counts), image=5, epoch=1, patch=np.array([8, 9, 10]))
    bank = builder.finish()
    assert len(bank) == 2
    assert bank.keys.shape == (2, 4)
    assert bank.image.tolist() == [5, 5]
    assert bank.epoch.tolist() == [1, 1]
    assert bank.patch.tolist() == [8, 10]
    np.testing.assert_array_equal(bank.labels.dense(np.arange(2)), counts[[0, 2]])


def test_bank_never_grows_beyond_its_capacity():
    builder = BankBuilder(3, DepthTask(), 16)
    for image in range(3):
        builder.add(np.ones((2, 4), np.float32), DEPTHS, image, 0, np.arange(2))
    assert builder.finish().image.tolist() == [0, 0, 1]


def test_bank_stores_bfloat16_when_asked():
    builder = BankBuilder(2, DepthTask(), 16, "bfloat16")
    builder.add(np.ones((2, 4), np.float32), DEPTHS, 0, 0, np.arange(2))
    assert builder.finish().keys.dtype == ml_dtypes.bfloat16


def test_prompt_without_any_label_is_refused():
    builder = BankBuilder(2, SegmentationTask("abc"), 16)
    builder.add(np.ones((2, 4), np.float32), local(np.zeros((2, 3), int)), 0, 0, np.arange(2))
    with pytest.raises(UserError, match=r"no patch with a valid label"):
        builder.finish()


def test_normalise_gives_unit_length_and_the_norms():
    unit, norm = normalise(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(norm, [5, 0])
