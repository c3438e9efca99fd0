"""Tar archives as stores: indexed once, read in place without unpacking."""

from __future__ import annotations

import bisect
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from etils import epath

from hummingbird.data.interface import Unreadable, reason
from hummingbird.data.names import side_file
from hummingbird.errors import UserError


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, local or in a bucket, as far as `tarfile` needs to know."""

    def read(self, size: int = -1, /) -> bytes: ...

    def write(self, data: bytes, /) -> int: ...

    def seek(self, offset: int, /) -> int: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


class Span(NamedTuple):
    """Position of a file in an archive, bytes."""

    offset: int
    size: int


class Tar:
    """A tar archive. Archives inside it (as in ImageNet's) count as folders named after them; links are followed."""

    def __init__(self, path: epath.Path):
        self.path = path
        self.where = os.fspath(path)
        try:
            with path.open("rb") as file:
                self._members = _index(file, 0)
        except tarfile.TarError as error:
            raise UserError(f"{self.where} is not a readable tar archive: {error}") from error
        except OSError as error:
            raise UserError(f"{self.where} cannot be read: {reason(error)}") from error
        self._sorted = sorted(self._members)

    def read(self, path: str) -> bytes:
        if path not in self._members:
            raise Unreadable(f"{self.where} holds no {path}")
        offset, size = self._members[path]
        try:
            with self.path.open("rb") as file:  # one handle per read: threads and processes share nothing
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise Unreadable(f"{self.where} cannot be read: {reason(error)}") from error
        if len(data) < size:
            raise Unreadable(f"{self.where} is truncated: it holds {len(data)} of the {size} bytes of {path}")
        return data

    def exists(self, path: str) -> bool:
        return path in self._members or bool(self._below(path))

    def size(self, path: str) -> int:
        return self._members[path].size if path in self._members else -1

    def files(self, folder: str = "") -> list[str]:
        return self._below(folder) if folder else list(self._sorted)

    def _below(self, folder: str) -> list[str]:
        low = bisect.bisect_left(self._sorted, folder + "/")
        return self._sorted[low : bisect.bisect_left(self._sorted, folder + "0")]  # "0" comes right after "/"

    def children(self, folder: str = "") -> list[str]:
        skip = len(folder) + 1 if folder else 0
        names = set()
        for path in self.files(folder):
            first, slash, _ = path[skip:].partition("/")
            names.add(first + slash)
        return sorted(names)


def _index(file: BinaryFile, start: int) -> dict[str, Span]:
    """Lists the files of the archive that begins at byte `start`, with those of the archives inside it."""
    file.seek(start)
    members: dict[str, Span] = {}
    links: dict[str, str] = {}
    inner: dict[str, int] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            name = posixpath.normpath(member.name).lstrip("/")
            if side_file(name):
                continue
            if member.issym():
                links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
            elif member.islnk():
                links[name] = posixpath.normpath(member.linkname).lstrip("/")
            elif member.isfile() and name.endswith(".tar"):
                inner[name.removesuffix(".tar")] = member.offset_data
            elif member.isfile():
                members[name] = Span(member.offset_data, member.size)
    for name, offset in inner.items():
        members.update({f"{name}/{path}": span for path, span in _index(file, offset).items()})
    return _follow(members, links)


def _follow(members: dict[str, Span], links: Mapping[str, str]) -> dict[str, Span]:
    """Adds the targets of links to files and folders under the links' names; drops dangling and circular links."""
    targets = {name: _target(name, links) for name in links}
    members.update({name: members[target] for name, target in targets.items() if target in members})
    folders = {folder for path in members for folder in _parents(path)} if targets else set()
    for name, target in targets.items():
        if target in folders:
            inside = [path for path in members if path.startswith(target + "/") and not path.startswith(name + "/")]
            members.update({name + path.removeprefix(target): members[path] for path in inside})
    return members


def _target(name: str, links: Mapping[str, str]) -> str:
    """Follows links to links; stops in a circle."""
    passed = {name}
    while links[name] in links and links[name] not in passed:
        name = links[name]
        passed.add(name)
    return links[name]


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


class Shards:
    """Several archives side by side, each a folder named after it (without ".tar")."""

    def __init__(self, root: epath.Path, names: Sequence[str]):
        self.where = os.fspath(root)
        self._tars = {name.removesuffix(".tar"): Tar(root / name) for name in sorted(names)}

    def read(self, path: str) -> bytes:
        shard, _, rest = path.partition("/")
        if shard not in self._tars:
            raise Unreadable(f"{self.where} holds no {shard}.tar")
        return self._tars[shard].read(rest)

    def exists(self, path: str) -> bool:
        shard, _, rest = path.partition("/")
        return shard in self._tars and (not rest or self._tars[shard].exists(rest))

    def size(self, path: str) -> int:
        shard, _, rest = path.partition("/")
        return self._tars[shard].size(rest) if shard in self._tars else -1

    def files(self, folder: str = "") -> list[str]:
        if not folder:
            return [f"{shard}/{path}" for shard, tar in self._tars.items() for path in tar.files()]
        shard, _, rest = folder.partition("/")
        return [f"{shard}/{path}" for path in self._tars[shard].files(rest)] if shard in self._tars else []

    def children(self, folder: str = "") -> list[str]:
        if not folder:
            return [f"{shard}/" for shard in self._tars]
        shard, _, rest = folder.partition("/")
        return self._tars[shard].children(rest) if shard in self._tars else []
