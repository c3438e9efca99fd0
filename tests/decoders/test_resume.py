"""Decoders resume to the bit, also after kill -9, and whatever is cached."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from hummingbird.commands import info
from hummingbird.decoders.finetune import finetune
from hummingbird.decoders.program import build_program
from hummingbird.decoders.setup import build_setup
from tests import tiny
from tests.decoders import small

SAVED = {"checkpoint_every": 2, "keep_checkpoints": 3}


@pytest.fixture(autouse=True)
def without_curves(monkeypatch):
    monkeypatch.setattr("hummingbird.run.curves.write", lambda workdir: True)  # which takes seconds


def ends(workdir):
    """Fingerprint of the state at the end, and the scores."""
    return info.describe(str(workdir))["fingerprint"], json.loads((workdir / "metrics.json").read_text())["metrics"]


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"decoder.cache_features": 2}, id="cached"),
        pytest.param(small.TRAINED, id="trained", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_continues_ends_as_one_that_never_stopped(tmp_path, changes):
    settings = small.finetune_config(**SAVED, **changes)
    setup = build_setup(settings, small.vit())
    program = build_program(settings, setup.encoder.backbone, setup.encoder.params, setup.task, len(setup.images))
    finetune(settings, small.vit(), tmp_path, program=program)
    whole = ends(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "00000004")
    assert info.describe(str(tmp_path))["step"] == 2
    finetune(settings, small.vit(), tmp_path, program=program)
    assert ends(tmp_path) == whole


@pytest.mark.slow  # tests/test_kill.py kills the same loop
@pytest.mark.process
def test_a_killed_run_ends_as_one_that_never_stopped(tmp_path, repository):
    changes = {**small.SCENES, "checkpoint_every": 10, "total_steps": 200, "log_every": 100}
    settings = small.finetune_config(**changes)
    finetune(settings, "rgb:8", tmp_path / "whole")
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "hummingbird", "finetune", "--config=finetune/linear", "--checkpoint=rgb:8"]
    command += [f"--workdir={run}", *(f"--config.{key}={value}" for key, value in changes.items())]
    process = subprocess.Popen(command, cwd=repository, env={**os.environ, **tiny.ONE_DEVICE})
    while not (run / "checkpoints" / "00000010" / "manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (run / "metrics.json").exists()
    finetune(settings, "rgb:8", run)
    assert ends(run) == ends(tmp_path / "whole")
