"""scripts/demo.py from nothing to its summary, with four steps of a tiny encoder."""

import importlib.util
import json
import sys

import pytest

from tests.test_imports import ROOT


@pytest.mark.slow
def test_the_demo_pretrains_scores_reports_and_resumes(tmp_path, monkeypatch, capsys):
    specification = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    demo = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(demo)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(demo, "PRETRAIN", "configs/pretrain/demo.py:tiny")
    monkeypatch.setattr(sys, "argv", ["demo", f"--workdir={tmp_path / 'demo'}", "--setup-seconds=3"])
    demo.main()
    summary = json.loads((tmp_path / "demo/summary.json").read_text())
    assert summary["seconds"]["setup"] == 3
    assert {task: set(scores) for task, scores in summary.items() if task != "seconds"} == {
        "segmentation": {"pretrained", "random", "rgb"},
        "depth": {"pretrained", "random", "rgb"},
    }
    assert "raw RGB patches" in capsys.readouterr().out
    kept = (tmp_path / "demo/depth/rgb/metrics.json").stat().st_mtime_ns
    demo.main()  # everything is there: only the comparison is made again
    assert (tmp_path / "demo/depth/rgb/metrics.json").stat().st_mtime_ns == kept
    assert json.loads((tmp_path / "demo/summary.json").read_text())["depth"] == summary["depth"]
