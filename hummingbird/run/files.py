"""Small files that are written whole or not at all, and what they hold."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from etils import epath

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"

PACKAGES = ("hummingbird-incontext", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scann")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replaces a file in one move: readers, and whoever comes after a crash, find the old content or the new.

    Args:
      path: local path or one in a bucket (whose objects always appear whole); missing folders are made.
      text: the content, written as UTF-8.

    Raises:
      OSError: the file cannot be written; nothing is left behind.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces a binary file in one move, as `write_text` does."""
    if "://" in os.fspath(path):
        epath.Path(path).write_bytes(content)
        return
    with replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary name beside the local file `path`; what is written there takes its place in one move.

    Raises:
      OSError: the file cannot be written; as after any other exception in the block, nothing is left behind.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Json) -> None:
    """Replaces a JSON file in one move, as `write_text` does. Raises ValueError for NaN and infinities."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that results depend on: {package: version}."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
