"""The package: its name, requirements, shipped files and scripts."""

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import hummingbird
from tests.shards import shard

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "scripts" / "constraints.txt").read_text().splitlines()


def shell_scripts() -> list[str]:
    files = [*(ROOT / "scripts").rglob("*"), ROOT / ".ci" / "run"]
    return [str(path.relative_to(ROOT)) for path in sorted(files) if path.is_file() and "bash" in first_line(path)]


def first_line(path: Path) -> str:
    with path.open(errors="replace") as file:
        return file.readline()


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for group in (project["dependencies"], *extras) for text in group]


def versions_tested() -> dict[str, Version]:
    pairs = [line.split("==") for line in CONSTRAINTS if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_the_distribution_name_is_not_another_projects():
    assert PROJECT["project"]["name"] not in ("hummingbird", "hummingbird-ml")
    assert "hummingbird-ml" in (ROOT / "README.md").read_text(), "the README warns of the shared import name"


def test_the_version_is_declared_consistently():
    assert PROJECT["project"]["version"] == hummingbird.__version__


def test_the_command_resolves_to_a_function():
    module, _, name = PROJECT["project"]["scripts"]["hummingbird"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_every_requirement_has_bounds_around_the_tested_version():
    tested = versions_tested()
    for requirement in requirements():
        operators = {part.operator for part in requirement.specifier}
        assert operators == {">=", "<"}, f"{requirement}: a lower bound and an upper bound"
        version = tested.get(canonicalize_name(requirement.name))
        assert version, f"{requirement}: scripts/constraints.txt names no tested version"
        assert requirement.specifier.contains(version), f"{requirement}: tested with {version}"


def test_constraints_hold_names_and_versions_only():
    bad = [line for line in CONSTRAINTS if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)]
    assert not bad


def test_every_data_file_of_the_package_is_shipped():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [
        path
        for path in (ROOT / "hummingbird").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    ]
    assert not [str(path) for path in files if not any(fnmatch(path.name, pattern) for pattern in patterns)]


@pytest.mark.process
def test_importing_the_package_loads_no_accelerator():
    code = "import sys, hummingbird; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_top_level_holds_only_expected_entries():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    entries = {name.split("/")[0] for name in listing.stdout.splitlines()}
    visible = {name for name in entries if not name.startswith(".")}
    assert visible <= {"pyproject.toml", "README.md", "LICENSE", "hummingbird", "configs", "scripts", "tests"}


def test_the_readme_names_only_existing_files():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\b(?:configs|hummingbird|scripts|tests)/[\w./]*\w", text))
    assert {"configs/pretrain/demo.py", "scripts/demo", "scripts/test"} <= named
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


@pytest.mark.process
def test_shellcheck_accepts_every_script():
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    assert shellcheck, "install the extra `dev`, which brings shellcheck"
    result = subprocess.run([shellcheck, *shell_scripts()], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_scripts_state_their_usage_in_their_second_line():
    second = {
        name: (ROOT / name).read_text().splitlines()[1] for name in shell_scripts() if name.startswith("scripts/")
    }
    assert second
    assert not [name for name, line in second.items() if not line.startswith(f"# usage: {name}")]


@pytest.mark.process
def test_bench_lists_the_benchmarks_and_refuses_another_name():
    bench = [str(ROOT / "scripts" / "bench")]
    names = [path.stem for path in (ROOT / "scripts" / "benchmarks").glob("*.py")]
    listing = subprocess.run(bench, capture_output=True, text=True)
    assert listing.returncode == 0
    assert all(re.search(rf"^{name} ", listing.stdout, re.MULTILINE) for name in names)
    refused = subprocess.run([*bench, "no-such-benchmark"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "no-such-benchmark" in refused.stderr


def test_shards_split_the_suite_without_loss_or_overlap():
    names = [f"tests/a.py::test_{i}[{parameter}]" for i in range(40) for parameter in "xy"]
    shards = [set(filter(shard(f"{k}/3"), names)) for k in (1, 2, 3)]
    assert all(shards)
    assert sorted(name for part in shards for name in part) == sorted(names)
    for wrong in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(pytest.UsageError, match="K/N"):
            shard(wrong)


def test_benchmarks_import_their_sides_and_never_the_other_way():
    folder = ROOT / "scripts" / "benchmarks"
    benchmarks = "|".join(path.stem for path in folder.glob("*.py"))
    backward = re.compile(rf"^\s*(?:from|import) (?:{benchmarks})\b", re.MULTILINE)
    assert not [path.name for path in folder.rglob("*.py") if backward.search(path.read_text())]


@pytest.mark.process
def test_every_script_describes_itself_without_setting_anything_up(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HUMMINGBIRD_VENV": str(tmp_path / "venv")}
    for name in ("setup", "demo", "test", "bench", "docs"):
        command = [str(ROOT / "scripts" / name), "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert (shown.returncode, shown.stderr) == (0, ""), name
        assert shown.stdout.startswith(f"usage: scripts/{name}")
    assert not (tmp_path / "venv").exists()
