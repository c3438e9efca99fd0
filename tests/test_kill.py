"""Killed at any moment (kill -9, real processes), a run ends as one that was never stopped."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from hummingbird import train
from hummingbird.commands import info
from hummingbird.run import checkpoint
from tests import tiny

pytestmark = pytest.mark.process

STEPS, EVERY = 12, 3
TRIES = 4  # the moment is looked for while the process runs, and may be missed
CHANGES = {"total_steps": STEPS, "checkpoint_every": EVERY}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of the run that was never stopped."""
    workdir = tmp_path_factory.mktemp("kill") / "whole"
    train.pretrain(tiny.tiny_config(**CHANGES), str(workdir))
    return workdir


def killed(workdir, repository, moment, **changes):
    """Kills a run at once when `moment()` holds; whether it was met. The process is halted while we look again."""
    command = [sys.executable, "-m", "hummingbird", "pretrain", f"--config={tiny.CONFIG}", f"--workdir={workdir}"]
    command += [f"--config.{key}={value}" for key, value in {**tiny.DATA, **CHANGES, **changes}.items()]
    process = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            if moment():
                process.send_signal(signal.SIGSTOP)
                if os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1]) and moment():
                    return True
                process.send_signal(signal.SIGCONT)
            time.sleep(0.001)  # a save takes several
    finally:
        process.kill()
        output = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), output
    return False


def kill(tmp_path, repository, moment, **changes):
    """A workdir whose run was killed when `moment(workdir)` held."""
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


def go_on(workdir, caplog):
    """What the next start says."""
    with caplog.at_level(logging.INFO, "hummingbird"):
        train.pretrain(tiny.tiny_config(**CHANGES), str(workdir))
    return caplog.text


def assert_same(workdir, whole):
    """Equal to the bit (parameters, target, optimiser, bank, statistics, step), the same data in the same order."""
    assert info.describe(str(workdir))["fingerprint"] == info.describe(str(whole))["fingerprint"]
    ours, theirs = ([json.loads(line) for line in lines(w)] for w in (workdir, whole))
    assert [m["step"] for m in ours] == [m["step"] for m in theirs] == list(range(1, STEPS + 1))
    for key in ("loss", "gradient_norm", "parameter_norm"):
        assert [m[key] for m in ours] == [m[key] for m in theirs]


def test_killed_between_steps_and_resumed_equals_never_stopped(tmp_path, repository, whole, caplog):
    workdir = kill(tmp_path, repository, lambda w: len(lines(w)) >= EVERY + 2)
    assert len(lines(workdir)) < STEPS
    newest = sound(workdir)[0]
    assert f"going on from step {newest} of {STEPS}" in go_on(workdir, caplog)
    assert_same(workdir, whole)


def test_killed_during_a_save_the_newest_sound_step_is_used(tmp_path, repository, whole, caplog):
    half = lambda w: any(step > 0 for step in unfinished(w))
    workdir = kill(tmp_path, repository, half, checkpoint_every=1)
    (broken,) = unfinished(workdir)
    newest = sound(workdir)[0]
    said = go_on(workdir, caplog)
    assert f"{broken:08d} is skipped: it is unfinished" in said
    assert f"going on from step {newest} of {STEPS}" in said
    assert newest == broken - 1
    assert_same(workdir, whole)
    assert not unfinished(workdir)


def test_killed_during_the_first_save_the_run_begins_again(tmp_path, repository, whole, caplog):
    workdir = kill(tmp_path, repository, lambda w: unfinished(w) == [0])
    assert not sound(workdir)
    assert "going on" not in go_on(workdir, caplog)
    assert_same(workdir, whole)
