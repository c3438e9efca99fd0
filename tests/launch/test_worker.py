"""scripts/launch/worker, which supervises the run on each host."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

Worker = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def worker(world: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setenv("HUMMINGBIRD_LAUNCH", str(world / "launch"))

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [str(repository / "scripts" / "launch" / "worker"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    yield run
    run("stop")


def wait_for(worker: Worker, text: str) -> None:
    deadline = time.monotonic() + 10
    while worker("status").stdout.strip() != text:
        assert time.monotonic() < deadline, f"never said {text}"
        time.sleep(0.02)


def wait_for_output(world: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in (world / "launch" / "log").read_text():
        assert time.monotonic() < deadline, f"never printed {text}"
        time.sleep(0.02)


def test_follow_shows_all_output_and_exits_with_the_programs_status(worker):
    assert worker("start", "bash", "-c", "echo one; sleep 0.2; echo two >&2; exit 7").returncode == 0
    followed = worker("follow")
    assert followed.stdout.splitlines() == ["one", "two"]
    assert followed.returncode == 7
    assert worker("status").stdout == "ended 7\n"


def test_stop_lets_the_program_save(worker, world):
    worker("start", "saves")
    wait_for_output(world, "running")
    assert worker("status").stdout == "running\n"
    assert worker("stop").returncode == 0
    followed = worker("follow")
    assert followed.stdout.splitlines() == ["running", "saved"]
    assert followed.returncode == 42


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace_period(worker, world, monkeypatch):
    monkeypatch.setenv("HUMMINGBIRD_GRACE", "0.2")
    worker("start", "bash", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
    wait_for_output(world, "deaf")
    worker("stop")
    wait_for(worker, "ended 137")


def test_a_second_run_is_refused_while_one_is_in_progress(worker):
    worker("start", "saves")
    again = worker("start", "true")
    assert again.returncode == 2
    assert "already in progress" in again.stderr


def test_a_run_is_lost_when_its_host_goes_down_and_can_be_restarted(worker, world):
    assert worker("status").stdout == "none\n"
    worker("start", "bash", "-c", "echo on; sleep 30")
    wait_for_output(world, "on")
    for name in ("pid", "program"):
        subprocess.run(["kill", "-KILL", (world / "launch" / name).read_text().strip()], check=True)
    wait_for(worker, "lost")
    assert worker("start", "true").returncode == 0
    wait_for(worker, "ended 0")


def test_following_without_a_run_is_refused(worker):
    followed = worker("follow")
    assert followed.returncode == 2
    assert "nothing was started" in followed.stderr
