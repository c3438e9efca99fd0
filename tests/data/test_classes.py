"""Classes of a folder of masks: from a small file, or inferred from the ids that occur."""

import numpy as np
import pytest

from hummingbird.data.store import Folder
from tests.data.files import assert_refused, blocks, dense, encode, make_folder, write


def test_masks_are_read_once_for_both_halves_and_again_when_they_may_have_changed(tmp_path, monkeypatch):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    read, files = Folder.read, []
    monkeypatch.setattr(Folder, "read", lambda store, path: files.append(path) or read(store, path))
    build = lambda *halves: [dense(half, "folder", root).classes for half in halves]
    build("query", "prompt")
    assert sorted(path for path in files if path.startswith("labels/")) == ["labels/a.png", "labels/b.png"]
    write(root / "labels/a.png", encode(blocks(24, 32, [0, 2])))
    assert build("prompt", "query", "query") == [["class 0", "class 1", "class 2"]] * 3


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
    assert_refused(message, "prompt", "folder", root, folder__classes="classes.yaml")


@pytest.mark.parametrize("ids", [[-1, 0, 1], [0, 1_000_001]], ids=["negative", "above 16 bits"])
def test_classes_are_not_inferred_from_ids_out_of_range(tmp_path, ids):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    (root / "labels/a.png").unlink()
    write(root / "labels/a.tif", encode(np.resize(np.array(ids, np.int32), (24, 32)), "TIFF"))
    line = assert_refused("labels/a.tif holds ids from", "prompt", "folder", root)
    assert "expected 0 to 65535" in line


def test_binary_masks_of_0_and_255_are_reported_with_the_fix(tmp_path, caplog):
    root = make_folder(tmp_path, ["a", "b"], [0, 255], prompt=["a"])
    assert dense("prompt", "folder", root).classes == ["class 0"]
    warning = next(line for line in caplog.messages if "one class" in line)
    assert "any prediction scores 100" in warning
    assert "data.folder.ignore" in warning
    assert dense("prompt", "folder", root, folder__ignore=254).classes == ["class 0", "class 255"]
