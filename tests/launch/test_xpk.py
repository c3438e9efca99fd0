"""scripts/launch/xpk, against an xpk that logs its arguments."""

import pytest

pytestmark = pytest.mark.process

OPTIONS = ("--cluster=c", "--workload=w", "--tpu-type=v5litepod-16")


def test_a_dry_run_creates_nothing(launch, world):
    result = launch("xpk", *OPTIONS, "--dry-run", "--", "hummingbird", "pretrain")
    assert result.returncode == 0
    assert "+ xpk workload create --cluster=c --workload=w" in result.stdout
    assert not (world / "xpk.log").exists()


def test_the_image_holds_the_code_and_nothing_else(launch, world):
    result = launch("xpk", *OPTIONS, "--", "hummingbird", "pretrain", "--workdir=gs://a/b c")
    assert result.returncode == 0, result.stderr
    packed = (world / "packed").read_text().splitlines()
    assert "./pyproject.toml" in packed
    assert "./scripts/setup" in packed
    assert not [name for name in packed if name.startswith(("./.venv", "./.git/", "./runs"))]


def test_sigterm_reaches_the_program_in_the_pod(launch, world):
    launch("xpk", *OPTIONS, "--", "hummingbird", "pretrain", "--workdir=gs://a/b c")
    asked = (world / "xpk.log").read_text().splitlines()
    command = next(line for line in asked if line.startswith("--command="))
    assert command.endswith("exec env HUMMINGBIRD_COORDINATOR=auto hummingbird pretrain '--workdir=gs://a/b c'")
    assert "--max-restarts=20" in asked
