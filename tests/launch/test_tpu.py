"""scripts/launch/tpu, against a gcloud that keeps a slice of two workers in folders."""

import pytest

pytestmark = pytest.mark.process

SLICE = ("--name=hb", "--type=v4-16", "--zone=z", "--pause=0.05")


def verbs(world) -> list[str]:
    return [" ".join(line.split()[2:4]) for line in (world / "gcloud.log").read_text().splitlines()]


def test_a_dry_run_requests_nothing(launch, world):
    result = launch("tpu", *SLICE, "--spot", "--delete", "--dry-run", "--", "hummingbird", "pretrain")
    assert result.returncode == 0
    assert "--runtime-version=tpu-ubuntu2204-base --spot" in result.stdout
    assert "queued-resources delete" in result.stdout
    assert not (world / "gcloud.log").exists()


def test_the_slice_is_queued_for_and_every_worker_runs_the_command(launch, world):
    result = launch("tpu", *SLICE, "--", "ends", "0")
    assert result.returncode == 0, result.stderr
    assert "WAITING_FOR_RESOURCES" in result.stdout
    assert "start 1 of process ?/? at auto: ends with 0" in result.stdout
    assert "start 1" in (world / "worker-1/hummingbird/runs/launch/log").read_text()
    assert "queued-resources delete" not in verbs(world)


def test_a_preempted_slice_is_requested_again_and_the_run_resumes(launch, world, monkeypatch):
    monkeypatch.setenv("FAKE_COUNTER", str(world))  # the new slice's workers are new machines; this survives
    result = launch("tpu", *SLICE, "--delete", "--", "ends", "suspend", "suspend", "0", "0")
    assert result.returncode == 0, result.stderr
    assert "preempted" in result.stdout
    assert verbs(world).count("queued-resources create") == 2
    assert verbs(world).count("queued-resources delete") == 2  # the suspended request, and at the end
    assert not (world / "state").exists()


def test_a_run_that_fails_is_not_restarted(launch, world):
    result = launch("tpu", *SLICE, "--", "ends", "1", "0")
    assert result.returncode == 1
    assert verbs(world).count("queued-resources create") == 1


def test_the_launcher_gives_up_after_too_many_preemptions(launch, world, monkeypatch):
    monkeypatch.setenv("FAKE_COUNTER", str(world))
    result = launch("tpu", *SLICE, "--restarts=1", "--delete", "--", "ends", *["suspend"] * 6)
    assert result.returncode == 2
    assert "preempted 2 times" in result.stderr
    assert not (world / "state").exists()


def test_an_unknown_type_must_name_its_image(launch):
    result = launch("tpu", "--name=hb", "--type=v99-8", "--zone=z", "--", "true")
    assert result.returncode == 2
    assert "--image" in result.stderr
