"""Folders of images and labels: patterns, splits, classes, side files, orientation, and one-line refusals."""

import os

import numpy as np
import pytest
from PIL import Image

from hummingbird.data import fetch
from hummingbird.data.store import warn_once
from tests.data.files import (
    assert_refused,
    blocks,
    dense,
    encode,
    make_folder,
    names,
    pack,
    ramp,
    write,
)


def test_a_folder_needs_only_images_labels_and_lists(tmp_path, caplog):
    root = make_folder(tmp_path, ["a", "b.c", "d"], [3, 9, 255], prompt=["a", "b.c"])
    prompt, query = dense("prompt", "folder", root), dense("query", "folder", root)
    assert (names(prompt), names(query)) == (["a", "b.c"], ["d"])
    assert prompt.classes == query.classes == ["class 3", "class 9"]
    np.testing.assert_array_equal(query[0]["label"], blocks(24, 32, [0, 1, 255]))
    assert sum("inferred from 3 masks" in line for line in caplog.messages) == 1  # by the prompt, for both

    elsewhere = write(tmp_path / "elsewhere" / "classes.yaml", "{3: sky, 9: road}")
    assert dense("prompt", "folder", root, folder__classes=str(elsewhere)).classes == ["sky", "road"]
    assert_refused("neither in", "prompt", "folder", root, folder__classes="nowhere.yaml")


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
    assert_refused("has no train.txt, so choose the images", "prompt", "folder", tmp_path, **patterns)
    assert_refused("is not understood", "prompt", "folder", tmp_path, prompt="x[3]", **patterns)
    assert_refused("is empty: there are 5", "prompt", "folder", tmp_path, prompt="[7:]", **patterns)


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
    assert_refused("names 1 that are not among the prompt images: z", "prompt", "folder", root, names=str(chosen))
    assert_refused("cannot be read", "prompt", "folder", root, names=str(tmp_path / "nowhere"))


def test_problems_of_a_folder_are_reported_in_one_line(tmp_path):
    root = make_folder(tmp_path / "ok", ["a", "b"], [0, 1], prompt=["a"])
    (tmp_path / "empty").mkdir()
    assert_refused("holds no images 'images'. Expected: images", "prompt", "folder", tmp_path / "empty", prompt="[:1]")
    assert_refused(
        "has no list absent.txt; there are train.txt, val.txt", "prompt", "folder", root, prompt="absent.txt"
    )
    write(root / "train.txt", "a\nghost\n")
    assert_refused("no image for 1 of the 2 of train.txt: ghost", "prompt", "folder", root)
    write(root / "train.txt", "a\na\n")
    assert_refused("names a more than once", "prompt", "folder", root)
    write(root / "train.txt", "")
    assert_refused("names no images", "prompt", "folder", root)
    write(root / "train.txt", "a")
    (root / "labels" / "a.png").unlink()
    assert_refused("no label for 1 of the 1 of train.txt: a", "prompt", "folder", root)
    write(root / "images" / "a.png", encode(ramp(4, 4)))
    line = assert_refused("are both called a", "prompt", "folder", root)
    assert "data.folder.images=images/{name}." in line


@pytest.fixture(autouse=True)
def warnings_of_other_tests_do_not_count():
    warn_once.cache_clear()


# ---------------------------------------------------------------- lists and patterns
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_written_on_windows_are_read(tmp_path, encoding):
    root = make_folder(tmp_path, ["straße1", "straße2", "straße3"], [0, 1], prompt=[])
    for file, listed in (("train.txt", "straße1\r\nstraße2\r\n"), ("val.txt", "straße3\r\n")):
        write(root / file, listed.encode(encoding))
    write(root / "few.txt", "straße2\r\n".encode(encoding))
    write(root / "classes.yaml", "[sky, road]".encode(encoding))
    chosen = {"names": str(root / "few.txt"), "folder__classes": "classes.yaml"}
    assert names(dense("prompt", "folder", root)) == ["straße1", "straße2"]
    assert names(dense("prompt", "folder", root, **chosen)) == ["straße2"]
    assert dense("query", "folder", root, **chosen).classes == ["sky", "road"]


def test_a_list_in_another_encoding_is_named_with_it(tmp_path):
    root = make_folder(tmp_path, ["straße1", "straße2"], [0, 1], prompt=["straße1"])
    write(root / "latin1.txt", "straße1".encode("latin-1"))
    for changes in ({"prompt": "latin1.txt"}, {"names": str(root / "latin1.txt")}, {"folder__classes": "latin1.txt"}):
        line = assert_refused("latin1.txt is not UTF-8 text: byte 0xdf", "prompt", "folder", root, **changes)
        assert "save it as UTF-8" in line


def test_lists_may_hold_names_with_spaces_and_suffixes(tmp_path):
    root = make_folder(tmp_path, [f"my photo {i}" for i in range(3)], [0, 1], prompt=[])
    write(root / "train.txt", "my photo 0.jpg\nmy photo 1.jpg\n")
    write(root / "val.txt", "my photo 2.jpg\n")
    assert names(dense("prompt", "folder", root)) == ["my photo 0", "my photo 1"]


def test_a_list_may_be_elsewhere(tmp_path, monkeypatch):
    root = make_folder(tmp_path / "own", ["a", "b", "c"], [0, 1])
    archive = pack(root, tmp_path / "own.tar")
    write(tmp_path / "lists/few.txt", "b\nc\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for place in (root, archive):
        for file in (str(tmp_path / "lists/few.txt"), "~/lists/few.txt"):
            assert names(dense("prompt", "folder", place, prompt=f"{file}[1:]", query="[:1]")) == ["c"]


def test_a_pattern_may_name_a_file_twice(tmp_path):
    for name in ("00a1", "00b2", "00c3"):
        write(tmp_path / f"train/{name}/images/{name}.png", encode(ramp(6, 8)))
        write(tmp_path / f"train/{name}/masks/{name}.png", encode(blocks(6, 8, [0, 1])))
    write(tmp_path / "train/00a1/images/other.png", encode(ramp(6, 8)))
    patterns = {
        "folder__images": "train/{name}/images/{name}.png",
        "folder__labels": "train/{name}/masks/{name}.png",
        "prompt": "[:2]",
        "query": "[2:]",
    }
    assert names(dense("prompt", "folder", tmp_path, **patterns)) == ["00a1", "00b2"]


# ---------------------------------------------------------------- files beside the data
def test_side_files_of_known_tools_are_ignored_and_reported_once(tmp_path, caplog):
    root = make_folder(tmp_path, ["a", "b", "c"], [0, 1], prompt=["a", "b"])
    for name in ("a", "b", "c"):
        write(root / f"labels/{name}.json", "{}")  # LabelMe
        write(root / f"images/@eaDir/{name}.jpg/SYNOPHOTO_THUMB_M.jpg", encode(ramp(2, 2), "JPEG"))
        write(root / f"images/._{name}.jpg", b"\0\5\26\7")
    write(root / "images/Thumbs.db", b"\xd0\xcf")
    prompt = dense("prompt", "folder", root, prompt="", folder__images="images")
    assert names(prompt) == ["a", "b"]
    assert names(dense("query", "folder", root)) == ["c"]
    for mark in ("@eaDir", "Thumbs.db", "3 .json"):
        assert sum(mark in line for line in caplog.messages) == 1, mark
    assert names(dense("prompt", "folder", root, prompt="[:3]", query="[:1]")) == ["a", "b", "c"]


def test_labels_without_an_image_are_reported(tmp_path, caplog):
    root = make_folder(tmp_path, ["a", "b"], [0, 1])
    write(root / "labels/lonely.png", encode(blocks(24, 32, [0, 1])))
    assert names(dense("prompt", "folder", root, prompt="[:1]", query="[1:]")) == ["a"]
    assert sum("1 labels have no image and are not used: lonely" in line for line in caplog.messages) == 1


def test_names_that_are_not_utf8_are_read(tmp_path):
    root = make_folder(tmp_path, ["a"], [0, 1])
    odd = os.fsencode(root / "images") + b"/stra\xdfe"
    try:
        os.rename(root / "images/a.jpg", odd + b".jpg")
    except OSError:
        pytest.skip("this file system takes no such names")
    os.rename(root / "labels/a.png", odd.replace(b"images", b"labels") + b".png")
    prompt = dense("prompt", "folder", root, prompt="[:1]", query="[:1]")
    assert names(prompt) == [r"stra\xdfe"]
    prompt.fingerprint.encode()


def test_a_link_to_nothing_is_named_with_its_target(tmp_path):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    (root / "labels/a.png").unlink()
    (root / "labels/a.png").symlink_to("../.git/annex/objects/SHA256E-s123--aa.png")
    line = assert_refused("labels/a.png is a link to .*annex.* which does not exist", "prompt", "folder", root)
    assert "git annex get" in line


def test_folders_that_link_to_one_another_are_read_once(tmp_path, caplog):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    (root / "images/self").symlink_to(".", target_is_directory=True)
    (root / "images/one").mkdir()
    (root / "images/one/root").symlink_to("../..", target_is_directory=True)
    assert names(dense("prompt", "folder", root)) == ["a"]
    assert sum("leads back to a folder that contains it" in line for line in caplog.messages) == 2


# ---------------------------------------------------------------- permissions
@pytest.fixture
def forbid(monkeypatch):
    """Returns a function that makes reading a path fail; permissions would not, as tests may run as root."""
    from etils import epath

    forbidden = set()
    read, scan = epath.Path("/").__class__.read_bytes, os.scandir

    def guard(function):
        def guarded(path, *args):
            if os.fspath(path) in forbidden:
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return function(path, *args)

        return guarded

    monkeypatch.setattr(epath.Path("/").__class__, "read_bytes", guard(read))
    monkeypatch.setattr(fetch, "open", guard(open), raising=False)
    monkeypatch.setattr(os, "scandir", guard(scan))
    return lambda path: forbidden.add(os.fspath(path))


@pytest.mark.parametrize("file", ["train.txt", "labels/a.png", "images/a.jpg", "classes.yaml"])
def test_a_file_without_permission_is_named_in_one_line(tmp_path, forbid, file):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    write(root / "classes.yaml", "[sky, road]")
    forbid(root / file)
    assert_refused(
        f"{file} cannot be read: Permission denied", "prompt", "folder", root, folder__classes="classes.yaml"
    )


def test_foreign_folders_without_permission_are_skipped_with_a_warning(tmp_path, forbid, caplog):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    (root / "private").mkdir()
    forbid(root / "private")
    any_folder = {"folder__images": "*/{name}.jpg", "folder__labels": "*/{name}.png"}
    assert names(dense("prompt", "folder", root, **any_folder)) == ["a"]
    assert sum("skipped" in line and "private: Permission denied" in line for line in caplog.messages) == 1
    forbid(root)
    assert_refused("cannot be read: Permission denied", "prompt", "folder", root, **any_folder)


# ---------------------------------------------------------------- orientation
def turned(root, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(root / "images" / f"{name}.jpg", encode(ramp(24, 32, 5), "JPEG", quality=95, exif=exif.tobytes()))


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_an_image_is_not_turned_away_from_its_label(tmp_path, caplog, orientation):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    turned(root, "a", orientation)
    off = lambda image, expected: np.abs(image.astype(int) - expected).mean()
    upright = {2: ramp(24, 32, 5)[:, ::-1], 3: ramp(24, 32, 5)[::-1, ::-1], 4: ramp(24, 32, 5)[::-1]}[orientation]
    assert off(dense("prompt", "folder", root)[0]["image"], ramp(24, 32, 5)) < 3
    assert sum("data.exif=upright" in line for line in caplog.messages) == 1
    assert off(dense("prompt", "folder", root, exif="upright")[0]["image"], upright) < 3
    assert off(dense("prompt", "folder", root, exif="stored")[0]["image"], ramp(24, 32, 5)) < 3
    assert len({dense("prompt", "folder", root, exif=way).fingerprint for way in ("auto", "upright", "stored")}) == 3


def test_the_size_of_the_label_decides_the_orientation(tmp_path):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a", "b"])
    for name in ("a", "b"):
        turned(root, name, 6)
    write(root / "labels/b.png", encode(blocks(32, 24, [0, 1])))
    prompt = dense("prompt", "folder", root, query="[:1]")
    assert prompt[0]["image"].shape == (24, 32, 3)  # drawn on the stored image
    assert prompt[1]["image"].shape == (32, 24, 3)  # drawn on the upright image


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            encode(blocks(24, 32, [0, 1, 77, 99])),
            r"labels/a.png holds class ids 77, 99 .* 2 classes \(stored as 0 to 1\)",
        ),
        (encode(blocks(10, 12, [0, 1])), "labels/a.png is 12x10 pixels but its image images/a.jpg is 32x24"),
        (encode(blocks(32, 24, [0, 1])), "turned by 90 degrees"),
        (encode(ramp(24, 32)), "mask in colours"),
        (b"", "is empty"),
    ],
    ids=["id out of range", "other size", "turned", "RGB", "zero bytes"],
)
def test_a_bad_mask_is_never_skipped_but_named(tmp_path, label, message):
    root = make_folder(tmp_path, ["a", "b"], [0, 1], prompt=["a"])
    write(root / "classes.yaml", "[x, y]")
    write(root / "labels" / "a.png", label)
    assert_refused(message, "prompt", "folder", root, folder__classes="classes.yaml")


def test_void_masks_and_single_pixels_are_read_unchanged(tmp_path):
    root = make_folder(tmp_path, ["a", "b"], [255], prompt=["a"])
    write(root / "images" / "b.jpg", encode(ramp(1, 1), "JPEG"))
    write(root / "labels" / "b.png", encode(blocks(1, 1, [0])))
    assert (dense("prompt", "folder", root)[0]["label"] == 255).all()
    assert dense("query", "folder", root)[0]["image"].shape == (1, 1, 3)
    write(root / "labels" / "b.png", encode(blocks(1, 1, [255])))
    assert_refused("every pixel of all 2 masks is void", "prompt", "folder", root)
