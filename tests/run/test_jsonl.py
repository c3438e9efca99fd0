"""Lines of a run: written at once on a disk, kept and uploaded for a bucket, dropped where a step is taken again."""

import json

import pytest
from etils import epath

from hummingbird.run import jsonl
from hummingbird.run.jsonl import Journal


def steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


class Bucket:
    """Stands in for a path of a bucket: what is written replaces what was there."""

    def __init__(self):
        self.text, self.uploads = None, 0

    def __fspath__(self):
        return "gs://bucket/metrics.jsonl"

    def exists(self):
        return self.text is not None

    def read_text(self):
        return self.text

    def write_text(self, text):
        self.text, self.uploads = text, self.uploads + 1

    def open(self, mode):
        raise AssertionError("a bucket's objects cannot be appended to")


def test_on_a_disk_a_line_is_there_at_once(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    Journal(path, 0).write({"step": 1})
    Journal(path, 1).write({"step": 2})
    assert steps(path) == [1, 2]


@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_lines_of_steps_that_are_taken_again_are_dropped_and_half_lines_too(tmp_path, where):
    path = Bucket() if where == "bucket" else epath.Path(tmp_path / "metrics.jsonl")
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step')
    lines = Journal(path, 2)
    lines.write({"step": 3, "again": True})
    lines.flush()
    assert steps(path) == [1, 2, 3]
    assert "again" in path.read_text()


def test_a_bucket_gets_lines_now_and_then_and_all_of_them_on_flush(monkeypatch):
    bucket = Bucket()
    lines = Journal(bucket, 0)
    for step in range(1, 100):
        lines.write({"step": step})
    assert bucket.uploads == 0
    lines.flush()
    lines.flush()
    assert bucket.uploads == 1
    assert steps(bucket) == list(range(1, 100))
    monkeypatch.setattr(jsonl, "EVERY", -1.0)
    lines.write({"step": 100})
    assert steps(bucket)[-1] == 100
