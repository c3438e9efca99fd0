"""scripts/launch/local: several processes of one program on this machine."""

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.process


def test_a_dry_run_starts_nothing(launch, world):
    result = launch("local", "--processes=2", f"--logs={world / 'logs'}", "--dry-run", "--", "hummingbird", "pretrain")
    assert result.returncode == 0
    assert "HUMMINGBIRD_NUM_PROCESSES=2 HUMMINGBIRD_PROCESS_ID=1 hummingbird pretrain" in result.stdout
    assert not (world / "logs").exists()


def test_two_processes_become_one_jax_program(launch, world, repository, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    monkeypatch.setenv("PYTHONPATH", str(repository))
    logs = f"--logs={world / 'logs'}"
    result = launch("local", "--processes=2", logs, "--", sys.executable, "tests/launch/joins.py")
    assert result.returncode == 0, result.stderr
    assert "2 processes, 4 devices, sum 11" in result.stdout


def test_a_failing_process_stops_the_others_and_shows_its_last_lines(launch, world):
    program = 'test "$HUMMINGBIRD_PROCESS_ID" = 0 || { echo out of paper; exit 5; }; sleep 50'
    result = launch("local", "--processes=3", f"--logs={world / 'logs'}", "--", "bash", "-c", program)
    assert result.returncode == 5
    assert "out of paper" in result.stderr


def test_sigterm_lets_every_process_save(world, repository):
    command = [sys.executable, "scripts/launch/local", "--processes=2", f"--logs={world / 'logs'}", "--", "saves"]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as launcher:
        log, deadline = world / "logs" / "process-1.log", time.monotonic() + 10
        while not (log.exists() and "running" in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        launcher.send_signal(signal.SIGTERM)
        rest, _ = launcher.communicate(timeout=20)
    assert launcher.returncode == 42
    assert "saved" in rest
    assert "saved" in log.read_text()


def test_a_command_is_needed(launch):
    result = launch("local", "--processes=2")
    assert result.returncode == 2
    assert "give the command to run after --" in result.stderr


def test_a_missing_program_is_named(launch, world):
    result = launch("local", "--processes=2", f"--logs={world / 'logs'}", "--", "no-such-program")
    assert result.returncode == 2
    assert "no-such-program is not installed here" in result.stderr
