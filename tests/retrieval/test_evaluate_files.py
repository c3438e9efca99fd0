"""What an evaluation leaves in its workdir, and what is kept of it where the disk is full."""

import contextlib
import json
import resource

import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval import measure
from hummingbird.retrieval.report import parts
from hummingbird.retrieval.result_files import FILES, write_results
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config


@contextlib.contextmanager
def largest_file(size):
    """As on a full disk: no file can grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def written(tmp_path):
    """Folder, result and samples of an evaluation whose files are there."""
    config = make_config(**{"report.enabled": True, "data.fractions": (0.5,)})
    result, samples = measure(MeanColour(), config, FakeSource(4), FakeSource(2, seed=1), collect=True)
    write_results(tmp_path, result, samples)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    return tmp_path, result, samples


def test_a_full_disk_costs_the_report_not_the_number(written):
    folder, result, samples = written
    result = {**result, "dataset": "second"}
    with largest_file(16 * 1024), pytest.raises(UserError, match=r"fractions.png: cannot be .*too large\); make room"):
        write_results(folder, result, samples)
    assert json.loads((folder / "metrics.json").read_text())["dataset"] == "second"
    # Nothing of the first run is left beside it.
    assert sorted(path.name for path in folder.iterdir()) == ["fractions.json", "fractions.md", "metrics.json"]


def test_a_number_that_cannot_be_written_is_told(written):
    folder, result, samples = written
    with largest_file(100), pytest.raises(UserError, match=rf"metrics.json: .*miou={result['metrics']['miou']:.6g}"):
        write_results(folder, result, samples)
    assert not list(folder.iterdir())


def test_a_picture_that_fails_does_not_lose_the_number(written, monkeypatch):
    folder, result, samples = written
    (folder / "metrics.json").unlink()
    monkeypatch.setitem(parts.FILES, "fractions.png", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_results(folder, result, samples)
    assert json.loads((folder / "metrics.json").read_text())["metrics"] == result["metrics"]


def test_an_evaluation_without_a_report_leaves_no_old_one(written):
    folder, result, _ = written
    write_results(folder, {key: value for key, value in result.items() if key != "fractions"}, None)
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]
