"""Anyone's folder: patterns, splits, classes, and what is wrong with others."""

import numpy as np
import pytest

from tests.data.files import (
    blocks,
    dense,
    encode,
    make_folder,
    names,
    ramp,
    refused,
    write,
)


def test_a_folder_needs_only_images_labels_and_lists(tmp_path, caplog):
    root = make_folder(tmp_path, ["a", "b.c", "d"], [3, 9, 255], prompt=["a", "b.c"])
    prompt, query = dense("prompt", "folder", root), dense("query", "folder", root)
    assert (names(prompt), names(query)) == (["a", "b.c"], ["d"])
    assert prompt.classes == query.classes == ["class 3", "class 9"]
    np.testing.assert_array_equal(query[0]["label"], blocks(24, 32, [0, 1, 255]))
    assert sum("inferred from 3 masks" in line for line in caplog.messages) == 1  # by the prompt, for both


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
