"""ScaNN indexes kept in a bank's folder: written whole, verified, and refused for another bank."""

import concurrent.futures
import contextlib
import dataclasses
import errno
import importlib.metadata
import json
import os
import time

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.bank import writing as bank_writing
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.index import scann_build
from hummingbird.retrieval.index.scann import find_scann
from hummingbird.retrieval.index.settings import ScannSettings

pytestmark = pytest.mark.skipif(find_scann().module is None, reason="scann is not installed")
SMALL = ScannSettings(leaves=4, leaves_to_search=4, reorder=60)


@pytest.fixture(scope="module")
def keys():
    return normalise(np.random.default_rng(0).normal(size=(300, 16)))[0]


def build(keys, folder):
    return scann_build.build_scann(keys, SMALL, str(folder))


def test_a_kept_index_is_reused(keys, tmp_path, monkeypatch):
    first = build(keys, tmp_path).search(keys[:5], 3)
    monkeypatch.setattr(scann_build, "write_index", lambda *_, **__: pytest.fail("built again"))
    again = build(keys, tmp_path).search(keys[:5], 3)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_damaged_manifest_is_refused_and_an_index_without_one_rebuilt(keys, tmp_path, text):
    build(keys, tmp_path)
    (manifest,) = tmp_path.glob("index-*/index.json")
    manifest.write_text(text)
    with pytest.raises(UserError, match=r"index.json cannot be read.*delete"):
        build(keys, tmp_path)
    manifest.unlink()
    assert build(keys, tmp_path).search(keys[:1], 1)[0][0, 0] == 0


def test_an_index_of_another_bank_is_refused(keys, tmp_path):
    build(keys, tmp_path)
    with pytest.raises(UserError, match=r"an index of 300 keys, the bank has 200"):
        build(keys[:200], tmp_path)


def test_a_full_disk_leaves_no_part_of_an_index(keys, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"the disk of retrieval.bank=.* is full"):
        build(keys, tmp_path)
    assert not list(tmp_path.glob("index-*"))
    with pytest.raises(UserError, match=r"set TMPDIR"):
        scann_build.build_scann(keys, SMALL)


def test_a_read_only_bank_is_searched_without_keeping_the_index(keys, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # whoever is root may write anywhere
    with pytest.warns(UserWarning, match=r"the index is not kept"):
        index = build(keys, tmp_path)
    assert index.search(keys[:1], 1)[0][0, 0] == 0
    assert not list(tmp_path.glob("index-*"))


def test_a_kept_index_is_used_from_a_read_only_folder(keys, tmp_path, monkeypatch):
    build(keys, tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(scann_build, "write_index", lambda *_, **__: pytest.fail("built again"))
    monkeypatch.setattr(scann_build, "lock", lambda *_, **__: pytest.fail("written to"))
    assert build(keys, tmp_path).search(keys[:1], 1)[0][0, 0] == 0


def test_another_command_waits_for_an_index_under_construction(keys, tmp_path, monkeypatch, caplog):
    held, real = contextlib.ExitStack(), scann_build.write_index
    held.enter_context(bank_writing.lock(tmp_path))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(build, keys, tmp_path)
        while "waiting for it" not in caplog.text:
            assert not waiting.done()
            time.sleep(0.01)
        path = scann_build.kept_path(str(tmp_path), SMALL)
        path.mkdir()
        real(path, keys, SMALL, checksums=True)
        monkeypatch.setattr(scann_build, "write_index", lambda *_, **__: pytest.fail("built again"))
        held.close()
        assert waiting.result().search(keys[:1], 1)[0][0, 0] == 0


def test_the_manifest_records_shards_training_and_versions(keys, tmp_path):
    build(keys, tmp_path)
    (manifest,) = tmp_path.glob("index-*/index.json")
    found = json.loads(manifest.read_text())
    assert found["starts"] == [0, 300]
    assert found["settings"]["leaves"] == 4
    assert not {"reorder", "leaves_to_search"} & found["settings"].keys()
    assert found["scann"] == importlib.metadata.version("scann")
    assert found["version"] == scann_build.INDEX_VERSION


def test_an_index_serves_all_settings_of_the_search(keys, tmp_path, monkeypatch):
    settings = [dataclasses.replace(SMALL, leaves_to_search=n, reorder=m) for n, m in ((1, 20), (2, 40), (4, 300))]
    alone = [scann_build.build_scann(keys, each).search(keys[:20], 10) for each in settings]
    assert len({ids.tobytes() for ids, _ in alone}) == 3  # the settings matter
    first = scann_build.build_scann(keys, settings[0], str(tmp_path))
    monkeypatch.setattr(scann_build, "write_index", lambda *_, **__: pytest.fail("built again"))
    kept = [scann_build.build_scann(keys, each, str(tmp_path)).search(keys[:20], 10) for each in settings]
    retuned = [first.retuned(each).search(keys[:20], 10) for each in settings]
    for own, *others in zip(alone, kept, retuned, strict=True):
        for other in others:
            np.testing.assert_array_equal(own[0], other[0])
            np.testing.assert_array_equal(own[1], other[1])
    assert len(list(tmp_path.glob("index-*"))) == 1


def test_an_index_of_another_version_of_scann_is_built_again(keys, tmp_path, monkeypatch):
    build(keys, tmp_path)
    monkeypatch.setattr(scann_build, "scann_version", lambda: "9.9.9")
    build(keys, tmp_path)
    assert len(list(tmp_path.glob("index-*"))) == 2


def misplaced(function):
    """Files of a reader that has changed its mind about their order: every key is somebody else's."""

    def write(folder, keys, *given):
        function(folder, keys, *given)
        path = folder / "dataset.npy"
        np.save(path, np.roll(np.load(path), 7, axis=0))

    return write


def refused(*_):
    raise RuntimeError("cannot parse scann_config.pb\nsecond line")


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("failure", "message"), [("misread", "of its own keys"), ("raises", "cannot parse scann_con")])
def test_files_that_scann_misreads_are_left_to_its_own_builder(
    keys, tmp_path, monkeypatch, kept, shards, failure, message
):
    if failure == "misread" and shards > 1:
        # Without keys in the files, their codes decide.
        write = lambda keys, quantiser, leaf, codes, text: (leaf.fill(0), codes.fill(3))
        monkeypatch.setattr(scann_build.quantise, "encode", write)
        monkeypatch.setattr(scann_build, "CHECK_REORDER", 1)
    monkeypatch.setattr(scann_build, "SHARD_BYTES", -(-4 * keys.size // shards))
    if failure == "raises" or shards == 1:
        own = {"misread": misplaced(scann_build.scann_files.write_shard), "raises": refused}[failure]
        monkeypatch.setattr(scann_build.scann_files, "write_shard", own)
    folder = str(tmp_path) if kept else None
    settings = dataclasses.replace(SMALL, reorder=1 if shards > 1 else 60)
    with pytest.warns(UserWarning, match=rf"written by 'hummingbird', .*{message}.*ScaNN builds it by itself"):
        index = scann_build.build_scann(keys, settings, folder)
    assert index.kind == "scann"
    assert len(index.searchers) == shards
    np.testing.assert_array_equal(index.retuned(SMALL).search(keys[:20], 1)[0][:, 0], np.arange(20))
    if kept:  # found at once the next time, without a word
        monkeypatch.setattr(scann_build, "write_index", lambda *_, **__: pytest.fail("built again"))
        again = scann_build.build_scann(keys, settings, folder)
        np.testing.assert_array_equal(again.search(keys[:9], 3)[0], index.search(keys[:9], 3)[0])


def test_where_scann_cannot_read_itself_the_search_is_exact(keys, monkeypatch):
    monkeypatch.setattr(scann_build.scann_files, "load_searcher", refused)
    with pytest.warns(UserWarning, match=r"written by 'scann', .*searching exactly instead"):
        assert scann_build.build_scann(keys, SMALL).kind == "exact"
