import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.sampling import choose_patches, features_per_image, sample_patches, sample_uniform
from hummingbird.tasks import DepthTask, LocalLabels, SegmentationTask


class FixedRandom(np.random.Generator):
    """A generator of uniform numbers that are all 1, so that Eq. 5 can be worked by hand."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def random(self, n):
        return np.ones(n)


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


def test_salient_sampling_is_equation_5_where_there_are_classes_and_uniform_elsewhere():
    local = LocalLabels(np.eye(6)[[0, 0, 0, 1, 1, 2]], np.ones(6, bool))
    draw = lambda task, sampling: choose_patches(local, 6, np.random.default_rng(0), task, sampling).tolist()
    by_class = sample_patches(local.values, 6, np.random.default_rng(0)).tolist()
    uniform = sample_uniform(local.labelled, 6, np.random.default_rng(0)).tolist()
    assert by_class != uniform
    assert draw(SegmentationTask("abc"), "salient") == by_class
    for task, sampling in ((SegmentationTask("abc"), "uniform"), (DepthTask(), "salient"), (DepthTask(), "all")):
        assert draw(task, sampling) == uniform
