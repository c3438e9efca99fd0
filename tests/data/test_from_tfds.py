"""TFDS data sets, read without TensorFlow."""

import pickle
import sys

import numpy as np
import pytest

from tests.data.files import (
    assert_refused,
    dense,
    images,
    make_tfds,
)


def test_tfds_is_read_without_tensorflow(tmp_path, tensorflow_absent):
    root = make_tfds(tmp_path / "tiny" / "1.0.0")
    masks = dense("prompt", "tfds", root, tfds__classes=2)
    assert (len(masks), masks.task, masks.classes) == (5, "segmentation", ["class 0", "class 1"])
    assert (masks[3]["image"] == 3).all()
    assert (masks[3]["label"] == 1).all()
    depth = dense("query", "tfds/tiny", tmp_path, task="depth", query="train[3:]")
    assert (len(depth), depth[1]["label"].dtype) == (2, np.float32)
    assert (depth[1]["label"] == 4.0).all()
    assert (dense("query", "tfds", root, task="depth", query="train")[0]["label"] == 0.0).all()  # NaN
    pretrain = images("tfds", root)
    assert (len(pretrain), pretrain.classes, pretrain[3]["label"]) == (5, ["cat", "dog"], 1)
    assert pretrain[3]["image"].startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(pretrain))[3]["label"] == 1


def test_tfds_names_what_is_missing(tmp_path):
    root = make_tfds(tmp_path / "tiny" / "1.0.0")
    assert_refused("holds no dataset_info.json", "prompt", "tfds", tmp_path)
    assert_refused("'nope' cannot be read: .* .splits: train", "prompt", "tfds", root, prompt="nope")
    assert_refused("no feature 'wrong'; it has", "prompt", "tfds", root, tfds__image="wrong")
    assert_refused("name no classes; give their number", "prompt", "tfds", root)
    assert_refused("tfds/absent cannot be opened", "prompt", "tfds/absent", tmp_path)


@pytest.fixture
def tensorflow_absent():
    before = "tensorflow" in sys.modules
    yield
    assert before or "tensorflow" not in sys.modules
