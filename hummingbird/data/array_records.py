"""Images in ArrayRecord shards, read by Grain's own data source; `array_record_files` writes them.

A folder holds `images-00000-of-00157.arrayrecord`, ... and `dataset.json`, which is written last: it lists the shards
with their records, bytes and checksums, and keeps the fingerprint of the images, so that a run may continue on them. A
record is the label (int32) and the length of the name (uint32), little-endian, the name in UTF-8 and the encoded image.
"""

from __future__ import annotations

import json
import os
import struct
from typing import NamedTuple

import grain

from hummingbird.data.fetch import fetch, is_remote
from hummingbird.data.interface import ImageItem, Unreadable
from hummingbird.data.names import split_parts, take
from hummingbird.data.store import open_path
from hummingbird.errors import UserError, first_line

MANIFEST = "dataset.json"
FORMAT = "hummingbird-arrayrecord-1"
HEAD = struct.Struct("<iI")


class Shard(NamedTuple):
    """A finished shard.

    Attributes:
      file: its name.
      records: images in it.
      bytes: its size.
      sha256: of its content.
    """

    file: str
    records: int
    bytes: int
    sha256: str


def is_one(root: str) -> bool:
    """Returns whether a folder holds converted images."""
    return bool(root) and (open_path(root) / MANIFEST).exists()


def encode(label: int, name: str, image: bytes) -> bytes:
    """Makes a record.

    Example:
      >>> decode(encode(3, "cat.jpg", b"pixels"))
      (3, 'cat.jpg', b'pixels')
    """
    encoded = name.encode("utf-8", "surrogateescape")
    return HEAD.pack(label, len(encoded)) + encoded + image


def decode(record: bytes) -> tuple[int, str, bytes]:
    """Returns (label, name, image) of a record."""
    label, length = HEAD.unpack_from(record)
    start = HEAD.size + length
    return label, record[HEAD.size : start].decode("utf-8", "surrogateescape"), record[start:]


class ArrayRecordImages:
    """An image source over converted images.

    Attributes:
      classes: class names by id; empty if there are none.
      remote: whether reading an image is a request to a bucket.
    """

    def __init__(self, root: str, split: str = ""):
        """Opens the shards under `root`; `split` may be a slice: "[:10%]".

        Raises:
          UserError: dataset.json is not of this format, or the split has a name.
        """
        self._root = os.fspath(open_path(root))
        try:
            found = json.loads(fetch(f"{self._root}/{MANIFEST}"))
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}, expected {FORMAT!r}")
            shards = [Shard(**shard) for shard in found["shards"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{root}/{MANIFEST} is not a list of ArrayRecord shards: {first_line(error)}") from error
        name, part = split_parts(split)
        if name and name != "train":
            raise UserError(f"config key data.split: {root} holds one split; use a slice of it, such as [:10%]")
        # A shard that is named with its length need not be opened to be counted.
        paths = [f"{self._root}/{shard.file}[0:{shard.records}]" for shard in shards]
        self._records = grain.sources.ArrayRecordDataSource(paths)
        chosen = take(range(sum(shard.records for shard in shards)), part, split)
        self._first, self._length = chosen[0], len(chosen)
        self.classes: list[str] = found["classes"]
        self.remote = is_remote(root)
        self.fingerprint: str = found["fingerprint"] + (f" [{part}]" if part else "")

    def __len__(self) -> int:
        return self._length

    def name(self, index: int) -> str:
        """Returns what to call image `index` in messages, without reading it."""
        return f"{self._root} image {self._first + index}"

    def __getitem__(self, index: int) -> ImageItem:
        try:
            label, _, image = decode(self._records[self._first + index])
        except Exception as error:  # the reader's own types
            raise Unreadable(f"{self.name(index)} cannot be read: {first_line(error)}") from error
        return {"image": image, "label": label}
