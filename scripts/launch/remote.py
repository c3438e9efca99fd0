"""Runs on remote hosts: copy and install the code, start the command on each, follow the first host, stop all."""

from __future__ import annotations

import abc
import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from steps import REMOTE, Refused, Steps, code_archive, plainly

WORKER = f"{REMOTE}/scripts/launch/worker"
# With uv, scripts/setup is faster, and can install a Python on hosts that only have one older than 3.11.
UV = "{ command -v uv || python3 -m pip install --quiet --user uv || true; } >/dev/null 2>&1"


class Hosts(abc.ABC):
    """The hosts of a run and how to reach them. Commands are shell lines that run in the home folder."""

    steps: Steps

    @abc.abstractmethod
    def all(self, line: str) -> int:
        """Runs a line on all hosts in parallel; returns 0 if it succeeds on all of them."""

    @abc.abstractmethod
    def first(self, line: str) -> int:
        """Runs a line on the first host and shows its output; returns the exit status."""

    @abc.abstractmethod
    def ask_first(self, line: str) -> str | None:
        """Returns what a line prints on the first host; None if the line fails or the host does not answer."""

    @abc.abstractmethod
    def copy(self, file: Path) -> int:
        """Copies a file into the home folder of every host; returns an exit status."""

    @abc.abstractmethod
    def start(self, command: Sequence[str]) -> int:
        """Starts the command in the background of every host, with the variables each needs; returns an exit status."""


def extras_for(command: Sequence[str], extras: Sequence[str]) -> list[str]:
    """Returns the extras to install: those given, and `gcs` where the command names a path in a bucket of Google's."""
    needed = [] if "tpu" in extras else ["gcs"]  # `tpu` has the bucket's client
    return list(dict.fromkeys([*extras, *(needed if any("gs://" in word for word in command) else [])]))


def install(hosts: Hosts, extras: Sequence[str]) -> int:
    """Copies the checkout to every host and sets it up there with `extras`; returns an exit status."""
    if not hosts.steps.dry_run and hosts.ask_first(f"{WORKER} status") == "running":
        raise Refused("a run is already in progress there: --follow attaches to it, --stop lets it save and end")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{REMOTE}.tar.gz"
        code_archive(hosts.steps, archive)
        status = hosts.copy(archive)
    unpack = f"mkdir -p {REMOTE} && tar -xzf {archive.name} -C {REMOTE}"
    setup = plainly([f"{REMOTE}/scripts/setup", *extras])
    return status or hosts.all(f"{unpack} && {UV} && {setup}")


def start_line(command: Sequence[str], settings: Mapping[str, str]) -> str:
    """Returns the line that starts a command in the background of a host."""
    return plainly([WORKER, "start", *command], settings)


def follow(hosts: Hosts, retries: int = 5, pause: float = 10.0) -> int | None:
    """Shows the first host's output until the command ends, and reconnects when the connection breaks.

    Returns:
      The command's exit status; None if the host no longer answers or went down in between.
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
    """Asks the run on every host to save and end, and waits for it; returns an exit status."""
    return hosts.all(f"{WORKER} stop")


@contextlib.contextmanager
def detaching(advice: str) -> Iterator[None]:
    """Leaves the run alone on Ctrl-C, and says how to attach again."""
    try:
        yield
    except KeyboardInterrupt:
        raise Refused(f"detached; the run continues. {advice}") from None
