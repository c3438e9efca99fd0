"""Files under one root, which is a folder (local or in a bucket) or a tar archive that is read without unpacking.

Buckets (gs://, s3://, az://) are read through fsspec by its client for them, which is installed apart: `pip install
gcsfs` for gs://. Each file is a request there, so prefer few large ones: a .tar, or one for each class.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from etils import epath

from hummingbird.errors import UserError

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


class Store(Protocol):
    """Files by their path under a root, with "/" between the parts."""

    where: str  # what to call the root in messages

    def read(self, path: str) -> bytes: ...

    def exists(self, path: str) -> bool:
        """Whether `path` is a file or folder."""
        ...

    def size(self, path: str) -> int:
        """Bytes of a file; -1 where that is not known: a bucket would be asked once for each file."""
        ...

    def files(self, folder: str = "") -> list[str]:
        """All files below `folder`, sorted, as paths under the root; none if there is no such folder."""
        ...

    def children(self, folder: str = "") -> list[str]:
        """Names directly in `folder`, sorted, folders with a "/" at the end."""
        ...


def open_store(root: str, key: str = "data.root") -> Store:
    """The folder or archive at `root`.

    Raises:
      UserError: nothing there, or a compressed archive.
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
    """The local path or bucket that `root` names, whether or not something is there.

    Raises:
      UserError: a kind of bucket that is not known, or whose client is not installed.
    """
    try:
        path = epath.Path(root).expanduser()
    except KeyError as error:
        raise UserError(f"config key {key}: {root} is no path; buckets are gs://, s3://, az://") from error
    try:
        path.exists()  # imports the client of a bucket
    except ImportError as error:
        raise UserError(
            f"config key {key}: {root} needs a client of that bucket; {str(error).splitlines()[0]}"
        ) from error
    return path


def enter(store: Store) -> Store:
    """The one folder that a tar archive holds, as `tar -cf own.tar own` makes it; else the store as it is."""
    children = store.children() if isinstance(store, Tar) else []
    return Below(store, children[0][:-1]) if len(children) == 1 and children[0].endswith("/") else store


class Folder:
    def __init__(self, root: epath.Path):
        self.root = root
        self.where = os.fspath(root)

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def size(self, path: str) -> int:
        if "://" in self.where:
            return -1
        try:
            return os.stat(f"{self.where}/{path}").st_size
        except OSError:  # reading it says what is wrong
            return -1

    def files(self, folder: str = "") -> list[str]:
        return sorted(self._walk(folder))

    def _walk(self, folder: str) -> Iterator[str]:
        for name in self.children(folder):
            path = f"{folder}/{name}" if folder else name
            if name.endswith("/"):
                yield from self._walk(path[:-1])
            else:
                yield path

    def children(self, folder: str = "") -> list[str]:
        place = self.root / folder
        if not place.is_dir():
            return []
        if "://" in self.where:
            # one request for the folder instead of one for each file
            _, folders, files = next(iter(place.walk()), (place, [], []))
            found = [(name, True) for name in folders] + [(name, False) for name in files]
        else:  # scandir knows which are folders without asking for each of a million files
            with os.scandir(place) as entries:
                found = [(entry.name, entry.is_dir()) for entry in entries]
        return sorted(name + "/" if is_dir else name for name, is_dir in found if not name.startswith("."))


class Tar:
    """A tar archive; archives within it (as ImageNet's) count as folders named after them."""

    def __init__(self, path: epath.Path):
        self.path = path
        self.where = os.fspath(path)
        self._members: dict[str, tuple[int, int]] = {}  # path -> offset, bytes
        try:
            with path.open("rb") as file:
                self._index(file, "", 0)
        except tarfile.TarError as error:
            raise UserError(f"{self.where} is no readable tar archive: {error}") from error
        self._sorted = sorted(self._members)

    def _index(self, file, prefix: str, start: int) -> None:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            inner = []
            for member in archive:
                if not member.isfile() or os.path.basename(member.name).startswith("."):
                    continue
                name = prefix + os.path.normpath(member.name)
                if name.endswith(".tar"):
                    inner.append((name[:-4] + "/", member.offset_data))
                else:
                    self._members[name] = (member.offset_data, member.size)
        for name, offset in inner:
            self._index(file, name, offset)

    def read(self, path: str) -> bytes:
        if path not in self._members:
            raise FileNotFoundError(f"{self.where} holds no {path}")
        offset, size = self._members[path]
        with self.path.open("rb") as file:  # one handle a read: threads and processes share nothing
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise UserError(f"{self.where} is truncated: {path} should have {size} bytes, {len(data)} are there")
        return data

    def exists(self, path: str) -> bool:
        return path in self._members or bool(self._below(path))

    def size(self, path: str) -> int:
        return self._members[path][1] if path in self._members else -1

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


class Shards:
    """Several archives side by side, each a folder named after it (without ".tar")."""

    def __init__(self, root: epath.Path, names: Sequence[str]):
        self.where = os.fspath(root)
        self._tars = {name.removesuffix(".tar"): Tar(root / name) for name in sorted(names)}

    def _split(self, path: str) -> tuple[Tar, str]:
        shard, _, rest = path.partition("/")
        if shard not in self._tars:
            raise FileNotFoundError(f"{self.where} holds no {shard}.tar")
        return self._tars[shard], rest

    def read(self, path: str) -> bytes:
        tar, rest = self._split(path)
        return tar.read(rest)

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


class Below:
    """A folder of a store as a store of its own."""

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
    """The store in which all of `marks` exist: `root` itself, or a folder in it where archives usually put them.

    Args:
      root: what the user gave.
      data_set: its name, for the message.
      marks: files and folders that must be there.
      nested: folders of `root` to look in as well, such as "VOCdevkit/VOC2012".
      tree: the expected layout, shown beside what was found.

    Raises:
      UserError: none of them has all marks.
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


def names_fingerprint(names: Iterable[str]) -> str:
    """Twelve hexadecimal digits that depend on every name and their order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]


def read_lines(store: Store, path: str) -> tuple[str, ...]:
    """The lines of a text file that are not blank, stripped."""
    return tuple(line.strip() for line in store.read(path).decode().splitlines() if line.strip())
