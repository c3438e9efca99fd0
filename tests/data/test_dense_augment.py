"""Crops of annotated images: labels move with their pixels, and every draw depends only on the generator."""

import dataclasses

import numpy as np
import pytest

from hummingbird.config.finetune import DenseAugment
from hummingbird.data import dense_augment
from hummingbird.data.dense_augment import augment_pair
from hummingbird.data.window import PADDING
from hummingbird.tasks import DepthTask, NormalsTask, SegmentationTask

PLAIN = DenseAugment(scale=(1.0, 1.0), most_of_a_class=1.0, flip=0.0, colours="none")
TASK = SegmentationTask([str(i) for i in range(64)])


def numbered(height=24, width=40, side=8):
    """An image of squares in grey 3 k, each labelled k."""
    rows, columns = np.mgrid[:height, :width] // side
    label = (rows * (width // side) + columns).astype(np.int32)
    return np.repeat((3 * label)[..., None], 3, axis=2).astype(np.uint8), label


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("crop", ["scale", "area", "squash"])
def test_labels_move_with_the_image(crop, flip):
    image, label = numbered()
    settings = dataclasses.replace(PLAIN, crop=crop, flip=flip, scale=(0.5, 2.0))
    for seed in range(8):
        pair = augment_pair(np.random.default_rng(seed), image, label, 24, TASK, settings)
        shown = pair.label != TASK.void
        assert (pair.image.shape, pair.label.shape) == ((24, 24, 3), (24, 24))
        assert np.all(pair.image[~shown] == PADDING)
        away = np.abs(pair.image[..., 0][shown] - 3.0 * pair.label[shown])
        assert np.mean(away < 2) > 0.5, "only pixels beside an edge are mixed"
        again = augment_pair(np.random.default_rng(seed), image, label, 24, TASK, settings)
        assert all(np.array_equal(*both) for both in zip(pair, again, strict=True))


def test_a_crop_of_nearly_one_class_is_drawn_again():
    label = np.zeros((64, 64), np.int32)
    label[:, 48:] = 1
    image, settings = np.zeros((64, 64, 3), np.uint8), dataclasses.replace(PLAIN, scale=(2.0, 2.0))
    rng = np.random.default_rng(0)
    mixed = [
        len(np.unique(augment_pair(rng, image, label, 64, TASK, chosen).label))
        for chosen in (settings, dataclasses.replace(settings, most_of_a_class=0.75))
        for _ in range(20)
    ]
    assert sum(mixed[20:]) > sum(mixed[:20])


def test_a_mirror_turns_normals_and_keeps_depths():
    image, settings = np.zeros((8, 8, 3), np.uint8), dataclasses.replace(PLAIN, flip=1.0)
    depth = np.arange(64, dtype=np.float32).reshape(8, 8) + 1
    mirrored = augment_pair(np.random.default_rng(0), image, depth, 8, DepthTask(), settings).label
    np.testing.assert_array_equal(mirrored, depth[:, ::-1])
    normals = np.zeros((8, 8, 3), np.float32)
    normals[:, :2, 0] = 1
    mirrored = augment_pair(np.random.default_rng(0), image, normals, 8, NormalsTask(), settings).label
    np.testing.assert_array_equal(mirrored[:, 6:, 0], -np.ones((8, 2)))


@pytest.mark.parametrize("name", ["mmseg", "depth"])
def test_colours_change_within_their_limits(name):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    changed = [dense_augment.COLOURS[name](np.random.default_rng(seed))(image) for seed in range(12)]
    assert all(x.shape == image.shape and x.dtype == np.uint8 for x in changed)
    assert len({x.tobytes() for x in changed}) > 3
    grey = np.full((4, 4, 3), 128, np.uint8)
    spread = [int(dense_augment.COLOURS[name](np.random.default_rng(seed))(grey).mean()) for seed in range(50)]
    assert min(spread) < 118
    assert max(spread) > 138
    assert min(spread) >= (128 - 32) // 2
