"""Files are replaced atomically, or not at all."""

import os

import pytest

from hummingbird.run import files


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "record.json"
    files.write_json(path, {"step": 1})
    files.write_json(path, {"step": 2, "names": ["a"]})
    assert path.read_text() == '{\n "step": 2,\n "names": [\n  "a"\n ]\n}\n'
    assert os.listdir(path.parent) == ["record.json"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "record.txt"
    files.write_text(path, "old")

    def fail():
        with files.replacing(path) as part:
            part.write_text("half of the new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.txt"]


def test_readers_find_the_old_content_until_the_block_ends(tmp_path):
    path = tmp_path / "record.bin"
    files.write_bytes(path, b"old")
    with files.replacing(path) as part:
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "record.json", {"loss": float("nan")})
    assert not os.listdir(tmp_path)
