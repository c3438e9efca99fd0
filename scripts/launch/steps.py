"""Shared by the launchers: options, steps that a dry run only prints, and processes that end together."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
SAVED = 42  # exit status of a program that saved after SIGTERM and can be resumed
GRACE = 60  # seconds between SIGTERM and SIGKILL, enough to save
AUTO = {"HUMMINGBIRD_COORDINATOR": "auto"}  # JAX finds the other processes through the cluster
REMOTE = "hummingbird"  # folder of the code on remote hosts, in the home folder


class Refused(Exception):
    """The launch cannot continue; the message is one line for the user."""


def parse(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    command_needed: Callable[[argparse.Namespace], bool] = lambda options: True,
) -> tuple[argparse.Namespace, list[str]]:
    """Returns the launcher's own options, and the command after `--` that every process runs."""
    parser.add_argument("--dry-run", action="store_true", help="print the steps without taking them")
    own, command = list(arguments), []
    if "--" in own:
        cut = own.index("--")
        own, command = own[:cut], own[cut + 1 :]
    options = parser.parse_args(own)
    if not command and command_needed(options):
        parser.error("give the command to run after --, such as -- hummingbird pretrain --config=... --workdir=...")
    return options, command


def describe(doc: str | None) -> dict[str, Any]:
    """Returns the parser's settings from a launcher's docstring, which starts with the usage line."""
    usage, _, rest = (doc or "").partition("\n")
    return {
        "usage": usage.removeprefix("usage: "),
        "description": rest.strip(),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def launch(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a launcher and exits with its status; `Refused` becomes one line on stderr and status 2."""
    # Like Ctrl-C, SIGTERM must run `finally` blocks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refused:
        print(f"{Path(sys.argv[0]).name}: {refused}", file=sys.stderr)
        sys.exit(2)


def plainly(command: Sequence[str], settings: Mapping[str, str] | None = None) -> str:
    """Returns a command as a line for a shell, with its variables in front."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in (settings or {}).items()]
    return " ".join([*variables, shlex.join(command)])


class Steps:
    """Prints commands and runs them; a dry run only prints them."""

    def __init__(self, dry_run: bool):
        self.dry_run = dry_run

    def say(self, text: str) -> None:
        """Prints a line at once."""
        print(text, flush=True)

    def run(self, *command: str, check: bool = True) -> int:
        """Runs a command and returns its exit status; with `check`, a failure ends the launch."""
        self.say(f"+ {shlex.join(command)}")
        if self.dry_run:
            return 0
        try:
            status = subprocess.run(command).returncode
        except FileNotFoundError:
            raise Refused(f"{command[0]} is not installed here") from None
        if check and status:
            raise Refused(f"the command failed with status {status}: {shlex.join(command)}")
        return status

    def ask(self, *command: str) -> str | None:
        """Returns what a command prints; None if it fails."""
        try:
            answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except FileNotFoundError:
            raise Refused(f"{command[0]} is not installed here") from None
        return answer.stdout.strip() if answer.returncode == 0 else None


def code_files() -> list[str]:
    """Lists the checkout's files relative to its root: those that git tracks and those it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        raise Refused("copying the code needs git and a git checkout, which list the files to copy")
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def code_archive(steps: Steps, path: Path) -> None:
    """Packs the checkout's files into a .tar.gz file."""
    names = code_files()
    steps.say(f"+ pack {len(names)} files of {ROOT.name} into {path.name}")
    if not steps.dry_run:
        listing = "\0".join(names)
        command = ["tar", "-czf", str(path), "-C", str(ROOT), "--null", "-T", "-"]
        subprocess.run(command, input=listing, text=True, check=True)


def local_environment() -> dict[str, str]:
    """Returns the environment variables, with the checkout's virtual environment first on PATH."""
    binaries = Path(os.environ.get("HUMMINGBIRD_VENV", ROOT / ".venv")) / "bin"
    return {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}


def run_together(commands: Sequence[tuple[str, Sequence[str], Mapping[str, str]]], logs: Path) -> int:
    """Runs commands side by side until all of them end.

    Shows the output of the first and writes the others' to `logs`/NAME.log. If one fails, the others are asked to stop.
    SIGTERM and Ctrl-C are passed on to all of them.

    Args:
      commands: (name, command, environment) of each.
      logs: folder for the logs; created if missing.

    Returns:
      The exit status of the first command that failed, or 0.
    """
    logs.mkdir(parents=True, exist_ok=True)
    group = Group(logs)
    stop = lambda *_: group.stop()
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for name, command, environment in commands:
            group.start(name, command, environment, shown=name == commands[0][0])
        failure = group.wait()
    finally:
        group.kill()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if failure is None:
        return 0
    name, status = failure
    if name != commands[0][0]:
        last = (logs / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
        print("\n".join([f"{name} ended with status {status}; its last lines:", *last]), file=sys.stderr)
    return status


class Group:
    """Processes that end together.

    Args:
      logs: folder for the output of processes that are not shown.
    """

    def __init__(self, logs: Path):
        self.logs = logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.files: list[IO[str]] = []
        self.stopping_since: float | None = None

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], shown: bool) -> None:
        """Starts a process; `shown` says whether its output is shown or logged."""
        output = None
        if not shown:
            output = (self.logs / f"{name}.log").open("w")
            self.files.append(output)
        self.running[name] = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # so that Ctrl-C in the terminal reaches them through `stop` only
        )
        if self.stopping_since is not None:  # `stop` was called while this process was being started
            self.running[name].terminate()

    def stop(self) -> None:
        """Sends SIGTERM to all processes, once; `wait` sends SIGKILL after `GRACE` seconds."""
        if self.stopping_since is None:
            self.stopping_since = time.monotonic()
            for process in self.running.values():
                process.terminate()

    def wait(self) -> tuple[str, int] | None:
        """Waits until all processes end; returns name and exit status of the first failure, which stops the others."""
        failure = None
        while self.running:
            for name, process in list(self.running.items()):
                status = process.poll()
                if status is None:
                    continue
                del self.running[name]
                if status and failure is None:
                    failure = name, 128 - status if status < 0 else status
                    self.stop()
            if self.stopping_since is not None and time.monotonic() - self.stopping_since > GRACE:
                for process in self.running.values():
                    process.kill()
            time.sleep(0.05)
        return failure

    def kill(self) -> None:
        """Kills what still runs and closes the logs."""
        for process in self.running.values():
            process.kill()
        for file in self.files:
            file.close()
