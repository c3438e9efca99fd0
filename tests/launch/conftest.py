"""Stand-ins for ssh, gcloud, sbatch and others, for which every host is a folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the stand-ins first on PATH; returns the folder that holds the hosts and the stand-ins' logs."""
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(sys.executable)  # an environment that already exists
    for name in ("HUMMINGBIRD_COORDINATOR", "HUMMINGBIRD_NUM_PROCESSES", "HUMMINGBIRD_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HUMMINGBIRD_VENV", str(tmp_path / "venv"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")  # or scripts/setup asks pip, once on each host
    monkeypatch.setenv("PATH", f"{FAKES}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def launch(world: Path, repository: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Returns launch("ssh", "--hosts=a", "--", "program"), which runs a launcher to its end in the checkout's root."""

    def run(launcher: str, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, f"scripts/launch/{launcher}", *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60)

    return run
