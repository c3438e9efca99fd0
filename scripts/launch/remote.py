"""A run on other hosts: copy the code, install it, start the command on each, follow the first, stop all."""

from __future__ import annotations

import abc
import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from steps import REMOTE, Refused, Steps, code_archive, plainly

WORKER = f"{REMOTE}/scripts/launch/worker"
# Where a machine's Python is older than 3.11 scripts/setup lets uv bring one, and uv is faster anywhere.
UV = "{ command -v uv || python3 -m pip install --quiet --user uv || true; } >/dev/null 2>&1"


class Hosts(abc.ABC):
    """How commands reach the hosts of a run; a command is a line for their shell, run in the home folder."""

    steps: Steps

    @abc.abstractmethod
    def all(self, line: str) -> int:
        """Runs a line on every host at once; 0 where all succeeded."""

    @abc.abstractmethod
    def first(self, line: str) -> int:
        """Runs a line on the first host, its output shown; the exit status."""

    @abc.abstractmethod
    def ask_first(self, line: str) -> str | None:
        """What a line prints on the first host; None where the host or the line failed."""

    @abc.abstractmethod
    def copy(self, file: Path) -> int:
        """Copies a file into the home folder of every host."""

    @abc.abstractmethod
    def start(self, command: Sequence[str]) -> int:
        """Starts the command on every host in the background, each with the variables it needs."""


def install(hosts: Hosts, extra: str) -> int:
    """Copies the checkout to every host and sets it up there; an exit status."""
    if not hosts.steps.dry_run and hosts.ask_first(f"{WORKER} status") == "running":
        raise Refused("a run is going on there already: --follow attaches to it, --stop lets it save and end")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{REMOTE}.tar.gz"
        code_archive(hosts.steps, archive)
        status = hosts.copy(archive)
    unpack = f"mkdir -p {REMOTE} && tar -xzf {archive.name} -C {REMOTE}"
    setup = plainly([f"{REMOTE}/scripts/setup", *([extra] if extra else [])])
    return status or hosts.all(f"{unpack} && {UV} && {setup}")


def start_line(command: Sequence[str], settings: Mapping[str, str]) -> str:
    """The line that starts a command in the background of a host."""
    return plainly([WORKER, "start", *command], settings)


def follow(hosts: Hosts, retries: int = 5, pause: float = 10.0) -> int | None:
    """Shows the first host's output until the command ends there, attaching again where the connection breaks.

    Returns the command's exit status; None where the host does not answer any more or went down in between.
    """
    line, misses = f"{WORKER} follow", 0
    while True:
        hosts.first(line)
        if hosts.steps.dry_run:
            return 0
        answer = hosts.ask_first(f"{WORKER} status")
        if answer and answer.startswith("ended "):
            return int(answer.removeprefix("ended "))
        if answer in ("lost", "none"):
            return None
        misses = 0 if answer else misses + 1
        if misses > retries:
            return None
        line = f"{WORKER} follow --new"
        time.sleep(pause)


def stop(hosts: Hosts) -> int:
    """Asks every host's run to save and end, and waits for it."""
    return hosts.all(f"{WORKER} stop")


@contextlib.contextmanager
def detaching(again: str):
    """Ctrl-C while following leaves the run alone and says how to come back."""
    try:
        yield
    except KeyboardInterrupt:
        raise Refused(f"no longer following; the run goes on. The same command with {again}") from None
