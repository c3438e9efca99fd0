"""Two processes train the run of one, stop together when one is told to, and hand it over to any other number."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from hummingbird import checkpoint, distributed, fingerprint, train
from hummingbird.cli import PREEMPTED_STATUS
from hummingbird.errors import UserError
from tests import tiny

OVERRIDES = [f"--config.{key}={value}" for key, value in tiny.DATA.items()]
STEPS = 40  # long enough that a signal arrives in time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(workdir, process, port, repository, steps):
    """One process of two, with one device, of the tiny run."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "",
        "HUMMINGBIRD_COORDINATOR": f"127.0.0.1:{port}",
        "HUMMINGBIRD_NUM_PROCESSES": "2",
        "HUMMINGBIRD_PROCESS_ID": str(process),
    }
    command = [sys.executable, "-m", "hummingbird", "pretrain", f"--config={tiny.CONFIG}", f"--workdir={workdir}"]
    command += [*OVERRIDES, f"--config.total_steps={steps}", "--config.checkpoint_every=1000"]
    return subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True)


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_are_one_run_that_stops_as_one_and_goes_on_in_one(tmp_path, repository):
    workdir, port = tmp_path / "two", free_port()
    processes = [start(workdir, i, port, repository, STEPS) for i in range(2)]
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not (workdir / "metrics.jsonl").exists():
            assert all(p.poll() is None for p in processes), [p.communicate()[1][-2000:] for p in processes]
            time.sleep(0.1)
        processes[1].send_signal(signal.SIGTERM)  # to one of them, as a preempted host
        outputs = [p.communicate(timeout=120)[1] for p in processes]
    finally:
        for p in processes:
            p.kill()
    assert [p.returncode for p in processes] == [PREEMPTED_STATUS] * 2, outputs
    _, manifest, arrays = checkpoint.load_newest(workdir)
    stopped = manifest["step"]
    assert 0 < stopped < STEPS
    assert manifest["data"]["position"] == stopped
    assert fingerprint.fingerprint(arrays) == manifest["fingerprint"]  # summed by two processes, and by one

    def stop_after(step, state, model, batch):
        if step == stopped + 2:  # hooks run before the log
            raise KeyboardInterrupt

    for folder in (workdir, tmp_path / "one"):  # the one goes on, the other begins
        with pytest.raises(KeyboardInterrupt):
            train.pretrain(tiny.tiny_config(total_steps=STEPS), str(folder), (stop_after,))
    ours, theirs = logged(workdir), logged(tmp_path / "one")
    assert [m["step"] for m in ours] == [m["step"] for m in theirs] == list(range(1, stopped + 2))
    # Adam makes of a rounding error in a tiny gradient a step of full size: losses drift apart, but slowly.
    np.testing.assert_allclose([m["loss"] for m in ours[:2]], [m["loss"] for m in theirs[:2]], rtol=1e-4)
    np.testing.assert_allclose([m["loss"] for m in ours], [m["loss"] for m in theirs], rtol=0.1)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HUMMINGBIRD_COORDINATOR": "host:1"}, "HUMMINGBIRD_NUM_PROCESSES"),
        (dict(zip(distributed.VARIABLES, ("host:1", "2", "2"), strict=True)), "below"),
        (dict(zip(distributed.VARIABLES, ("host:1", "two", "0"), strict=True)), "HUMMINGBIRD_NUM_PROCESSES"),
    ],
)
def test_an_incomplete_cluster_is_named(variables, said, monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        distributed.initialize()
