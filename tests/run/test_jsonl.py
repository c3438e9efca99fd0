"""Lines of a run: written at once to a disk, collected for a bucket, dropped where a step is taken again."""

import json

import pytest
from etils import epath

from hummingbird.run import jsonl
from hummingbird.run.jsonl import Journal


def steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


class Bucket(type(epath.Path("gs://bucket"))):
    """Stands in for a path in a bucket: a write replaces the whole object."""

    text, uploads = None, 0

    def exists(self):
        return self.text is not None

    def read_text(self):
        return self.text

    def write_text(self, text):
        self.text, self.uploads = text, self.uploads + 1

    def open(self, mode):
        raise AssertionError("a bucket's objects cannot be appended to")


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setattr(jsonl, "write_text", lambda path, text: path.write_text(text))
    return Bucket("gs://bucket/metrics.jsonl")


@pytest.fixture(params=["disk", "bucket"])
def path(request, tmp_path):
    return epath.Path(tmp_path / "metrics.jsonl") if request.param == "disk" else request.getfixturevalue("bucket")


def test_a_disk_gets_each_line_at_once(tmp_path):
    path = epath.Path(tmp_path / "metrics.jsonl")
    Journal(path, 0).write({"step": 1})
    Journal(path, 1).write({"step": 2})
    assert steps(path) == [1, 2]


def test_incomplete_lines_and_lines_after_the_start_are_dropped(path):
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step')
    lines = Journal(path, 2)
    lines.write({"step": 3, "again": True})
    lines.flush()
    assert steps(path) == [1, 2, 3]
    assert "again" in path.read_text()


def test_a_bucket_gets_lines_from_time_to_time_and_all_on_flush(bucket, monkeypatch):
    lines = Journal(bucket, 0)
    for step in range(1, 100):
        lines.write({"step": step})
    assert bucket.uploads == 0
    lines.flush()
    lines.flush()
    assert bucket.uploads == 1
    assert steps(bucket) == list(range(1, 100))
    monkeypatch.setattr(jsonl, "UPLOAD_EVERY", -1.0)
    lines.write({"step": 100})
    assert steps(bucket)[-1] == 100
