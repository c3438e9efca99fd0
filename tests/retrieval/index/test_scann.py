"""ScaNN indexes kept in a bank's folder: written whole, verified, and refused for another bank."""

import concurrent.futures
import contextlib
import errno
import json
import os
import time

import numpy as np
import pytest

from hummingbird.config.evaluate import Scann
from hummingbird.errors import UserError
from hummingbird.retrieval.bank import writing as bank_writing
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.index import scann_build
from hummingbird.retrieval.index.scann import find_scann

pytestmark = pytest.mark.skipif(find_scann().module is None, reason="scann is not installed")
SMALL = Scann(leaves=4, leaves_to_search=4, reorder=60)


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
    with pytest.raises(UserError, match=r"index.json: cannot be read.*delete"):
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


def test_the_manifest_records_shards_and_settings(keys, tmp_path):
    build(keys, tmp_path)
    (manifest,) = tmp_path.glob("index-*/index.json")
    found = json.loads(manifest.read_text())
    assert found["starts"] == [0, 300]
    assert {"leaves": 4, "reorder": 60}.items() <= found["settings"].items()
