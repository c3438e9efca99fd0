"""Commands in the documents work: launchers run dry, commands of `hummingbird` parse and their settings are valid."""

import shlex
from pathlib import Path

import pytest

from hummingbird import cli, config
from hummingbird.sweep.spec import load_sweep

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "configs/README.md",
    "configs/pretrain/README.md",
    "scripts/README.md",
    "hummingbird/incontext/README.md",
)


def shown(start: str) -> list[str]:
    """Returns the indented lines of the documents that begin with `start`."""
    lines = [line for name in DOCUMENTS for line in (ROOT / name).read_text().splitlines()]
    return [line.strip() for line in lines if line.startswith("    " + start)]


def program_commands() -> list[str]:
    launched = [line.partition(" -- ")[2] for line in shown("scripts/launch/")]
    return sorted({*shown("hummingbird "), *launched})


def test_the_documents_show_every_launcher():
    launchers = {path.name for path in (ROOT / "scripts/launch").iterdir() if "python3" in first_line(path)}
    assert {line.split()[0].rpartition("/")[2] for line in shown("scripts/launch/")} == launchers


def first_line(path: Path) -> str:
    return path.read_text().partition("\n")[0] if path.is_file() else ""


@pytest.mark.parametrize("line", shown("scripts/launch/"))
@pytest.mark.process
def test_a_shown_launch_runs_dry(line, launch):
    launcher, *arguments = shlex.split(line)
    result = launch(launcher.rpartition("/")[2], "--dry-run", *arguments)
    assert result.returncode == 0, result.stderr
    assert "+ " in result.stdout


@pytest.mark.parametrize("line", program_commands())
def test_a_shown_command_has_known_options_and_settings(line):
    program, *arguments = shlex.split(line)
    assert program == "hummingbird"
    options, overrides = cli.parse(arguments)
    if options.command == "sweep":
        assert load_sweep(options.sweep)
    if options.command in ("pretrain", "evaluate"):
        assert config.resolve(options.command, options.config, overrides)
    if options.command == "segment":
        assert config.resolve("segment", None, overrides)
