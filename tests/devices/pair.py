"""Two processes that belong together, with one device each."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hummingbird.devices import distributed
from tests import tiny
from tests.devices.ports import free_port


class Ended(NamedTuple):
    """What a process left."""

    status: int
    out: str
    err: str


@contextlib.contextmanager
def started(repository: Path, *arguments: object) -> Iterator[list[subprocess.Popen[str]]]:
    """Starts `python ARGUMENTS` twice, as processes 0 and 1 of 2; kills at the end what is left of them."""
    coordinator, processes = f"127.0.0.1:{free_port()}", []
    try:
        for number in range(2):
            joined = dict(zip(distributed.VARIABLES, (coordinator, "2", str(number)), strict=True))
            processes.append(
                subprocess.Popen(
                    [sys.executable, *map(str, arguments)],
                    cwd=repository,
                    env={**os.environ, **tiny.ONE_DEVICE, **joined},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()


def run(repository: Path, *arguments: object) -> list[Ended]:
    """Runs `python ARGUMENTS` as two processes to their end."""
    with started(repository, *arguments) as processes:
        outputs = [process.communicate(timeout=240) for process in processes]
        return [Ended(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]
