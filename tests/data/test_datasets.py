"""VOC, ADE20K, Cityscapes, COCO-Stuff and NYUv2 in the layouts in which they are distributed."""

import pickle

import h5py
import numpy as np
import pytest
import scipy.io

from tests.data.files import (
    assert_refused,
    blocks,
    dense,
    encode,
    make_voc,
    names,
    ramp,
    write,
)

# ---------------------------------------------------------------- PASCAL VOC 2012
VOC = ["2007_1", "2007_2", "2008_3", "2009_4"]


@pytest.mark.parametrize(
    "lists",
    [
        {"trainaug.txt": "2007_1\n2007_2\n2008_3\n"},
        {"train_aug.txt": "/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\nx/2007_2.jpg y\nx/2008_3.jpg y\n"},
        {},
    ],
    ids=["ids", "pairs of paths", "derived"],
)
@pytest.mark.parametrize("inside", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_finds_trainaug_in_every_form(tmp_path, lists, inside):
    make_voc(tmp_path, VOC, ["2009_4"], lists)
    prompt = dense("prompt", "pascal_voc", tmp_path / inside)
    assert names(prompt) == VOC[:3]
    assert names(dense("query", "pascal_voc", tmp_path / inside)) == ["2009_4"]
    item = prompt[1]
    assert item["image"].shape == (20, 30, 3)
    np.testing.assert_array_equal(item["label"], blocks(20, 30, [0, 2, 255]))
    assert item["label"].dtype == np.int32
    assert (len(prompt.classes), prompt.classes[15], prompt.ignore) == (21, "person", 255)


def test_voc_refuses_what_is_missing(tmp_path):
    root = make_voc(tmp_path, VOC, ["2009_4"], {"train.txt": "2007_1\nabsent_9\n", "twice.txt": "2007_1\n2007_1\n"})
    assert "Found: VOCdevkit/" in assert_refused(
        "is not laid out as ade20k. Expected: images", "prompt", "ade20k", root
    )
    assert_refused("no image for 1 of the 2 of .*train.txt: absent_9", "prompt", "pascal_voc", root, prompt="train")
    assert_refused("names 2007_1 more than once", "prompt", "pascal_voc", root, prompt="twice")
    assert_refused(
        "no ImageSets/Segmentation/nope.txt; the splits there are train, twice, val",
        "prompt",
        "pascal_voc",
        root,
        prompt="nope",
    )
    assert_refused("does not exist", "prompt", "pascal_voc", tmp_path / "nowhere")
    assert_refused("data.root is empty", "prompt", "pascal_voc", "")
    assert_refused("has no depth", "prompt", "pascal_voc", root, task="depth")


# ---------------------------------------------------------------- other data sets
def test_ade20k_drops_id_0_and_counts_from_1(tmp_path):
    for split, count in (("training", 3), ("validation", 2)):
        for i in range(count):
            write(tmp_path / f"images/{split}/{split}_{i}.jpg", encode(ramp(9, 12), "JPEG"))
            write(tmp_path / f"annotations/{split}/{split}_{i}.png", encode(blocks(9, 12, [0, 1, 150])))
    rows = [f"{i}\t0.1\t1\t1\tname{i}, other" for i in range(1, 151)]
    write(tmp_path / "objectInfo150.txt", "\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))
    prompt, query = dense("prompt", "ade20k", tmp_path), dense("query", "ade20k", tmp_path)
    assert (len(prompt), len(query), len(prompt.classes), prompt.classes[149]) == (3, 2, 150, "name150")
    np.testing.assert_array_equal(query[0]["label"], blocks(9, 12, [255, 0, 149]))
    assert_refused(
        "there is no images/test; the splits there are training, validation", "query", "ade20k", tmp_path, query="test"
    )


def test_photos_are_read_whatever_the_spelling_of_their_suffix(tmp_path, caplog):
    for split in ("training", "validation"):
        for i, suffix in enumerate(("jpg", "JPG", "jpeg", "png")):
            kind = "PNG" if suffix == "png" else "JPEG"
            write(tmp_path / f"images/{split}/{split}_{i}.{suffix}", encode(ramp(9, 12), kind))
        for i in range(5):
            write(tmp_path / f"annotations/{split}/{split}_{i}.png", encode(blocks(9, 12, [0, 1, 150])))
    prompt = dense("prompt", "ade20k", tmp_path)
    assert names(prompt) == [f"training_{i}" for i in range(4)]
    assert sum("1 labels have no image and are not used: training_4" in line for line in caplog.messages) == 1
    write(tmp_path / "images/training/training_0.PNG", encode(ramp(9, 12)))
    assert_refused("are both called training_0", "prompt", "ade20k", tmp_path)


def test_cityscapes_turns_label_ids_into_19_classes(tmp_path):
    for split, city in (("train", "aachen"), ("val", "lindau")):
        write(tmp_path / f"leftImg8bit/{split}/{city}/{city}_0_leftImg8bit.png", encode(ramp(6, 8)))
        mask = blocks(6, 8, [0, 7, 33, 255])
        write(tmp_path / f"gtFine/{split}/{city}/{city}_0_gtFine_labelIds.png", encode(mask))
        write(tmp_path / f"gtFine/{split}/{city}/{city}_0_gtFine_color.png", encode(ramp(6, 8)))
    query = dense("query", "cityscapes", tmp_path)
    assert (names(query), len(query.classes), query.classes[18]) == (["lindau_0"], 19, "bicycle")
    np.testing.assert_array_equal(query[0]["label"], blocks(6, 8, [255, 0, 18, 255]))


def test_coco_stuff_closes_the_gaps_between_ids(tmp_path):
    for split in ("train2017", "val2017"):
        write(tmp_path / f"images/{split}/000000000001.jpg", encode(ramp(6, 8), "JPEG"))
        write(tmp_path / f"annotations/{split}/000000000001.png", encode(blocks(6, 8, [0, 12, 181, 255])))
    prompt = dense("prompt", "coco_stuff", tmp_path)
    assert (len(prompt.classes), prompt.classes[0], prompt.classes[-1]) == (171, "person", "wood")
    np.testing.assert_array_equal(prompt[0]["label"], blocks(6, 8, [0, 11, 170, 255]))
    write(tmp_path / "annotations/train2017/000000000001.png", encode(blocks(6, 8, [0, 11])))
    assert_refused("class ids 11 that are not among the 171 classes", "prompt", "coco_stuff", tmp_path)


def test_nyuv2_reverses_matlab_axes_and_uses_the_official_split(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 6), dtype=np.uint8)
    depth = np.random.default_rng(1).uniform(1, 5, (5, 8, 6)).astype(np.float32)
    depth[2, 0, 0] = np.nan
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = picture, depth
    assert_refused("lacks splits.mat. Expected", "prompt", "nyuv2", tmp_path)
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": [[1], [3], [5]], "testNdxs": [[2], [4]]})
    prompt, query = dense("prompt", "nyuv2", tmp_path), dense("query", "nyuv2", tmp_path)
    assert (len(prompt), len(query), prompt.task, prompt.classes) == (3, 2, "depth", [])
    item = pickle.loads(pickle.dumps(prompt))[1]  # the third frame
    np.testing.assert_array_equal(item["image"], picture[2].transpose(2, 1, 0))
    np.testing.assert_array_equal(item["label"], np.nan_to_num(depth[2].T))
    assert item["image"].shape == (6, 8, 3)
    assert_refused("nyuv2 has depth only", "prompt", "nyuv2", tmp_path, task="segmentation")
    with h5py.File(tmp_path / "splits.mat", "w") as file:  # as MATLAB 7.3 writes it
        file["trainNdxs"], file["testNdxs"] = np.array([[1.0, 3.0, 5.0]]), np.array([[2.0, 4.0]])
    assert dense("prompt", "nyuv2", tmp_path).fingerprint == prompt.fingerprint
    write(tmp_path / "splits.mat", "text")
    assert_refused("splits.mat cannot be read", "prompt", "nyuv2", tmp_path)
