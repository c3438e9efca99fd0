"""What the launchers share: their options, steps that a dry run only prints, processes that live and end together."""

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
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[2]
SAVED = 42  # the program's exit status after SIGTERM, its state saved: start it again and it goes on
GRACE = 60  # seconds between SIGTERM and SIGKILL, enough to save
AUTO = {"HUMMINGBIRD_COORDINATOR": "auto"}  # JAX asks the cluster who the other processes are
REMOTE = "hummingbird"  # the folder that holds the code on the other hosts, below the home folder


class Refused(Exception):
    """The launch cannot go on; the message is one line for the user."""


def parse(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    command_needed: Callable[[argparse.Namespace], bool] = lambda options: True,
) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own options, and the command after `--` that every process is to run."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    own, command = list(arguments), []
    if "--" in own:
        cut = own.index("--")
        own, command = own[:cut], own[cut + 1 :]
    options = parser.parse_args(own)
    if not command and command_needed(options):
        parser.error("say what to run after --, for example: -- hummingbird pretrain --config=... --workdir=...")
    return options, command


def describe(doc: str | None) -> dict:
    """The parser's settings from a launcher's docstring: the usage line first, then what it does."""
    usage, _, rest = (doc or "").partition("\n")
    return {
        "usage": usage.removeprefix("usage: "),
        "description": rest.strip(),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def launch(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a launcher; what it refuses is one line and exit status 2."""
    # as Ctrl-C: what must be done at the end is done
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refused:
        print(f"{Path(sys.argv[0]).name}: {refused}", file=sys.stderr)
        sys.exit(2)


def plainly(command: Sequence[str], settings: Mapping[str, str] | None = None) -> str:
    """A command as a shell would take it, with the variables it is given in front."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in (settings or {}).items()]
    return " ".join([*variables, shlex.join(command)])


class Steps:
    """Runs commands and says so; in a dry run it only says so."""

    def __init__(self, dry_run: bool):
        self.dry_run = dry_run

    def say(self, text: str) -> None:
        print(text, flush=True)

    def run(self, *command: str, check: bool = True) -> int:
        """The exit status; with `check`, failure ends the launch."""
        self.say(f"+ {shlex.join(command)}")
        if self.dry_run:
            return 0
        try:
            status = subprocess.run(command).returncode
        except FileNotFoundError:
            raise Refused(f"{command[0]} is not installed here") from None
        if check and status:
            raise Refused(f"this failed with status {status}: {shlex.join(command)}")
        return status

    def ask(self, *command: str) -> str | None:
        """What a command prints, None where it fails."""
        try:
            answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except FileNotFoundError:
            raise Refused(f"{command[0]} is not installed here") from None
        return answer.stdout.strip() if answer.returncode == 0 else None


def code_files() -> list[str]:
    """The checkout's files, relative to its root: what git knows and what it would not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        raise Refused("the code is copied by git's list of files, and this is no git checkout")
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def code_archive(steps: Steps, path: Path) -> None:
    """Packs the checkout's files into a .tar.gz."""
    names = code_files()
    steps.say(f"+ pack {len(names)} files of {ROOT.name} into {path.name}")
    if not steps.dry_run:
        listing = "\0".join(names)
        command = ["tar", "-czf", str(path), "-C", str(ROOT), "--null", "-T", "-"]
        subprocess.run(command, input=listing, text=True, check=True)


def local_environment() -> dict[str, str]:
    """This machine's, with the checkout's virtual environment first on the path."""
    binaries = Path(os.environ.get("HUMMINGBIRD_VENV", ROOT / ".venv")) / "bin"
    return {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}


def run_together(commands: Sequence[tuple[str, Sequence[str], Mapping[str, str]]], logs: Path) -> int:
    """Runs (name, command, environment) side by side until all end; the exit status of the first that failed, or 0.

    The first one's output is shown, the others' goes to `logs`/NAME.log. When one fails the others are asked to stop
    (SIGTERM), and killed after `GRACE` seconds. SIGTERM and Ctrl-C are passed on to all of them, once.
    """
    logs.mkdir(parents=True, exist_ok=True)
    running: dict[str, subprocess.Popen] = {}
    files: list[IO] = []
    first_failure: tuple[str, int] | None = None
    stopping = 0.0

    def stop(*_: object) -> None:
        nonlocal stopping
        if not stopping:
            stopping = time.monotonic()
            for process in running.values():
                process.terminate()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for index, (name, command, environment) in enumerate(commands):
            output = None
            if index:
                files.append((logs / f"{name}.log").open("w"))
                output = files[-1]
            running[name] = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal reaches them through `stop` alone
            )
        if stopping:  # while they were being started: the last one may have missed it
            for process in running.values():
                process.terminate()
        while running:
            for name, process in list(running.items()):
                status = process.poll()
                if status is None:
                    continue
                del running[name]
                if status and first_failure is None:
                    first_failure = name, 128 - status if status < 0 else status
                    stop()
            if stopping and time.monotonic() - stopping > GRACE:
                for process in running.values():
                    process.kill()
            time.sleep(0.05)
    finally:
        for process in running.values():
            process.kill()
        for file in files:
            file.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if first_failure is None:
        return 0
    name, status = first_failure
    if name != commands[0][0]:
        last = (logs / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
        print("\n".join([f"{name} ended with status {status}; its last lines:", *last]), file=sys.stderr)
    return status
