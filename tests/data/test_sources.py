"""Every data set from the layout in which it is distributed, from a folder or a tar, and what is wrong with others."""

import pickle
import tarfile

import h5py
import numpy as np
import pytest
import scipy.io

from hummingbird import config
from hummingbird.data.sources import DENSE, DenseSource, ImageSource, build_dense_source, build_image_source
from hummingbird.errors import UserError
from tests.data.files import blocks, encode, make_folder, make_tfds, make_voc, ramp, write


def dense(split, name, root, **changes):
    overrides = {"data.name": name, "data.root": str(root)}
    overrides.update({f"data.{key.replace('__', '.')}": value for key, value in changes.items()})
    return build_dense_source(config.resolve("evaluate", overrides=overrides), split)


def images(name, root, **changes):
    overrides = {"data.name": name, "data.root": str(root), **{f"data.{key}": value for key, value in changes.items()}}
    return build_image_source(config.resolve("pretrain", overrides=overrides))


def names(source):
    return [source[i]["name"] for i in range(len(source))]


def refused(message, *args, **changes):
    with pytest.raises(UserError, match=message) as caught:
        names(dense(*args, **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def test_an_unknown_name_lists_those_there_are():
    message = refused("no data set to evaluate with", "prompt", "pascal", "")
    assert all(name in message for name in DENSE)


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
def test_voc_finds_trainaug_in_each_of_its_forms(tmp_path, lists, inside):
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
    assert "Found: VOCdevkit/" in refused("is not laid out as ade20k. Expected: images", "prompt", "ade20k", root)
    refused("no image for 1 of the 2 of .*train.txt: absent_9", "prompt", "pascal_voc", root, prompt="train")
    refused("names 2007_1 more than once", "prompt", "pascal_voc", root, prompt="twice")
    refused(
        "no ImageSets/Segmentation/nope.txt; the splits there are train, twice, val",
        "prompt",
        "pascal_voc",
        root,
        prompt="nope",
    )
    refused("does not exist", "prompt", "pascal_voc", tmp_path / "nowhere")
    refused("data.root is empty", "prompt", "pascal_voc", "")
    refused("has no depth", "prompt", "pascal_voc", root, task="depth")


# ---------------------------------------------------------------- the others
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
    refused(
        "there is no images/test; the splits there are training, validation", "query", "ade20k", tmp_path, query="test"
    )


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
    refused("class ids 11 that are not among the 171 classes", "prompt", "coco_stuff", tmp_path)


def test_nyuv2_turns_matlabs_axes_and_takes_the_official_split(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 6), dtype=np.uint8)
    depth = np.random.default_rng(1).uniform(1, 5, (5, 8, 6)).astype(np.float32)
    depth[2, 0, 0] = np.nan
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = picture, depth
    refused("lacks splits.mat. Expected", "prompt", "nyuv2", tmp_path)
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": [[1], [3], [5]], "testNdxs": [[2], [4]]})
    prompt, query = dense("prompt", "nyuv2", tmp_path), dense("query", "nyuv2", tmp_path)
    assert (len(prompt), len(query), prompt.task, prompt.classes) == (3, 2, "depth", [])
    item = pickle.loads(pickle.dumps(prompt))[1]  # the third frame
    np.testing.assert_array_equal(item["image"], picture[2].transpose(2, 1, 0))
    np.testing.assert_array_equal(item["label"], np.nan_to_num(depth[2].T))
    assert item["image"].shape == (6, 8, 3)
    refused("nyuv2 has depth only", "prompt", "nyuv2", tmp_path, task="segmentation")


# ---------------------------------------------------------------- anyone's folder
def test_a_folder_needs_only_images_labels_and_lists(tmp_path, caplog):
    root = make_folder(tmp_path, ["a", "b.c", "d"], [3, 9, 255], prompt=["a", "b.c"])
    prompt, query = dense("prompt", "folder", root), dense("query", "folder", root)
    assert (names(prompt), names(query)) == (["a", "b.c"], ["d"])
    assert prompt.classes == query.classes == ["class 3", "class 9"]
    np.testing.assert_array_equal(query[0]["label"], blocks(24, 32, [0, 1, 255]))
    assert any("inferred from 3 masks" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("classes.yaml", "[sky, road, car]", (["sky", "road", "car"], [0, 2, 255])),
        ("classes.json", '{"0": "sky", "2": "car", "7": null}', (["sky", "car"], [0, 1, 255])),
        ("classes.yaml", "classes: {0: sky, 9: car}\nignore: [2]", (["sky", "car"], [0, 255, 255])),
    ],
)
def test_classes_come_from_a_small_file(tmp_path, file, text, expected):
    root = make_folder(tmp_path, ["a", "b"], [0, 2, 255], prompt=["a"])
    write(root / file, text)
    prompt = dense("prompt", "folder", root, folder__classes=file)
    assert prompt.classes == expected[0]
    np.testing.assert_array_equal(prompt[0]["label"], blocks(24, 32, expected[1]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is broken"),
        ("sky", "should hold a list of names"),
        ("[a, a]", "the name 'a' to two ids"),
        ("{x: y}", "list"),
    ],
)
def test_a_broken_class_file_is_refused(tmp_path, text, message):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    write(root / "classes.yaml", text)
    refused(message, "prompt", "folder", root, folder__classes="classes.yaml")
    refused("neither in", "prompt", "folder", root, folder__classes="nowhere.yaml")


def test_patterns_pair_files_and_slices_split_them(tmp_path):
    for i in range(5):
        write(tmp_path / f"{i}.color.jpg", encode(ramp(6, 8), "JPEG"))
        write(tmp_path / f"{i}.depth.png", encode(np.full((6, 8), 1000 * i, np.uint16)))
    patterns = {"folder__images": "{name}.color.jpg", "folder__labels": "{name}.depth.png", "task": "depth"}
    prompt = dense("prompt", "folder", tmp_path, prompt="[:60%]", query="[60%:]", **patterns)
    query = dense("query", "folder", tmp_path, prompt="[:60%]", query="[60%:]", **patterns)
    assert (names(prompt), names(query)) == (["0", "1", "2"], ["3", "4"])
    assert (query[1]["label"] == 4.0).all()
    assert (prompt[0]["label"] == 0.0).all()
    refused("has no train.txt, so say which", "prompt", "folder", tmp_path, **patterns)
    refused("is not understood", "prompt", "folder", tmp_path, prompt="x[3]", **patterns)
    refused("is empty: there are 5", "prompt", "folder", tmp_path, prompt="[7:]", **patterns)


def test_a_split_may_be_a_folder_of_the_pattern(tmp_path):
    for split in ("train", "val"):
        make_folder(tmp_path / split, [f"{split}_1", f"{split}_2"], [0, 1])
    patterns = {"folder__images": "{split}/images/{name}.jpg", "folder__labels": "{split}/labels/{name}.png"}
    assert names(dense("query", "folder", tmp_path, **patterns)) == ["val_1", "val_2"]


def test_a_file_of_names_chooses_a_part_of_the_prompt(tmp_path):
    root = make_folder(tmp_path, ["a", "b", "c", "d"], [0, 1], prompt=["a", "b", "c"])
    chosen = write(tmp_path / "few.txt", "c\na\n")
    assert names(dense("prompt", "folder", root, names=str(chosen))) == ["a", "c"]
    assert names(dense("query", "folder", root, names=str(chosen))) == ["d"]
    write(chosen, "a\nz\n")
    refused("names 1 that are not among the prompt images: z", "prompt", "folder", root, names=str(chosen))
    refused("cannot be read", "prompt", "folder", root, names=str(tmp_path / "nowhere"))


def test_what_is_wrong_with_a_folder_is_said_in_one_line(tmp_path):
    root = make_folder(tmp_path / "ok", ["a", "b"], [0, 1], prompt=["a"])
    (tmp_path / "empty").mkdir()
    refused("holds no images 'images'. Expected: images", "prompt", "folder", tmp_path / "empty", prompt="[:1]")
    refused("has no list absent.txt; there are train.txt, val.txt", "prompt", "folder", root, prompt="absent.txt")
    write(root / "train.txt", "a\nghost\n")
    refused("no image for 1 of the 2 of train.txt: ghost", "prompt", "folder", root)
    write(root / "train.txt", "a\na\n")
    refused("names a more than once", "prompt", "folder", root)
    write(root / "train.txt", "")
    refused("names no images", "prompt", "folder", root)
    write(root / "train.txt", "a")
    (root / "labels" / "a.png").unlink()
    refused("no label for 1 of the 1 of train.txt: a", "prompt", "folder", root)
    write(root / "images" / "a.png", encode(ramp(4, 4)))
    refused("are both called a", "prompt", "folder", root)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            encode(blocks(24, 32, [0, 1, 77, 99])),
            r"labels/a.png holds class ids 77, 99 .* 2 classes \(stored as 0 to 1\)",
        ),
        (encode(blocks(10, 12, [0, 1])), "labels/a.png is 12x10 pixels but its image images/a.jpg is 32x24"),
        (encode(blocks(32, 24, [0, 1])), "EXIF"),
        (encode(ramp(24, 32)), "mask in colours"),
        (b"", "is empty"),
    ],
    ids=["id out of range", "other size", "turned", "RGB", "zero bytes"],
)
def test_a_bad_mask_is_never_skipped_but_named(tmp_path, label, message):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    write(root / "classes.yaml", "[x, y]")
    write(root / "labels" / "a.png", label)
    refused(message, "prompt", "folder", root, folder__classes="classes.yaml")


def test_void_masks_and_single_pixels_are_read_as_they_are(tmp_path):
    root = make_folder(tmp_path, ["a", "b"], [255], prompt=["a"])
    write(root / "images" / "b.jpg", encode(ramp(1, 1), "JPEG"))
    write(root / "labels" / "b.png", encode(blocks(1, 1, [0])))
    assert (dense("prompt", "folder", root)[0]["label"] == 255).all()
    assert dense("query", "folder", root)[0]["image"].shape == (1, 1, 3)
    write(root / "labels" / "b.png", encode(blocks(1, 1, [255])))
    refused("every pixel of all 2 masks is void", "prompt", "folder", root)


# ---------------------------------------------------------------- tar
def pack(folder, archive, inside=""):
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=inside or ".")
    return archive


def test_a_tar_is_read_like_the_folder_it_was_made_of(tmp_path):
    root = make_voc(tmp_path / "voc", VOC, ["2009_4"], {})
    archive = pack(root / "VOCdevkit", tmp_path / "voc.tar", "VOCdevkit")
    from_tar, from_folder = dense("prompt", "pascal_voc", archive), dense("prompt", "pascal_voc", root)
    assert from_tar.fingerprint == from_folder.fingerprint
    for i in range(3):
        np.testing.assert_array_equal(from_tar[i]["image"], from_folder[i]["image"])
        np.testing.assert_array_equal(from_tar[i]["label"], from_folder[i]["label"])
    folder = pack(make_folder(tmp_path / "own", ["a", "b"], [0, 1], prompt=["a"]), tmp_path / "own.tar")
    assert names(dense("query", "folder", folder)) == ["b"]


def test_archives_that_cannot_be_read_are_refused(tmp_path):
    refused("is compressed", "prompt", "folder", tmp_path / "x.tar.gz")
    refused("no readable tar", "prompt", "folder", write(tmp_path / "x.tar", "this is no archive"))
    refused("neither a folder nor", "prompt", "folder", write(tmp_path / "x.txt", "text"))


# ---------------------------------------------------------------- images to pretrain on
def test_imagenet_from_class_folders_class_tars_and_a_tar_of_tars(tmp_path):
    wnids = ["n01", "n02", "n03"]
    for i, wnid in enumerate(wnids):
        for j in range(2):
            write(tmp_path / "folders/train" / wnid / f"{wnid}_{j}.JPEG", encode(ramp(8, 8, 2 * i + j), "JPEG"))
        (tmp_path / "tars").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "tars" / f"{wnid}.tar", "w") as tar:
            for j in range(2):
                tar.add(tmp_path / "folders/train" / wnid / f"{wnid}_{j}.JPEG", arcname=f"{wnid}_{j}.JPEG")
    pack(tmp_path / "tars", tmp_path / "all.tar")
    sources = [images("imagenet", tmp_path / place) for place in ("folders", "tars", "all.tar")]
    for source in sources:
        assert source.classes == wnids
        assert [source[i]["label"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
        assert [source[i]["image"] for i in range(6)] == [sources[0][i]["image"] for i in range(6)]
    assert len(images("imagenet", tmp_path / "folders", split="train[:50%]")) == 3


def test_shards_may_hold_labels_beside_their_images(tmp_path):
    for shard in range(2):
        for i in range(2):
            write(tmp_path / f"raw{shard}/{shard}{i}.jpg", encode(ramp(8, 8), "JPEG"))
            write(tmp_path / f"raw{shard}/{shard}{i}.cls", str(10 * shard + i))
        (tmp_path / "shards").mkdir(exist_ok=True)
        pack(tmp_path / f"raw{shard}", tmp_path / f"shards/train-{shard}.tar")
    source = images("imagenet", tmp_path / "shards")
    assert [source[i]["label"] for i in range(4)] == [0, 1, 10, 11]


def test_any_folder_of_images_has_labels_only_if_all_lie_in_class_folders(tmp_path):
    write(tmp_path / "cats/1.png", encode(ramp(4, 4)))
    write(tmp_path / "dogs/deep/2.JPG", encode(ramp(4, 4), "JPEG"))
    write(tmp_path / "dogs/notes.txt", "no image")
    source = images("images", tmp_path)
    assert (source.classes, [source[i]["label"] for i in range(2)]) == (["cats", "dogs"], [0, 1])
    write(tmp_path / "3.png", encode(ramp(4, 4)))
    loose = images("images", tmp_path)
    assert (len(loose), loose.classes, loose[0]["label"]) == (3, [], -1)
    with pytest.raises(UserError, match="holds no images"):
        images("images", write(tmp_path / "other/x.txt", "text").parent)
    with pytest.raises(UserError, match="not laid out as imagenet"):
        images("imagenet", tmp_path)
    with pytest.raises(UserError, match="no folder 'val'"):
        images("images", tmp_path, split="val")


# ---------------------------------------------------------------- TFDS
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


def test_tfds_says_what_it_lacks(tmp_path):
    root = make_tfds(tmp_path / "tiny" / "1.0.0")
    refused("holds no dataset_info.json", "prompt", "tfds", tmp_path)
    refused("'nope' cannot be read: .* .splits: train", "prompt", "tfds", root, prompt="nope")
    refused("no feature 'wrong'; it has", "prompt", "tfds", root, tfds__image="wrong")
    refused("name no classes; give their number", "prompt", "tfds", root)
    refused("tfds/absent cannot be opened", "prompt", "tfds/absent", tmp_path)


@pytest.fixture
def tensorflow_absent():
    import sys

    yield
    assert "tensorflow" not in sys.modules


# ---------------------------------------------------------------- the small real data sets
HALVES = {"data.prompt": "[:50%]", "data.query": "[50%:]"}
KITCHEN = {"data.folder.images": "{name}.color.jpg", "data.folder.labels": "{name}.depth.png"}
NYU = {
    "data.folder.images": "{name}_rgb.png",
    "data.folder.labels": "{name}_depth.png",
    "data.folder.depth_scale": 2e-4,
}
# folder -> data.name, what else, prompts, queries, classes
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
