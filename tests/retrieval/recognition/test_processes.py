"""An evaluation of whole images by two processes is that of one."""

import json

import pytest

from tests.retrieval import test_processes


@pytest.mark.process
@pytest.mark.slow
def test_two_processes_score_as_one_does(tmp_path, monkeypatch, request):
    import hummingbird as hb

    monkeypatch.setattr(test_processes, "FILE", "configs/evaluate/images.py:demo")
    changes = {"data.scenes.prompt_images": 60, "data.scenes.query_images": 21, "input_size": 32}
    done = test_processes.run_two(tmp_path / "two", request.config.rootpath, changes)
    assert [status for status, _, _ in done] == [0, 0], done
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    one = hb.evaluate("rgb:8", "images:demo", overrides={**changes, "data.scenes.size": 32, "progress": False})
    assert two["metrics"] == one["metrics"]
