"""What is left of memory is what the machine and every control group around this process leave."""

import pytest

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.retrieval import capacity
from hummingbird.retrieval.capacity import available_memory, group_memory


def make_group(folder, limit, used, inactive):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")


def test_a_control_group_limits_what_is_left(tmp_path):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("1:name=systemd:/\n0::/job/step\n")
    make_group(root / "job", 1000, 400, 150)  # pages of files can be taken back
    make_group(root / "job" / "step", "max", 300, 0)
    assert group_memory(root, str(own)) == [750]
    own.write_text("0::/elsewhere\n")
    assert group_memory(root, str(own)) == []
    assert group_memory(root, str(tmp_path / "absent")) == []


def test_this_machine_has_memory():
    assert 2**20 < available_memory() < 2**50


def test_several_processes_build_a_bank_in_memory_before_they_keep_it(tmp_path, monkeypatch):
    retrieval = config.resolve("evaluate", overrides={"retrieval.index": "exact"}).retrieval
    monkeypatch.setattr(capacity, "available_memory", lambda: 600 * 10**6)
    monkeypatch.setattr(capacity, "check_space", lambda folder, needed: None)
    capacity.check_room(10**6, 100, retrieval, tmp_path)
    monkeypatch.setattr(capacity.jax, "process_count", lambda: 2)
    capacity.check_room(10**6, 100, retrieval, tmp_path, stored=True)
    with pytest.raises(UserError, match=r"need 1\.0 GB, 0\.6 GB of memory are free"):
        capacity.check_room(10**6, 100, retrieval, tmp_path)


def test_keys_that_lie_apart_need_less_memory(monkeypatch):
    retrieval = config.resolve("evaluate", overrides={"retrieval.index": "device"}).retrieval
    monkeypatch.setattr(capacity, "available_memory", lambda: 1250 * 10**6)
    monkeypatch.setattr(capacity.jax, "process_count", lambda: 2)
    capacity.check_room(10**6, 100, retrieval, None, apart=True)
    with pytest.raises(UserError, match=r"need 1\.4 GB, 1\.2 GB of memory are free"):
        capacity.check_room(10**6, 100, retrieval, None)
