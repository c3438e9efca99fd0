"""Lists of images are made once: kept beside the data or in a cache, mapped into memory, and renewed when false."""

import functools
import os
import pickle
import tarfile

import numpy as np
import pytest

from hummingbird import config
from hummingbird.data import fetch, images, index, index_files, places
from hummingbird.data.interface import Unreadable
from hummingbird.errors import UserError
from tests import gcs
from tests.data.files import encode, pack, ramp, write

CLASSES = ("n01440764", "n01443537", "n01484850")


def settings(root, name="imagenet", **changes):
    return config.resolve(
        "pretrain",
        overrides={"data.name": name, "data.root": str(root), **{f"data.{k}": x for k, x in changes.items()}},
    ).data


@functools.cache
def picture(number):
    return encode(ramp(8, 8, number), "JPEG")


def class_folders(root, count=4):
    for number, wnid in enumerate(CLASSES):
        for i in range(count):
            write(root / "train" / wnid / f"{wnid}_{i}.JPEG", picture(4 * number + i))
    return root


def class_tars(root, count=4):
    folders = class_folders(root.parent / "folders", count)
    root.mkdir()
    for wnid in CLASSES:
        with tarfile.open(root / f"{wnid}.tar", "w") as tar:
            for path in sorted((folders / "train" / wnid).iterdir()):
                tar.add(path, arcname=path.name)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUMMINGBIRD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bucket(tmp_path):
    """Uploads a folder; keeps the requests."""
    with gcs.bucket() as store:

        def upload(folder):
            for path in folder.rglob("*"):
                if path.is_file():
                    store.objects["data", f"{folder.name}/{path.relative_to(folder)}"] = (path.read_bytes(), 1)
            return f"gs://data/{folder.name}"

        store.upload = upload
        yield store


def kept(root, **changes):
    """Builds the source with an index that is kept."""
    place = places.locate(settings(root, **changes))
    return images.IndexedImages(images.find_index(place, keep=True), place)


def contents(source):
    return [(source.name(i).rsplit("/", 1)[-1], *source[i].values()) for i in range(len(source))]


@pytest.mark.parametrize("make", [class_folders, class_tars])
def test_a_kept_index_gives_the_same_images_and_fingerprint(tmp_path, make, monkeypatch):
    root = make(tmp_path / "data")
    fresh = images.build(settings(root))
    assert contents(kept(root)) == contents(fresh)
    monkeypatch.setattr(images, "list_place", None)  # listing it again would fail
    again = images.build(settings(root))
    assert (again.fingerprint, again.classes) == (fresh.fingerprint, fresh.classes)
    assert contents(pickle.loads(pickle.dumps(again))) == contents(fresh)
    half = images.build(settings(root, split="[:50%]" if make is class_tars else "train[:50%]"))
    assert contents(half) == contents(fresh)[:6]
    assert half.fingerprint != fresh.fingerprint


def test_workers_get_the_path_of_an_index_and_not_its_content(tmp_path):
    source = kept(class_tars(tmp_path / "data", 40))
    assert len(pickle.dumps(source)) < 1000 < source._index.nbytes


def test_files_that_come_or_go_are_noticed(tmp_path):
    root = class_folders(tmp_path / "folders")
    assert len(kept(root)) == 12
    write(root / "train" / CLASSES[0] / "new.JPEG", picture(0))
    assert len(images.build(settings(root))) == 13
    loose = tmp_path / "loose"
    write(loose / "1.jpg", picture(0))
    assert len(kept(loose, name="images")) == 1
    assert index_files._find(places.locate(settings(loose, name="images")).described) is not None
    (tmp_path / "other").mkdir()
    tars = class_tars(tmp_path / "other" / "tars")
    assert len(kept(tars)) == 12
    (tars / f"{CLASSES[0]}.tar").unlink()
    assert len(images.build(settings(tars))) == 8


def test_an_index_travels_with_its_archives(tmp_path, monkeypatch):
    root = class_tars(tmp_path / "data")
    expected = contents(kept(root))
    os.rename(root, tmp_path / "moved")
    monkeypatch.setattr(images, "list_place", None)
    assert contents(images.build(settings(tmp_path / "moved"))) == expected


def test_where_the_data_cannot_be_written_the_cache_keeps_the_index(tmp_path, monkeypatch, cache):
    root = class_tars(tmp_path / "data")
    write(root / ".hummingbird", "in the way")
    assert len(kept(root)) == 12
    assert len(list(cache.rglob("*.index"))) == 1
    monkeypatch.setattr(images, "list_place", None)
    assert len(images.build(settings(root))) == 12


def test_a_damaged_index_is_made_again(tmp_path):
    root = class_tars(tmp_path / "data")
    kept(root)
    path = next((root / ".hummingbird").iterdir())
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(UserError, match=r"not a readable index \(truncated\); delete it"):
        index.load(str(path))
    assert len(images.build(settings(root))) == 12


def test_class_numbers_beside_images_are_read_once_with_the_archive(tmp_path):
    for i in range(3):
        write(tmp_path / f"raw/{i}.jpg", picture(i))
        write(tmp_path / f"raw/{i}.cls", "nine" if i == 2 else str(7 + i))
    (tmp_path / "shards").mkdir()
    pack(tmp_path / "raw", tmp_path / "shards/train-0.tar")
    source = images.build(settings(tmp_path / "shards"))
    assert [source[i]["label"] for i in range(2)] == [7, 8]
    with pytest.raises(Unreadable, match=r"2.cls holds no class number"):
        source[2]


def test_millions_of_entries_take_little_memory():
    """12 bytes an image are touched by reading: where it is, its size, and where its name ends."""
    count, groups = 100_000, 100
    names = [f"n01440764_{i}.JPEG".encode() for i in range(count // groups)]
    blocks = np.arange(count // groups, dtype=np.uint32)
    made = [index.Group(f"n{g:08d}", f"n{g:08d}.tar", names, blocks, blocks) for g in range(groups)]
    found = index.pack(made, np.arange(groups, dtype=np.int32), "group", {"classes": []})
    assert len(found) == count
    assert sum(found._arrays[name].nbytes for name in ("starts", "labels", "blocks", "sizes", "ends")) < 13 * count
    assert found.path(54_321) == "n00000054/n01440764_321.JPEG"
    assert found.span(54_321) == ("n00000054.tar", 321 * 512, 321)
    assert found.label(54_321) == 54


# ---------------------------------------------------------------- buckets
def test_tars_in_a_bucket_need_no_request_for_each_image(tmp_path, bucket):
    local = class_tars(tmp_path / "data", 40)
    root, expected = bucket.upload(local), contents(images.build(settings(local)))
    bucket.requests.clear()
    first = kept(root)
    assert len(bucket.requests) < 20  # one archive each, the list of archives, and the index
    fetch.filesystem(root).invalidate_cache()
    bucket.requests.clear()
    again = images.build(settings(root))
    assert len(bucket.requests) < 20
    bucket.requests.clear()
    assert contents(again)[:120] == expected
    assert sum(".tar?alt=media" in path for _, path in bucket.requests) == 120  # beside late answers of the client
    assert first.fingerprint == again.fingerprint == images.build(settings(local)).fingerprint
    for path in (tmp_path / "cache").rglob("*.index"):  # as on another host
        path.unlink()
    bucket.requests.clear()
    assert len(images.build(settings(root))) == 120
    assert len(bucket.requests) < 20


def test_a_large_archive_in_a_bucket_is_read_in_blocks(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr(fetch, "BLOCK", 4096)
    local = class_tars(tmp_path / "data", 30)
    root = bucket.upload(local)
    assert contents(images.build(settings(root))) == contents(images.build(settings(local)))


# ---------------------------------------------------------------- errors that pass
def test_errors_that_pass_are_retried_and_others_are_not(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    path = str(write(tmp_path / "a.jpg", b"12345"))
    failures = [OSError(5, "Input/output error"), OSError(116, "Stale file handle")]
    whole = fetch._fetch

    def flaky(*arguments):
        if failures:
            raise failures.pop()
        return whole(*arguments)

    monkeypatch.setattr(fetch, "_fetch", flaky)
    assert fetch.fetch(path, 1, 3) == b"23"
    assert sum("trying again" in line for line in caplog.messages) == 2
    failures += [FileNotFoundError(2, "No such file")] * 2
    with pytest.raises(FileNotFoundError):
        fetch.fetch(path)
    assert len(failures) == 1


def test_a_clients_own_errors_are_retried_and_then_name_the_file(tmp_path, monkeypatch):
    class HttpError(Exception):
        pass

    tries = []

    def down(*arguments):
        tries.append(arguments)
        raise HttpError("503 backend error")

    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(fetch, "_fetch", down)
    source = images.build(settings(class_folders(tmp_path / "data")))
    with pytest.raises(Unreadable, match=r"n01440764_0.JPEG cannot be read: 503 backend error"):
        source[0]
    assert len(tries) == 5
