"""The list of a data set's images in one file that all processes of a host map into memory.

A file of 14 million images in tar archives takes 8 bytes an image in memory, however many processes read it; the
names, some 20 bytes each, stay on disk until one is needed. The file has a line of JSON and then NumPy arrays, each
aligned to 64 bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt32

from hummingbird.data.names import names_fingerprint
from hummingbird.errors import UserError
from hummingbird.run.files import Json

FORMAT = "hummingbird-index-1"
ALIGNMENT = 64
TAR_BLOCK = 512  # files in a tar archive begin at multiples of it, bytes
LARGEST = 2**32 - 1  # bytes of an image


class Group(NamedTuple):
    """Images of one folder, in sorted order.

    Attributes:
      folder: path under the data set, with the archive's name in it; "" for the top.
      archive: path of the tar archive under the data set's root; "" for plain files.
      names: N file names, as bytes in the file system's encoding.
      blocks: where each begins in the archive, in units of 512 bytes; None for plain files.
      sizes: bytes of each; None for plain files.
    """

    folder: str
    archive: str
    names: Sequence[bytes]
    blocks: UInt32[np.ndarray, " N"] | None = None
    sizes: UInt32[np.ndarray, " N"] | None = None


class Index:
    """The images of a data set, their labels and where they are.

    Attributes:
      facts: what else is known: classes, fingerprint, and what the file was made of.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], path: str = ""):
        """Wraps arrays; see `pack`, `load`."""
        self._arrays, self.facts, self._path = arrays, facts, path
        self._starts, self._labels = arrays["starts"], arrays["labels"]
        self._ends, self._names = arrays["ends"], arrays["names"]
        self._folders, self._archives = facts["folders"], facts["archives"]

    def __reduce__(self):
        """Sends another process the path, so that both map the same memory."""
        return (load, (self._path,)) if self._path else (Index, (self._arrays, self.facts))

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def file(self) -> str:
        """Path of the file that is mapped; "" if the index is in memory alone."""
        return self._path

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays.values())

    def group(self, index: int) -> int:
        """Returns the number of the group that holds an image."""
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def path(self, index: int) -> str:
        """Returns the path of an image under the data set."""
        folder, name = self._folders[self.group(index)], self._name(index)
        return f"{folder}/{name}" if folder else name

    def _name(self, index: int) -> str:
        begin = int(self._ends[index - 1]) if index else 0
        return self._names[begin : int(self._ends[index])].tobytes().decode("utf-8", "surrogateescape")

    def label(self, index: int) -> int:
        """Returns the label of an image, as `images.Images` reads it."""
        return int(self._labels[self.group(index) if self.facts["labels"] == "group" else index])

    def all_labels(self) -> Int32[np.ndarray, " N"]:
        """Returns the label of every image."""
        if self.facts["labels"] == "image":
            return np.asarray(self._labels)
        return np.repeat(self._labels, np.diff([*self._starts, len(self)]))

    def relabelled(self) -> Index | None:
        """Returns the index with first folders as classes; None if images have labels beside them."""
        if self.facts["labels"] == "image":
            return None
        labels, classes = label_by_folder([f"{folder}/image" for folder in self._folders])
        return Index({**self._arrays, "labels": labels}, {**self.facts, "classes": classes})

    def span(self, index: int) -> tuple[str, int, int] | None:
        """Returns (archive, first byte, size) of an image; None for a plain file."""
        archive = self._archives[self.group(index)]
        if not archive:
            return None
        return archive, int(self._arrays["blocks"][index]) * TAR_BLOCK, int(self._arrays["sizes"][index])

    def paths(self, first: int = 0, last: int | None = None) -> Iterator[str]:
        """Yields the paths of images `first` to `last`, to the end if None."""
        last = len(self) if last is None else last
        for group, folder in enumerate(self._folders):
            end = int(self._starts[group + 1]) if group + 1 < len(self._folders) else len(self)
            for index in range(max(first, int(self._starts[group])), min(last, end)):
                yield f"{folder}/{self._name(index)}" if folder else self._name(index)

    def save(self, path: str) -> None:
        """Writes the file whole or not at all. Raises OSError."""
        facts, offset = {"format": FORMAT, "facts": dict(self.facts), "arrays": {}}, 0
        for name, array in self._arrays.items():
            facts["arrays"][name] = [array.dtype.str, len(array), offset]
            offset += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        head = json.dumps(facts).encode() + b"\n"
        head += b"\n" * (-len(head) % ALIGNMENT)
        part = f"{path}.{os.getpid()}.part"
        try:
            with open(part, "wb") as file:
                file.write(head)
                for array in self._arrays.values():
                    array.tofile(file)
                    file.write(bytes(-array.nbytes % ALIGNMENT))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.unlink(part)


def pack(
    groups: Sequence[Group],
    labels: Int32[np.ndarray, " L"],
    labels_of: Literal["group", "image"],
    facts: Mapping[str, Json],
) -> Index:
    """Makes an index of groups of images.

    Args:
      groups: in the order of the images.
      labels: as `images.Images` reads them.
      labels_of: what each label belongs to.
      facts: what else to keep.
    """
    counts = np.array([len(group.names) for group in groups], np.int64)
    ends = np.cumsum(np.fromiter((len(name) for group in groups for name in group.names), np.int64, counts.sum()))
    arrays = {
        "starts": np.cumsum(counts) - counts,
        "labels": labels,
        "ends": ends.astype(np.uint32 if ends.max(initial=0) <= LARGEST else np.uint64),
        "names": np.frombuffer(b"".join(name for group in groups for name in group.names), np.uint8),
    }
    for name in ("blocks", "sizes"):
        columns = [getattr(group, name) for group in groups if group.archive]
        if columns:
            arrays[name] = np.concatenate(columns)
    folders, archives = [group.folder for group in groups], [group.archive for group in groups]
    index = Index(arrays, {**facts, "folders": folders, "archives": archives, "labels": labels_of})
    return Index(arrays, {**index.facts, "files": names_fingerprint(index.paths())})


def label_by_folder(paths: Sequence[str]) -> tuple[Int32[np.ndarray, " N"], list[str]]:
    """Labels paths by their first folder.

    Args:
      paths: N of them.

    Returns:
      Class ids [N] and sorted class names; -1 and no names if a path has no folder, or all have the same.

    Example:
      >>> label_by_folder(["cat/1.jpg", "dog/2.jpg", "cat/3.jpg"])
      (array([0, 1, 0], dtype=int32), ['cat', 'dog'])
    """
    folders = [path.partition("/")[0] if "/" in path else "" for path in paths]
    classes = sorted(set(folders))
    if "" in classes or len(classes) < 2:
        return np.full(len(paths), -1, np.int32), []
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[folder] for folder in folders], np.int32), classes


def load(path: str) -> Index:
    """Maps an index file into memory.

    Raises:
      UserError: it is not one, or is truncated.
    """
    try:
        with open(path, "rb") as file:
            line = file.readline()
        head = json.loads(line)
        if head["format"] != FORMAT:
            raise ValueError(f"format {head['format']!r}, expected {FORMAT!r}")
        begin = -(-len(line) // ALIGNMENT) * ALIGNMENT
        mapped = np.asarray(np.memmap(path, np.uint8, "r", begin))
        arrays = {}
        for name, (dtype, length, offset) in head["arrays"].items():
            size = length * np.dtype(dtype).itemsize
            if offset + size > len(mapped):
                raise ValueError("truncated")
            arrays[name] = mapped[offset : offset + size].view(dtype)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a readable index ({error}); delete it, and it is made again") from error
    return Index(arrays, head["facts"], path)
