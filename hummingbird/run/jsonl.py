"""Lines of JSON that a run writes as it goes, in a local folder or in a bucket."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from hummingbird.run.files import write_text

EVERY = 60.0  # seconds between uploads: a bucket's objects cannot be appended to, each upload is the whole file


class Journal:
    """A file of one JSON object a line, each with its "step"; a killed run's next start goes on writing it.

    A local file gets each line at once. In a bucket opening for appending replaces what is there, so lines are kept
    here and uploaded every `EVERY` seconds, and on `flush`.
    """

    def __init__(self, path: epath.Path, start: int):
        """Opens the file, and drops the lines of steps after `start`: they are taken, and written, again."""
        self.path, self.local = path, "://" not in os.fspath(path)
        lines = path.read_text().splitlines() if path.exists() else []
        self.lines = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= start]
        self.uploaded, self.behind = time.monotonic(), len(self.lines) != len(lines)
        if self.behind:
            self.flush(whole=True)
        if self.local:
            self.lines = []

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds a line."""
        text = json.dumps(line)
        if self.local:
            with self.path.open("a") as file:
                file.write(text + "\n")
            return
        self.lines.append(text)
        self.behind = True
        if time.monotonic() - self.uploaded > EVERY:
            self.flush()

    def flush(self, whole: bool = False) -> None:
        """Leaves nothing unwritten; to be called before a checkpoint of these steps is kept."""
        if self.behind and (whole or not self.local):
            text = "".join(line + "\n" for line in self.lines)
            write_text(self.path, text)
            self.uploaded, self.behind = time.monotonic(), False
