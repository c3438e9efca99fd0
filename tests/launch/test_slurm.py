"""scripts/launch/slurm and its batch script, against an sbatch that runs the script at once."""

import shutil

import pytest

pytestmark = pytest.mark.process

OPTIONS = ("--nodes=2", "--gpus-per-node=4", "--sbatch=--partition=p")


def test_a_dry_run_submits_nothing(launch, world):
    result = launch("slurm", *OPTIONS, "--dry-run", "--", "hummingbird", "pretrain")
    assert result.returncode == 0
    assert "--nodes=2" in result.stdout
    assert not (world / "sbatch.log").exists()


def test_one_task_for_each_gpu_and_a_signal_before_the_limit(launch, world):
    result = launch("slurm", *OPTIONS, f"--logs={world / 'logs'}", "--", "ends", "0")
    assert result.returncode == 0, result.stderr
    asked = (world / "sbatch.log").read_text().splitlines()
    expected = {
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--requeue",
        "--signal=TERM@120",
        "--partition=p",
    }
    assert expected <= set(asked)
    assert (world / "logs").is_dir()
    assert "at auto: ends with 0" in (world / "job.log").read_text()


def test_a_run_that_saved_goes_back_into_the_queue(launch, world):
    launch("slurm", *OPTIONS, f"--logs={world / 'logs'}", "--", "ends", "42", "42", "0")
    log = (world / "job.log").read_text()
    assert log.count("goes back into the queue") == 2
    assert "start 2 on" in log
    assert (world / "job.status").read_text() == "0\n"


def test_a_run_that_failed_does_not(launch, world):
    launch("slurm", *OPTIONS, f"--logs={world / 'logs'}", "--", "ends", "1", "0")
    assert (world / "job.status").read_text() == "1\n"
    assert "goes back" not in (world / "job.log").read_text()


def test_a_machine_without_slurm_is_refused(launch, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mkdir").symlink_to(shutil.which("mkdir"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    result = launch("slurm", *OPTIONS, f"--logs={tmp_path}", "--", "true")
    assert result.returncode == 2
    assert "sbatch is not installed here" in result.stderr
