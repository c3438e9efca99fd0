"""The package as pip installs it: configs and sweeps are found by name, from any folder, without the checkout."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_imports import tracked

ROOT = Path(__file__).resolve().parent.parent
SMALL = {
    "input_size": 32,
    "data.scenes.size": 32,
    "data.scenes.prompt_images": 4,
    "data.scenes.query_images": 2,
    "report.enabled": False,
}
BUILD = """
import sys, setuptools
setuptools.setup(script_args=["-q", "build_py", "--build-lib", sys.argv[1]])
"""
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import hummingbird.cli
assert hummingbird.__file__.startswith(sys.argv[1]), hummingbird.__file__
sys.exit(hummingbird.cli.run(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of modules that a wheel would unpack; setuptools puts it together from a copy of the checkout."""
    pytest.importorskip("setuptools")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for path in tracked("hummingbird", "configs", "README.md", "LICENSE"):
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (source / "hummingbird" / "_configs").symlink_to("../configs")
    # Setuptools before 77 refuses this form of the licence; it decides nothing about the modules.
    project = re.sub(r"^license.*\n", "", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    (source / "pyproject.toml").write_text(project)
    subprocess.run([sys.executable, "-W", "ignore", "-c", BUILD, str(target)], cwd=source, check=True)
    return target


def run(installed, folder, *arguments):
    command = [sys.executable, "-I", "-c", RUN, str(installed), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_link_to_the_configs_is_part_of_the_checkout():
    assert (ROOT / "hummingbird" / "_configs").resolve() == ROOT / "configs"


@pytest.mark.process
def test_every_config_is_installed(installed):
    for path in tracked("configs/*.py"):
        copy = installed / "hummingbird" / "_configs" / path.relative_to(ROOT / "configs")
        assert copy.read_bytes() == path.read_bytes()


@pytest.mark.process
def test_the_shipped_encoder_is_installed(installed):
    for path in tracked("hummingbird/weights/encoders/*/*"):
        assert (installed / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


@pytest.mark.process
@pytest.mark.slow
def test_a_shipped_evaluation_runs_from_an_empty_folder(installed, tmp_path):
    settings = [f"--config.{key}={value}" for key, value in SMALL.items()]
    result = run(
        installed, tmp_path, "evaluate", "--config=evaluate/demo", "--checkpoint=rgb:8", "--workdir=out", *settings
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.process
def test_a_shipped_sweep_finds_the_evaluations_that_it_names(installed, tmp_path):
    arguments = ("--config=pretrain/demo:tiny", "--sweep=sweeps/table5:demo", "--launcher=print", "--workdir=sweep")
    result = run(installed, tmp_path, "sweep", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("--config=evaluate/demo:depth") == 7
