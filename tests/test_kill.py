"""A run that is killed at any moment (kill -9, real processes) ends like one that never stopped."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from hummingbird.commands import info
from hummingbird.run import checkpoint
from tests import tiny

pytestmark = pytest.mark.process

STEPS = 4  # of the program that the tests share
TRIES = 4  # the process runs while we wait for the moment, and may run past it


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of a run that never stopped."""
    workdir = tmp_path_factory.mktemp("kill") / "whole"
    tiny.pretrain(workdir)
    return workdir


def killed(workdir, repository, moment, **changes):
    """Starts a run and kills it when `moment()` holds, also with the process halted; returns whether that happened."""
    command = [sys.executable, "-m", "hummingbird", "pretrain", f"--config={tiny.CONFIG}", f"--workdir={workdir}"]
    command += [f"--config.{key}={value}" for key, value in {**tiny.DATA, **changes}.items()]
    environment = {**os.environ, **tiny.ONE_DEVICE}
    process = subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            if moment():
                process.send_signal(signal.SIGSTOP)
                if os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1]) and moment():
                    return True
                process.send_signal(signal.SIGCONT)
            # A save takes several milliseconds; before the first one there is nothing to wait for.
            time.sleep(0.001 if (workdir / "checkpoints").exists() else 0.02)
    finally:
        process.kill()
        output = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), output
    return False


def kill(tmp_path, repository, moment, **changes):
    """Returns the workdir of a run that was killed when `moment(workdir)` held."""
    for attempt in range(TRIES):
        workdir = tmp_path / f"run{attempt}"
        if killed(workdir, repository, lambda workdir=workdir: moment(workdir), **changes):
            return workdir
    raise AssertionError(f"the moment was missed {TRIES} times")


def lines(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def sound(workdir):
    return [int(p.name) for p in checkpoint.steps(workdir) if (p / "manifest.json").exists()]


def unfinished(workdir):
    return [int(p.name) for p in checkpoint.steps(workdir) if not (p / "manifest.json").exists()]


def resume(workdir, caplog):
    """Finishes the run; returns what it logs."""
    with caplog.at_level(logging.INFO, "hummingbird"):
        tiny.pretrain(workdir)
    return caplog.text


def assert_same(workdir, whole):
    """Compares the final states bit for bit, and the records: the same data came in the same order."""
    assert info.describe(str(workdir))["fingerprint"] == info.describe(str(whole))["fingerprint"]
    ours, theirs = ([json.loads(line) for line in lines(w)] for w in (workdir, whole))
    assert [m["step"] for m in ours] == [m["step"] for m in theirs] == list(range(1, STEPS + 1))
    for key in ("loss", "gradient_norm", "parameter_norm"):
        assert [m[key] for m in ours] == [m[key] for m in theirs]


@pytest.mark.slow
def test_killed_between_steps(tmp_path, repository, whole, caplog):
    workdir = kill(tmp_path, repository, lambda w: 2 <= len(lines(w)) < STEPS)
    assert len(lines(workdir)) < STEPS
    newest = sound(workdir)[0]
    assert f"resuming from step {newest} of {STEPS}" in resume(workdir, caplog)
    assert_same(workdir, whole)


def test_killed_during_a_save(tmp_path, repository, whole, caplog):
    half = lambda w: any(step > 0 for step in unfinished(w))
    workdir = kill(tmp_path, repository, half, checkpoint_every=1)
    (broken,) = unfinished(workdir)
    newest = sound(workdir)[0]
    said = resume(workdir, caplog)
    assert f"{broken:08d} is skipped: it is unfinished" in said
    assert f"resuming from step {newest} of {STEPS}" in said
    assert newest == broken - 1
    assert_same(workdir, whole)
    assert not unfinished(workdir)


@pytest.mark.slow
def test_killed_during_the_first_save(tmp_path, repository, whole, caplog):
    workdir = kill(tmp_path, repository, lambda w: unfinished(w) == [0])
    assert not sound(workdir)
    assert "resuming" not in resume(workdir, caplog)
    assert_same(workdir, whole)
