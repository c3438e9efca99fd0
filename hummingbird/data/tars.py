"""Tar archives, indexed once and read in place without unpacking."""

from __future__ import annotations

import bisect
import contextlib
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from etils import epath

from hummingbird.data.fetch import Ranges, fetch, is_remote
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

    def __init__(self, path: epath.Path, text_suffix: str = ""):
        """Lists the archive at `path`; `text_suffix` as for `list_members`."""
        self.where = os.fspath(path)
        self.members = list_members(path, text_suffix)
        self._members = self.members.spans
        self._sorted = sorted(self._members)

    def read(self, path: str) -> bytes:
        if path not in self._members:
            raise Unreadable(f"{self.where} holds no {path}")
        return read_member(self.where, self._members[path], path)

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


class Members(NamedTuple):
    """What an archive holds.

    Attributes:
      spans: where each file is.
      texts: content of the files that were to be read on the way.
    """

    spans: dict[str, Span]
    texts: dict[str, bytes]


def list_members(path: epath.Path, text_suffix: str = "") -> Members:
    """Lists the files of an archive.

    Args:
      path: local, or in a bucket, where it is read through in large blocks.
      text_suffix: suffix of small files to read on the way; "": none.

    Raises:
      UserError: it is not a tar archive, or cannot be read.
    """
    where, texts = os.fspath(path), dict[str, bytes]()
    try:
        with contextlib.closing(Ranges(where) if is_remote(where) else path.open("rb")) as file:
            return Members(_index(file, 0, text_suffix, texts), texts)
    except tarfile.TarError as error:
        raise UserError(f"{where} is not a readable tar archive: {error}") from error
    except OSError as error:
        raise UserError(f"{where} cannot be read: {reason(error)}") from error


def read_member(where: str, span: Span, path: str) -> bytes:
    """Reads a file of an archive, in one request if that is in a bucket. Raises Unreadable, which names both."""
    try:
        data = fetch(where, span.offset, span.offset + span.size)
    except OSError as error:
        raise Unreadable(f"{where} cannot be read: {reason(error)}") from error
    if len(data) < span.size:
        raise Unreadable(f"{where} is truncated: it holds {len(data)} of the {span.size} bytes of {path}")
    return data


def _index(file: BinaryFile, start: int, text_suffix: str, texts: dict[str, bytes]) -> dict[str, Span]:
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
                if text_suffix and name.endswith(text_suffix):
                    file.seek(member.offset_data)
                    texts[name] = file.read(member.size)
            archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]; it would keep all of them
    for name, offset in inner.items():
        found: dict[str, bytes] = {}
        members.update({f"{name}/{path}": span for path, span in _index(file, offset, text_suffix, found).items()})
        texts.update({f"{name}/{path}": text for path, text in found.items()})
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
