"""Files that are replaced atomically, and what run records have in common."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from etils import epath
from typing_extensions import TypeAliasType  # `type` statements need Python 3.12

if TYPE_CHECKING:
    import hummingbird.run.files

# Values that JSON can represent. The name is given in full, since beartype looks it up where the type is used.
Json = TypeAliasType(
    "Json",
    Mapping[str, "hummingbird.run.files.Json"]
    | Sequence["hummingbird.run.files.Json"]
    | str
    | int
    | float
    | bool
    | None,
)

PACKAGES = ("hummingbird-incontext", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scann")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replaces a file atomically: readers, also after a crash, find either the old content or the new.

    Args:
      path: local path, or one in a bucket, where objects always appear whole; missing folders are made.
      text: new content, written as UTF-8.

    Raises:
      OSError: the file cannot be written; the old one is kept.
    """
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces a binary file atomically; see `write_text`."""
    if "://" in os.fspath(path):
        epath.Path(path).write_bytes(content)
        return
    with replacing(path) as part:
        part.write_bytes(content)


def write_json(path: str | os.PathLike[str], content: Json) -> None:
    """Replaces a JSON file atomically; see `write_text`. Raises ValueError for NaN and infinities."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path; the file that the block writes there then replaces the local file `path` atomically.

    Raises:
      OSError: the file cannot be written; as after any other exception in the block, the old one is kept.

    Example:
      >>> import tempfile
      >>> target = pathlib.Path(tempfile.mkdtemp()) / "numbers.txt"
      >>> with replacing(target) as part:
      ...     _ = part.write_text("1 2 3")
      ...     target.exists()
      False
      >>> target.read_text()
      '1 2 3'
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


def versions() -> dict[str, str]:
    """Returns {package: version} for Python and the installed packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
