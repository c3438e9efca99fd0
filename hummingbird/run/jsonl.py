"""A JSON Lines file that a run appends to, in a local folder or in a bucket."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping

from etils import epath

from hummingbird.run.files import write_text

UPLOAD_EVERY = 60.0  # seconds; a bucket's objects cannot be appended to, so each upload is the whole file


class Journal:
    """A file with one JSON object per line, each with its "step"; a resumed run continues it.

    A local file gets each line at once. In a bucket, where opening for appending would replace the object, lines are
    kept in memory and uploaded every `UPLOAD_EVERY` seconds and on `flush`.

    Args:
      path: of the file; need not exist.
      start: step the run resumes from; lines of later steps are dropped, since those steps are taken again.
    """

    def __init__(self, path: epath.Path, start: int):
        self._path, self._local = path, "://" not in os.fspath(path)
        lines = path.read_text().splitlines() if path.exists() else []
        self._lines = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= start]
        self._uploaded_at, self._behind = time.monotonic(), len(self._lines) != len(lines)
        if self._behind:
            self._rewrite()
        if self._local:
            self._lines = []

    def write(self, line: Mapping[str, float]) -> None:
        """Adds a line: names and values, among them "step"."""
        text = json.dumps(line)
        if self._local:
            with self._path.open("a") as file:
                file.write(text + "\n")
            return
        self._lines.append(text)
        self._behind = True
        if time.monotonic() - self._uploaded_at > UPLOAD_EVERY:
            self.flush()

    def flush(self) -> None:
        """Uploads what a bucket does not have yet; call it before a checkpoint of these steps is kept."""
        if self._behind and not self._local:
            self._rewrite()

    def _rewrite(self) -> None:
        """Replaces the file by the lines in memory."""
        write_text(self._path, "".join(line + "\n" for line in self._lines))
        self._uploaded_at, self._behind = time.monotonic(), False
