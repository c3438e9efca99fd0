"""Two processes train the same run as one process, stop together, and hand it over to any other number."""

import json
import time

import numpy as np
import pytest

from hummingbird import cli
from hummingbird.cli import PREEMPTED_STATUS
from hummingbird.devices import distributed
from hummingbird.errors import UserError
from hummingbird.run import checkpoint, fingerprint
from tests import tiny
from tests.devices import pair
from tests.devices.ports import free_port

OVERRIDES = [f"--config.{key}={value}" for key, value in tiny.DATA.items()]
COMMAND = ("pretrain", f"--config={tiny.CONFIG}", *OVERRIDES)
STEPS = 4  # of the program that the tests share

# One of the two processes is preempted after the first step. JAX looks for the signal once a second, so a step takes
# three; hooks no longer run once the processes have agreed to stop.
PREEMPTED = """
import os, signal, sys, time
import jax
from hummingbird import cli, hooks

def preempt(step, state, model, batch):
    if step == 1 and jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)

build_hooks = hooks.build_hooks
hooks.build_hooks = lambda *arguments: (*build_hooks(*arguments), preempt)
sys.exit(cli.main(sys.argv[1:]))
"""


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.process
def test_two_processes_stop_together_and_one_resumes(tmp_path, repository):
    workdir = tmp_path / "two"
    ended = pair.run(repository, "-c", PREEMPTED, *COMMAND, f"--workdir={workdir}")
    assert [process.status for process in ended] == [PREEMPTED_STATUS] * 2, ended
    _, manifest, arrays = checkpoint.load_newest(workdir)
    stopped = manifest["step"]
    assert 0 < stopped < STEPS
    assert manifest["data"]["position"] == stopped
    assert fingerprint.fingerprint(arrays) == manifest["fingerprint"]  # computed by two processes, and by one

    tiny.pretrain(workdir)  # resumes
    tiny.pretrain(tmp_path / "one")
    ours, theirs = logged(workdir), logged(tmp_path / "one")
    assert [m["step"] for m in ours] == [m["step"] for m in theirs] == list(range(1, STEPS + 1))
    # Adam turns a rounding error in a tiny gradient into a step of full size, so losses drift apart slowly.
    np.testing.assert_allclose([m["loss"] for m in ours[:2]], [m["loss"] for m in theirs[:2]], rtol=1e-4)
    np.testing.assert_allclose([m["loss"] for m in ours], [m["loss"] for m in theirs], rtol=0.1)


@pytest.mark.slow
@pytest.mark.process
def test_a_dead_host_ends_the_others_in_time(tmp_path, repository, monkeypatch):
    monkeypatch.setenv("HUMMINGBIRD_HEARTBEAT_TIMEOUT", "10")
    workdir = tmp_path / "two"

    def stop_in_2(step, state, model, batch):
        if step == 2:
            raise KeyboardInterrupt

    never = 100_000  # the run does not get there
    with pytest.raises(KeyboardInterrupt):  # one process starts the run, two resume it
        tiny.pretrain(workdir, stop_in_2, total_steps=never, checkpoint_every=1)
    resume = [*COMMAND, f"--workdir={workdir}", f"--config.total_steps={never}", "--config.checkpoint_every=1000"]
    with pair.started(repository, "-m", "hummingbird", *resume) as processes:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and logged(workdir)[-1]["step"] < 3:
            assert all(p.poll() is None for p in processes), [p.communicate()[1][-2000:] for p in processes]
            time.sleep(0.1)
        assert [m["step"] for m in logged(workdir)[:3]] == [1, 2, 3]
        processes[1].kill()
        processes[0].communicate(timeout=60)
    assert processes[0].returncode != 0


def test_a_missing_process_ends_the_command_in_one_line(tmp_path, monkeypatch, capsys):
    for name, value in zip(distributed.VARIABLES, (f"127.0.0.1:{free_port()}", "2", "0"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUMMINGBIRD_JOIN_TIMEOUT", "1")
    assert cli.run(["pretrain", f"--config={tiny.CONFIG}", f"--workdir={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hummingbird: error: processes 1 of 2 did not reach")
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
def test_incomplete_variables_are_named(variables, said, monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        distributed.initialize()


@pytest.mark.parametrize(("name", "value"), [("SLURM_JOB_NUM_NODES", "2"), ("HUMMINGBIRD_COORDINATOR", "auto")])
def test_the_environment_of_a_scheduler_that_is_only_half_set_is_refused_in_one_line(name, value, monkeypatch):
    for variable in (*distributed.VARIABLES, *distributed.CLUSTERS):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, value)

    def initialize(*arguments, **options):
        raise ValueError("coordinator_address should be defined.")  # as JAX does

    monkeypatch.setattr(distributed.jax.distributed, "initialize", initialize)
    with pytest.raises(UserError, match=rf"^{name}={value} stands for several processes, .* unset {name} to run on"):
        distributed.initialize()
