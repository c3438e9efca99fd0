"""Checksums of large files, computed again only where a file is no longer the one that was verified last."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Mapping

from hummingbird.run.files import write_json

STAMPS = ".verified.json"


def checksum(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(folder: pathlib.Path, expected: Mapping[str, str | None], always: bool = False) -> str | None:
    """Returns the first file that is missing or does not match its checksum; None if all are whole.

    Files whose size, time of change and inode are those of the last verification are not read again: at paper scale
    that would be 16 GB for each evaluation.

    Args:
      folder: of the files; the stamps are kept in it if it can be written.
      expected: SHA-256 by name.
      always: read all of them.
    """
    known, found = ({} if always else read_stamps(folder)), {}
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            return name
        found[name] = stamp(path, digest)
        if known.get(name) != found[name] and checksum(path) != digest:
            return name
    if found != known:
        with contextlib.suppress(OSError):  # a read-only bank is verified each time
            write_json(folder / STAMPS, found)
    return None


def stamp(path: pathlib.Path, digest: str | None) -> list[int | str | None]:
    """Returns what changes when a file does, as far as it can be found without reading it."""
    stat = path.stat()
    return [digest, stat.st_size, stat.st_mtime_ns, stat.st_ino]


def read_stamps(folder: pathlib.Path) -> dict[str, list[int | str | None]]:
    """Returns the stamps of the last verification by name; none if they cannot be read."""
    try:
        stamps = json.loads((folder / STAMPS).read_text())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}
