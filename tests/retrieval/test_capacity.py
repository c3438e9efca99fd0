"""What is left of memory is what the machine and every control group around this process leave."""

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
