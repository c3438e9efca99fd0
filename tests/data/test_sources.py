"""Data sets by name, and small real data sets on disk."""

import numpy as np
import pytest

from hummingbird import config
from hummingbird.data.interface import DenseSource, ImageSource
from hummingbird.data.sources import DENSE, IMAGES, build_dense_source, build_image_source
from tests.data.files import assert_refused, dense, images


# ---------------------------------------------------------------- scenes
def test_scenes_of_all_splits_differ_and_keep_their_task():
    small = {"scenes__prompt_images": 3, "scenes__query_images": 2, "scenes__size": 24}
    prompt, query = dense("prompt", "scenes", "", **small), dense("query", "scenes", "", task="depth", **small)
    assert isinstance(prompt, DenseSource)
    assert (len(prompt), len(query), prompt.task, query.task) == (3, 2, "segmentation", "depth")
    assert prompt[0]["label"].max() < len(prompt.classes)
    train = build_image_source(config.resolve("pretrain", overrides={"data.scenes.size": 24}))
    assert isinstance(train, ImageSource)
    pictures = [prompt[0]["image"], query[0]["image"], train[0]["image"]]
    assert len({picture.tobytes() for picture in pictures}) == 3
    assert len({prompt.fingerprint, query.fingerprint, train.fingerprint}) == 3


def test_the_help_of_data_name_lists_the_data_sets():
    for kind, table in (("evaluate", DENSE), ("pretrain", IMAGES)):
        text = config.declared(kind)["data.name"].help
        assert not [name for name in table if name not in text]


def test_an_unknown_name_lists_the_known_ones():
    message = assert_refused("not a data set to evaluate with", "prompt", "pascal", "")
    assert all(name in message for name in DENSE)


# ---------------------------------------------------------------- small real data sets
HALVES = {"data.prompt": "[:50%]", "data.query": "[50%:]"}
KITCHEN = {"data.folder.images": "{name}.color.jpg", "data.folder.labels": "{name}.depth.png"}
NYU = {
    "data.folder.images": "{name}_rgb.png",
    "data.folder.labels": "{name}_depth.png",
    "data.folder.depth_scale": 2e-4,
}
# folder -> data.name, other settings, prompts, queries, classes
REAL = {
    "VOCdevkit": ("pascal_voc", {}, 10, 5, 21),
    "ADEChallengeData2016": ("ade20k", {"data.prompt": "validation[:2]", "data.query": "validation[2:]"}, 2, 1, 150),
    "cityscapes_mini": ("cityscapes", {"data.prompt": "train[:1]", "data.query": "train[1:]"}, 1, 1, 19),
    "camvid_mini": ("folder", {}, 34, 17, 11),
    "nyu_rgbd_mini": ("folder", {"data.task": "depth", "data.folder.depth_scale": 1 / 5000, **NYU, **HALVES}, 1, 1, 0),
    "rgbd_kitchen_mini": ("folder", {"data.task": "depth", **KITCHEN, **HALVES}, 20, 20, 0),
}


@pytest.mark.parametrize("folder", REAL)
def test_real_data_are_read(shared_data, folder):
    name, more, prompts, queries, classes = REAL[folder]
    overrides = {"data.name": name, "data.root": str(shared_data / folder), **more}
    settings = config.resolve("evaluate", overrides=overrides)
    prompt, query = build_dense_source(settings, "prompt"), build_dense_source(settings, "query")
    assert (len(prompt), len(query), len(prompt.classes)) == (prompts, queries, classes)
    for item in (prompt[0], query[len(query) - 1]):
        label = item["label"]
        assert item["image"].shape[:2] == label.shape
        if classes:
            assert label[label != 255].max() < classes
            assert len(np.unique(label)) > 1
        else:
            assert 0.3 < np.median(label[label > 0]) < 10
            assert (label > 0).mean() > 0.4


def test_real_imagenet_folders_are_read(shared_data):
    source = images("imagenet", shared_data / "imagenet_mini")
    assert (len(source), len(source.classes)) == (125, 125)
    assert source[7]["image"].startswith(b"\xff\xd8")
