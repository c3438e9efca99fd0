"""Files under one root: a folder, local or in a bucket, or a tar archive that is read without unpacking.

Buckets (gs://, s3://, az://) are read through fsspec. Its client for each kind is installed separately: `pip install
gcsfs` for gs://. Every file is a request there, so prefer few large ones: a .tar, or one per class.
"""

from __future__ import annotations

import functools
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from etils import epath

from hummingbird.data.fetch import fetch, filesystem, retried
from hummingbird.data.interface import Unreadable, reason
from hummingbird.data.names import printable, side_file, text_lines
from hummingbird.data.tars import Tar
from hummingbird.errors import UserError, first_line

log = logging.getLogger(__name__)

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


@runtime_checkable
class Store(Protocol):
    """Files by their path under a root, with "/" between the parts. Hidden files and side files do not count.

    Attributes:
      where: the root, for messages.
    """

    where: str

    def read(self, path: str) -> bytes:
        """Returns a file's content; raises Unreadable, which names the file."""
        ...

    def exists(self, path: str) -> bool:
        """Returns whether `path` is a file or folder."""
        ...

    def size(self, path: str) -> int:
        """Returns a file's size in bytes; -1 if unknown, as in buckets, where it costs one request per file."""
        ...

    def files(self, folder: str = "") -> list[str]:
        """Returns all files below `folder`, sorted, as paths under the root; none if there is no such folder."""
        ...

    def children(self, folder: str = "") -> list[str]:
        """Returns the names directly in `folder`, sorted, those of folders with a "/" at the end."""
        ...


def open_store(root: str, key: str = "data.root") -> Store:
    """Opens the folder or archive at `root`.

    Args:
      root: a local path, which may begin with "~", or a path in a bucket.
      key: the config key that it comes from, for errors.

    Raises:
      UserError: nothing is there, or it is neither, or a compressed archive.
    """
    if not root:
        raise UserError(f"config key {key} is empty: give the folder or .tar archive that holds the data set")
    if root.lower().endswith(COMPRESSED):
        raise UserError(f"config key {key}: {root} is compressed, so single files cannot be read; unpack or re-tar it")
    path = open_path(root, key)
    if path.is_dir():
        return Folder(path)
    if path.is_file() and path.suffix.lower() == ".tar":
        return Tar(path)
    problem = "is neither a folder nor a .tar archive" if path.exists() else "does not exist"
    raise UserError(f"config key {key}: {root} {problem}")


def open_path(root: str, key: str = "data.root") -> epath.Path:
    """Returns the local path or bucket path that `root` names, whether or not something is there.

    Raises:
      UserError: an unknown kind of bucket, or one whose client is not installed; a path that may not be read.
    """
    try:
        path = epath.Path(os.path.expanduser(root))
    except KeyError as error:
        raise UserError(f"config key {key}: {root} is not a path; buckets are gs://, s3://, az://") from error
    try:
        path.exists()  # imports the client of a bucket
    except ImportError as error:
        raise UserError(f"config key {key}: {root} needs a client for its bucket; {first_line(error)}") from error
    except OSError as error:
        raise UserError(f"config key {key}: {root} cannot be read: {reason(error)}") from error
    return path


def enter(store: Store) -> Store:
    """Returns the only folder in a tar archive, as `tar -cf own.tar own` makes it, else the store itself."""
    children = store.children() if isinstance(store, Tar) else []
    return Below(store, children[0][:-1]) if len(children) == 1 and children[0].endswith("/") else store


@functools.cache
def warn_once(message: str) -> None:
    """Logs a warning, unless this process has logged it before."""
    log.warning("%s", message)


class Folder:
    """A local folder, or one in a bucket."""

    def __init__(self, root: epath.Path):
        self.root = root
        self.where = os.fspath(root)
        self._local = "://" not in self.where

    def read(self, path: str) -> bytes:
        place = f"{self.where}/{path}"
        try:
            return fetch(place)
        except OSError as error:
            if self._local and os.path.islink(place) and not os.path.exists(place):
                raise Unreadable(
                    f"{printable(place)} is a link to {os.readlink(place)}, which does not exist; fetch the content"
                    " (git annex get, dvc pull, ...) or repair the link"
                ) from error
            raise Unreadable(f"{printable(place)} cannot be read: {reason(error)}") from error

    def exists(self, path: str) -> bool:
        try:
            return (self.root / path).exists()
        except OSError as error:
            raise Unreadable(f"{printable(f'{self.where}/{path}')} cannot be read: {reason(error)}") from error

    def size(self, path: str) -> int:
        if not self._local:
            return -1
        try:
            return os.stat(f"{self.where}/{path}").st_size
        except OSError:  # reading it will report the problem
            return -1

    def files(self, folder: str = "") -> list[str]:
        return sorted(self._walk(folder, ()))

    def _walk(self, folder: str, links: tuple[str, ...]) -> Iterator[str]:
        """Yields the files below `folder`; `links` are the targets of the links that lead to it."""
        for name in self.children(folder):
            path = f"{folder}/{name}" if folder else name
            if not name.endswith("/"):
                yield path
                continue
            path = path[:-1]
            place = f"{self.where}/{path}"
            if not (self._local and os.path.islink(place)):
                yield from self._walk(path, links)
                continue
            target = os.path.realpath(place)
            if target in links or f"{os.path.realpath(f'{self.where}/{folder}')}/".startswith(f"{target}/"):
                warn_once(f"skipped {printable(place)}: the link leads back to a folder that contains it")
            else:
                yield from self._walk(path, (*links, target))

    def children(self, folder: str = "") -> list[str]:
        place = self.root / folder
        try:
            found = self._list(place) if place.is_dir() else []
        except OSError as error:
            if not folder:
                raise UserError(f"{printable(self.where)} cannot be read: {reason(error)}") from error
            warn_once(f"skipped {printable(os.fspath(place))}: {reason(error)}")
            return []
        names = []
        for name, is_dir in found:
            side = side_file(name)
            if not side:
                names.append(name + "/" if is_dir else name)
            elif not side.startswith("."):
                warn_once(f"ignored every {side} under {printable(self.where)}: not part of a data set")
        return sorted(names)

    def sizes(self) -> dict[str, int]:
        """Returns the bytes of each file directly in the folder. Raises OSError."""
        if self._local:
            with os.scandir(self.where) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        found = retried(lambda: filesystem(self.where).ls(self.where, detail=True), self.where)
        return {entry["name"].rpartition("/")[2]: int(entry["size"]) for entry in found if entry["type"] == "file"}

    def changes(self, folders: Sequence[str]) -> dict[str, int]:
        """Returns when something was last added to each local folder or removed, and to those above it: nanoseconds."""
        if not self._local:
            return {}
        above = {"/".join(parts[:i]) for parts in (f.split("/") for f in folders) for i in range(1, len(parts) + 1)}
        return {folder: os.stat(f"{self.where}/{folder}").st_mtime_ns for folder in sorted(above)}

    def _list(self, place: epath.Path) -> list[tuple[str, bool]]:
        """Lists (name, is a folder) of a folder's entries, without a request for each of a million files."""
        if not self._local:
            _, folders, files = next(iter(place.walk()), (place, [], []))  # one request
            return [(name, True) for name in folders] + [(name, False) for name in files]
        with os.scandir(place) as entries:
            return [(entry.name, _is_folder(entry)) for entry in entries]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


class Below:
    """A folder inside a store, as a store."""

    def __init__(self, store: Store, prefix: str):
        self._store, self._prefix = store, prefix
        self.where = f"{store.where}/{prefix}"

    def read(self, path: str) -> bytes:
        return self._store.read(f"{self._prefix}/{path}")

    def exists(self, path: str) -> bool:
        return self._store.exists(f"{self._prefix}/{path}")

    def size(self, path: str) -> int:
        return self._store.size(f"{self._prefix}/{path}")

    def files(self, folder: str = "") -> list[str]:
        inside = f"{self._prefix}/{folder}" if folder else self._prefix
        return [path[len(self._prefix) + 1 :] for path in self._store.files(inside)]

    def children(self, folder: str = "") -> list[str]:
        return self._store.children(f"{self._prefix}/{folder}" if folder else self._prefix)


def locate(root: str, data_set: str, marks: Sequence[str], nested: Sequence[str], tree: str) -> Store:
    """Finds the folder that holds all of `marks`: `root`, or a folder in it where archives usually put a data set.

    Args:
      root: what the user gave.
      data_set: its name, for errors.
      marks: files and folders that must exist.
      nested: other folders of `root` to try, such as "VOCdevkit/VOC2012".
      tree: the expected layout, for errors.

    Raises:
      UserError: no such folder; the message shows the expected layout and what was found.
    """
    store = open_store(root)
    for outer in dict.fromkeys((store, enter(store))):
        for prefix in ("", *nested):
            candidate = Below(outer, prefix) if prefix else outer
            if all(candidate.exists(mark) for mark in marks):
                return candidate
    found = store.children()
    shown = ", ".join(found[:12]) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
    raise UserError(
        f"config key data.root: {root} is not laid out as {data_set}. Expected: {tree}. Found: {shown or 'nothing'}"
    )


def read_in_or_beside(store: Store, path: str) -> bytes | None:
    """Reads a file of the data set, else the local file at `path`; returns None if neither exists."""
    if not os.path.isabs(path) and store.exists(path):
        return store.read(path)
    file = pathlib.Path(path)
    try:
        return file.read_bytes() if file.is_file() else None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {reason(error)}") from error


def read_lines(store: Store, path: str) -> list[str]:
    """Returns the lines of a text file, stripped, without blank ones; raises Unreadable for unknown encodings."""
    return text_lines(store.read(path), f"{store.where}/{path}")
