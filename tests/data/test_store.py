"""Archives and buckets are read like local folders."""

import os

import numpy as np
import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from tests.data.files import (
    assert_refused,
    blocks,
    dense,
    encode,
    images,
    make_folder,
    make_voc,
    names,
    pack,
    ramp,
    write,
)


def test_a_tar_is_read_like_the_folder_it_was_made_of(tmp_path):
    root = make_voc(tmp_path / "voc", ["2007_1", "2007_2", "2008_3", "2009_4"], ["2009_4"], {})
    archive = pack(root / "VOCdevkit", tmp_path / "voc.tar", "VOCdevkit")
    from_tar, from_folder = dense("prompt", "pascal_voc", archive), dense("prompt", "pascal_voc", root)
    assert from_tar.fingerprint == from_folder.fingerprint
    for i in range(3):
        np.testing.assert_array_equal(from_tar[i]["image"], from_folder[i]["image"])
        np.testing.assert_array_equal(from_tar[i]["label"], from_folder[i]["label"])
    folder = pack(make_folder(tmp_path / "own", ["a", "b"], [0, 1], prompt=["a"]), tmp_path / "own.tar")
    assert names(dense("query", "folder", folder)) == ["b"]


def test_changed_data_under_the_same_names_have_another_fingerprint(tmp_path):
    """Banks are matched by it: replaced images or masks must not match the old bank."""
    fingerprint = lambda root: dense("prompt", "folder", root, folder__classes="classes.yaml").fingerprint
    for name in ("one", "moved"):
        root = make_folder(tmp_path / name, ["a", "b"], [0, 1], prompt=["a", "b"])
        write(root / "classes.yaml", "[sky, road]")
    first = fingerprint(root)
    assert fingerprint(tmp_path / "one") == fingerprint(pack(root, tmp_path / "one.tar")) == first
    label = next((root / "labels").glob("b.*"))
    label.write_bytes(encode(blocks(24, 32, [1, 0, 1, 1, 0, 1, 0, 0])))
    relabelled = fingerprint(root)
    image = next((root / "images").glob("b.*"))
    image.write_bytes(encode(ramp(24, 32, 7), image.suffix[1:].upper().replace("JPG", "JPEG")))
    assert len({first, relabelled, fingerprint(root)}) == 3


def test_the_only_folder_in_a_tar_is_entered(tmp_path):
    own = make_folder(tmp_path / "own", ["a", "b"], [0, 1], prompt=["a"])
    packed = dense("prompt", "folder", pack(own, tmp_path / "own.tar", "own"))
    assert packed.fingerprint == dense("prompt", "folder", own).fingerprint
    inside = {"folder__images": "own/images", "folder__labels": "own/labels", "prompt": "[:1]", "query": "[1:]"}
    assert names(dense("prompt", "folder", tmp_path / "own.tar", **inside)) == ["a"]
    for name in ("cat", "dog"):
        write(tmp_path / "pets" / "train" / name / "1.jpg", encode(ramp(8, 8), "JPEG"))
    assert images("imagenet", pack(tmp_path / "pets", tmp_path / "pets.tar", "pets")).classes == ["cat", "dog"]
    voc = make_voc(tmp_path / "voc", ["1", "2"], ["2"], {})
    packed = dense("prompt", "pascal_voc", pack(voc, tmp_path / "voc.tar", "downloads"))
    assert names(packed) == ["1"]


def test_links_in_a_tar_are_followed(tmp_path):
    """GNU tar stores the second of two hard links as a link, and symbolic links as such."""
    root = make_folder(tmp_path / "own", ["a", "b", "c"], [0, 1], prompt=["a", "b"])
    os.link(root / "images/a.jpg", root / "images/hard.jpg")
    (root / "images/soft.jpg").symlink_to("b.jpg")
    (root / "images/nowhere.jpg").symlink_to("absent.jpg")
    (root / "images/x.jpg").symlink_to("y.jpg")
    (root / "images/y.jpg").symlink_to("x.jpg")
    for name in ("hard", "soft"):
        write(root / f"labels/{name}.png", encode(blocks(24, 32, [0, 1])))
    (root / "photos").symlink_to("images", target_is_directory=True)
    write(root / "train.txt", "hard\nsoft\na\n")
    archive = pack(root, tmp_path / "own.tar")
    packed, unpacked = dense("prompt", "folder", archive), dense("prompt", "folder", root)
    assert names(packed) == ["hard", "soft", "a"]
    for i in range(3):
        np.testing.assert_array_equal(packed[i]["image"], unpacked[i]["image"])
    assert names(dense("prompt", "folder", archive, folder__images="photos")) == ["hard", "soft", "a"]


def test_an_archive_without_permission_is_named_in_one_line(tmp_path, monkeypatch):
    archive = pack(make_folder(tmp_path / "own", ["a", "b"], [0, 1], prompt=["a"]), tmp_path / "own.tar")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(epath.Path(archive)), "open", refuse)
    assert_refused("own.tar cannot be read: Permission denied", "prompt", "folder", archive)


# ---------------------------------------------------------------- buckets
class Bucket(MemoryFileSystem):
    """A stand-in for a client of gs:// paths: keeps files in memory, and a list of requests."""

    cachable = False

    def __init__(self):
        super().__init__()
        self.store, self.pseudo_dirs = {}, [""]
        self.asked = []

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.removeprefix("gs://"))

    def info(self, path, **kwargs):
        self.asked.append(path)
        return super().info(path, **kwargs)

    def upload(self, local):
        self.put(str(local), f"gs://data/{local.name}", recursive=local.is_dir())
        return f"gs://data/{local.name}"


@pytest.fixture
def bucket(monkeypatch):
    held = Bucket()
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: held)
    return held


def test_data_in_a_bucket_are_read_like_local_ones(tmp_path, bucket):
    voc = make_voc(tmp_path / "voc", ["2007_1", "2007_2", "2008_3"], ["2008_3"], {})
    own = make_folder(tmp_path / "own", ["a", "b"], [0, 1], prompt=["a"])
    archive = pack(own, tmp_path / "own.tar")
    pets = tmp_path / "pets"
    for name in ("cat", "dog"):
        write(pets / "train" / name / "1.jpg", encode(ramp(8, 8), "JPEG"))
    for name, local in (("pascal_voc", voc), ("folder", own), ("folder", archive)):
        far, near = dense("prompt", name, bucket.upload(local)), dense("prompt", name, local)
        # Listing a folder in a bucket gives no sizes.
        assert (far.fingerprint == near.fingerprint) == (local == archive)
        np.testing.assert_array_equal(far[0]["image"], near[0]["image"])
        np.testing.assert_array_equal(far[0]["label"], near[0]["label"])
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in (1, 2):
        pack(pets / "train", shards / f"train-{number}.tar")
    for name, local in (("imagenet", pets), ("images", shards)):
        far, near = images(name, bucket.upload(local)), images(name, local)
        assert (far.fingerprint, far[1]) == (near.fingerprint, near[1])


def test_listing_a_bucket_takes_one_request_per_folder(tmp_path, bucket):
    for number in range(50):
        write(tmp_path / "photos" / f"{number}.jpg", b"")
    root = bucket.upload(tmp_path / "photos")
    bucket.asked.clear()
    assert len(images("images", root)) == 50
    assert len(bucket.asked) < 20


def test_a_bucket_without_its_client_is_refused_in_one_line(monkeypatch):
    def absent(name):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", absent)
    line = assert_refused("data.root: gs://none needs ", "prompt", "folder", "gs://none")
    assert "Please install gcsfs" in line  # the library's own advice
    line = assert_refused("is not a path", "prompt", "folder", "ftp://none")
    assert "buckets are gs://" in line
    line = assert_refused("gs://none", "prompt", "nyuv2", "gs://none")
    assert "copy nyu_depth_v2_labeled.mat to a local disk" in line


def test_archives_that_cannot_be_read_are_refused(tmp_path):
    write(tmp_path / "x.tar", "this is no archive")
    write(tmp_path / "x.txt", "text")
    said = {"x.tar.gz": "is compressed", "x.tar": "not a readable tar", "x.txt": "neither a folder nor"}
    for name, message in said.items():
        line = assert_refused(message, "prompt", "folder", tmp_path / name)
        assert str(tmp_path / name) in line
