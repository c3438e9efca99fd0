"""scripts/launch/ssh, against hosts that are folders."""

import os
import re
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process


def test_a_dry_run_touches_nothing(launch, world):
    result = launch("ssh", "--hosts=one,me@two", "--dry-run", "--", "hummingbird", "pretrain", "--workdir=a b")
    assert result.returncode == 0
    assert "HUMMINGBIRD_COORDINATOR=one:8476 HUMMINGBIRD_NUM_PROCESSES=2 HUMMINGBIRD_PROCESS_ID=1" in result.stdout
    assert sorted(path.name for path in world.iterdir()) == ["venv"]


def test_every_host_gets_the_code_and_its_process_number(launch, world):
    result = launch("ssh", "--hosts=one,me@two", f"--logs={world / 'logs'}", "--", "ends", "0")
    assert result.returncode == 0, result.stderr
    assert "start 1 of process 0/2 at one:8476: ends with 0" in result.stdout
    assert "start 1 of process 1/2 at one:8476" in (world / "two/hummingbird/runs/launch/log").read_text()
    for host in ("one", "two"):
        assert (world / host / "hummingbird/hummingbird/errors.py").is_file()
        assert not (world / host / "hummingbird/.git").exists()


def test_a_failure_stops_the_other_hosts_and_its_status_is_returned(launch, world):
    result = launch("ssh", "--hosts=one,two", f"--logs={world / 'logs'}", "--", "ends", "3")
    assert result.returncode == 3
    assert re.search("^two: .*worker stop$", (world / "ssh.log").read_text(), re.MULTILINE)


def test_ctrl_c_leaves_the_run_alone_and_stop_lets_it_save(launch, world, repository):
    hosts = ("--hosts=one", f"--logs={world / 'logs'}")
    command = [sys.executable, "scripts/launch/ssh", *hosts, "--", "saves"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    # A shell starts background jobs with Ctrl-C ignored, which the launcher would inherit if the tests run as one.
    streams["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=repository, **streams) as following:
        for line in following.stdout:
            if line == "running\n":
                break
        os.killpg(following.pid, signal.SIGINT)  # as a terminal does: to it and to the ssh it waits for
        _, errors = following.communicate(timeout=20)
    assert "the run continues" in errors
    assert launch("ssh", *hosts, "--", "true").returncode == 2, "a second run beside it"
    assert launch("ssh", *hosts, "--stop").returncode == 0
    ended = launch("ssh", *hosts, "--follow")
    assert "saved" in ended.stdout
    assert ended.returncode == 42


def test_several_extras_are_installed_and_a_bucket_brings_its_client(launch):
    command = ("--dry-run", "--", "hummingbird", "pretrain", "--workdir=gs://bucket/run")
    assert "scripts/setup cuda13 gcs" in launch("ssh", "--hosts=one", "--extra=cuda13", *command).stdout
    assert "scripts/setup cuda13 hub gcs" in launch("ssh", "--hosts=one", "--extra=cuda13,hub", *command).stdout
    assert "scripts/setup cuda13'" in launch("ssh", "--hosts=one", "--extra=cuda13", *command[:-1]).stdout


def test_a_repeated_host_is_refused(launch):
    result = launch("ssh", "--hosts=one,one", "--", "true")
    assert result.returncode == 2
    assert "each host once" in result.stderr
