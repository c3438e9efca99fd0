"""Two processes train the run of one, stop together when one is told to, and hand it over to any other number."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from hummingbird import cli, train
from hummingbird.cli import PREEMPTED_STATUS
from hummingbird.devices import distributed
from hummingbird.errors import UserError
from hummingbird.run import checkpoint, fingerprint
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
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"),
        "HUMMINGBIRD_COORDINATOR": f"127.0.0.1:{port}",
        "HUMMINGBIRD_NUM_PROCESSES": "2",
        "HUMMINGBIRD_PROCESS_ID": str(process),
    }
    command = [sys.executable, "-m", "hummingbird", "pretrain", f"--config={tiny.CONFIG}", f"--workdir={workdir}"]
    command += [*OVERRIDES, f"--config.total_steps={steps}", "--config.checkpoint_every=1000"]
    return subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True)


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.process
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


@pytest.mark.process
def test_a_host_that_dies_ends_the_others_within_the_bound(tmp_path, repository, monkeypatch):
    monkeypatch.setenv("HUMMINGBIRD_HEARTBEAT_TIMEOUT", "10")
    workdir, port = tmp_path / "two", free_port()
    train.pretrain(tiny.tiny_config(total_steps=1), str(workdir))  # one process begins, two go on
    processes = [start(workdir, i, port, repository, steps=100_000) for i in range(2)]
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and logged(workdir)[-1]["step"] < 3:
            assert all(p.poll() is None for p in processes), [p.communicate()[1][-2000:] for p in processes]
            time.sleep(0.1)
        assert [m["step"] for m in logged(workdir)[:3]] == [1, 2, 3]
        processes[1].kill()
        processes[0].communicate(timeout=60)
    finally:
        for p in processes:
            p.kill()
    assert processes[0].returncode != 0


def together(*calls):
    """What each call of `distributed.meet` says, all at once in threads; "" for those that return."""
    said = [None] * len(calls)

    def run(i, call):
        try:
            distributed.meet(*call)
            said[i] = ""
        except UserError as error:
            said[i] = str(error)

    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return said


def test_processes_meet_in_any_order_and_leave_the_port_free():
    for count in (1, 2, 5):
        port = free_port()
        assert together(*((f"127.0.0.1:{port}", count, i, 10) for i in reversed(range(count)))) == [""] * count
        socket.create_server(("", port)).close()


def test_processes_that_do_not_come_are_named_to_all_that_did():
    where = f"127.0.0.1:{free_port()}"
    for said in together(*((where, 5, i, 1) for i in (0, 1, 3))):
        assert f"processes 2, 4 of 5 did not come to {where} within 1 s" in said


def test_a_coordinator_that_does_not_come_is_named():
    where = f"127.0.0.1:{free_port()}"
    assert f"did not reach process 0 at {where} within 1 s (Connection refused)" in together((where, 2, 1, 1))[0]


def test_a_port_that_is_taken_is_named_and_what_answers_there_is_not_taken_for_process_0():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        zero, one = together((where, 2, 0, 1), (where, 2, 1, 1))
    assert f"cannot listen on port {where.partition(':')[2]} (Address already in use)" in zero
    assert "did not reach process 0" in one


def test_processes_that_were_started_for_another_run_are_told():
    where = f"127.0.0.1:{free_port()}"
    zero, one = together((where, 2, 0, 5), (where, 3, 1, 5))
    assert zero == one == "process 1 was started with HUMMINGBIRD_NUM_PROCESSES=3, process 0 with 2"
    where = f"127.0.0.1:{free_port()}"
    zero, *_ = together((where, 3, 0, 5), (where, 3, 1, 5), (where, 3, 1, 5))
    assert zero == "two processes were started with HUMMINGBIRD_PROCESS_ID=1"


def test_a_missing_process_ends_the_command_with_status_2_and_one_line(tmp_path, monkeypatch, capsys):
    for name, value in zip(distributed.VARIABLES, (f"127.0.0.1:{free_port()}", "2", "0"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUMMINGBIRD_JOIN_TIMEOUT", "1")
    assert cli.run(["pretrain", f"--config={tiny.CONFIG}", f"--workdir={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hummingbird: error: processes 1 of 2 did not come")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HUMMINGBIRD_COORDINATOR": "host:1"}, "HUMMINGBIRD_NUM_PROCESSES"),
        (dict(zip(distributed.VARIABLES, ("host:1", "2", "2"), strict=True)), "below"),
        (dict(zip(distributed.VARIABLES, ("host:1", "two", "0"), strict=True)), "HUMMINGBIRD_NUM_PROCESSES"),
        (dict(zip(distributed.VARIABLES, ("host", "2", "0"), strict=True)), "must be host:port"),
        ({"HUMMINGBIRD_HEARTBEAT_TIMEOUT": "soon"}, "whole number of seconds"),
    ],
)
def test_an_incomplete_cluster_is_named(variables, said, monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        distributed.initialize()
