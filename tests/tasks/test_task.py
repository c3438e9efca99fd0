"""What holds for every kind of label, and how a new one would join."""

import numpy as np
import pytest

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.tasks import KINDS, SegmentationTask, Task, build_task
from hummingbird.tasks.patches import patch_cells
from tests.retrieval.fakes import FakeSource


class Offsets(SegmentationTask):
    """Labels whose values are offsets in pixels, as of optical flow: they move with the image."""

    def move(self, label, rows, columns, scale=(1.0, 1.0), flip=False):
        moved = label[rows[:, None], columns] * np.array(scale)
        return moved * (1, -1) if flip else moved


@pytest.mark.parametrize("kind", KINDS)
def test_labels_survive_the_way_through_a_bank(kind):
    task, source = build_task(FakeSource(1, kind), config.resolve("evaluate")), FakeSource(1, kind)
    label = task.move(source[0]["label"], np.arange(48), np.arange(64))
    local = task.local_labels(label, patch_cells(48, 64, 8))
    assert local.values.shape == (48, task.channels)
    kept = local.values[local.labelled]
    columns = task.label_columns(kept)
    assert tuple(columns) == task.columns
    labels = task.bank_labels(columns, task.channels)
    assert tuple(labels.columns()) == task.columns
    votes = labels.vote(np.arange(len(kept))[:, None], np.ones((len(kept), 1)))
    expected = kept / kept.sum(1, keepdims=True) if task.has_classes else kept
    np.testing.assert_allclose(votes, expected, rtol=1e-6)
    prediction = task.predict(votes[:36].reshape(6, 6, -1), 48, 60)
    assert prediction.dtype == task.label_dtype
    metrics = task.metrics()
    metrics.add(prediction, prediction)
    assert {score.key for score in task.scores} <= set(metrics.result())
    assert task.paint(prediction).shape == (48, 60, 3)
    assert (~task.valid(np.full((2, 2), task.void, task.label_dtype))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_moved_labels_keep_their_values(kind):
    task, label = build_task(FakeSource(1, kind), config.resolve("evaluate")), FakeSource(1, kind)[0]["label"]
    moved = task.move(label, np.array([5, 9]), np.array([63, 10, 10]), (2.0, 0.5), flip=True)
    turned = (-1, 1, 1) if kind == "normals" else 1  # a mirrored normal points the other way
    np.testing.assert_array_equal(moved, label[[5, 9]][:, [63, 10, 10]] * turned)


def test_a_kind_can_move_its_values_with_the_image():
    label = np.stack(np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij"), -1)
    moved = Offsets(["a"]).move(label, np.array([3]), np.array([4, 0]), (2.0, 3.0), flip=True)
    np.testing.assert_array_equal(moved, [[[6, -12], [6, 0]]])


def test_unknown_kinds_and_unsupported_protocols_are_refused():
    source = FakeSource(1)
    source.task = "sound"
    with pytest.raises(UserError, match=r"'sound' is not one of segmentation, depth"):
        build_task(source, config.resolve("evaluate"))
    with pytest.raises(UserError, match=r"open-hummingbird is for segmentation only; use protocol=paper for depth"):
        build_task(FakeSource(1, "depth"), config.resolve("evaluate", overrides={"protocol": "open-hummingbird"}))


def test_kinds_are_registered_by_their_names():
    assert all(issubclass(kind, Task) and kind.kind == name for name, kind in KINDS.items())
