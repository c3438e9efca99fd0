"""What an evaluation leaves in its workdir, and what is kept of it where the disk is full."""

import contextlib
import json
import resource

import pytest

import hummingbird as hb
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
    # Evaluations of whole images write the other.
    assert {path.name for path in tmp_path.iterdir()} == {*FILES} - {"images.npz"}
    return tmp_path, result, samples


def test_a_full_disk_costs_the_report_not_the_number(written):
    folder, result, samples = written
    result = {**result, "dataset": "second"}
    with largest_file(16 * 1024), pytest.raises(UserError, match=r"fractions.png cannot be .*too large\); make room"):
        write_results(folder, result, samples)
    assert json.loads((folder / "metrics.json").read_text())["dataset"] == "second"
    # Nothing of the first run is left beside it.
    assert sorted(path.name for path in folder.iterdir()) == ["fractions.json", "fractions.md", "metrics.json"]


def test_a_number_that_cannot_be_written_is_in_the_message(written):
    folder, result, samples = written
    with largest_file(100), pytest.raises(UserError, match=rf"metrics.json .*miou={result['metrics']['miou']:.6g}"):
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


SCENES = {"data.scenes": {"size": 32, "prompt_images": 4, "query_images": 2}, "input_size": 32, "batch_size": 2}


def test_one_line_evaluates_a_shipped_config_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = {**SCENES, "retrieval.neighbours": 5}
    result = hb.evaluate(MeanColour(), "scenes", overrides=overrides, workdir="out", progress=False)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    assert (result["protocol"]["neighbours"], result["encoder"]["name"]) == (5, "mean colour")
    config = hb.config.resolve("evaluate", "scenes", {**overrides, "progress": False})
    found = hb.evaluate(MeanColour(), config)
    assert found["metrics"] == result["metrics"]
    assert found["config"] == result["config"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "files are written to a workdir only"


def test_the_folder_of_a_data_set_is_named_directly(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/nowhere"):
        hb.evaluate("rgb:8", "pascal_voc:few", root=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (lambda images: images, "encoder function: patch_size is None"),
        (3, "encoder int is not callable"),
        ("nowhere", "nowhere does not exist"),
    ],
)
def test_what_is_no_encoder_is_refused(encoder, said):
    with pytest.raises(UserError, match=said):
        hb.evaluate(encoder, "scenes", overrides=SCENES)
