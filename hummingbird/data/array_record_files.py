"""Writes the images of a source as ArrayRecord shards: each appears whole, and an interrupted conversion continues."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence

from array_record.python.array_record_module import ArrayRecordWriter

from hummingbird.data.array_records import FORMAT, MANIFEST, Shard, encode
from hummingbird.data.feed import cores
from hummingbird.data.fetch import fetch, filesystem, is_remote, size_of
from hummingbird.data.interface import ImageSource, image_name
from hummingbird.data.store import open_path
from hummingbird.errors import UserError, first_line
from hummingbird.run.files import write_json, write_text
from hummingbird.run.progress import show_progress

PROGRESS = "progress.jsonl"
RECORDS = 8192  # of a shard: about 1 GB of ImageNet's photographs
OPTIONS = "group_size:1,uncompressed"  # records are read one by one, and JPEGs do not compress


def write(source: ImageSource, out: str, records: int = RECORDS) -> int:
    """Writes the images of a source as shards; of finished shards the checksums are verified instead.

    Args:
      source: encoded images.
      out: folder, local or in a bucket.
      records: images of a shard.

    Returns:
      The number of shards.

    Raises:
      UserError: `out` holds other images, or cannot be written; an image cannot be read; a shard is damaged.
    """
    path = open_path(out, "--out")
    folder, count = os.fspath(path), -(-len(source) // records)
    what = {"format": FORMAT, "fingerprint": source.fingerprint, "images": len(source), "records": records}
    if (path / MANIFEST).exists():
        existing = json.loads((path / MANIFEST).read_text())
        if any(existing.get(key) != value for key, value in what.items()):
            raise UserError(f"--out={out} holds other images; use another folder")
        _verify(folder, [Shard(**shard) for shard in existing["shards"]])
        return count
    try:
        path.mkdir(parents=True, exist_ok=True)
        progress = Progress(folder, what)
        _write_missing(source, folder, records, progress)
        shards = [progress.done[i]._asdict() for i in range(count)]
        write_json(path / MANIFEST, {**what, "classes": list(getattr(source, "classes", [])), "shards": shards})
        (path / PROGRESS).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror or first_line(error)}") from error
    return count


class Progress:
    """The finished shards of a conversion, one line each in a file.

    Attributes:
      done: finished shards by number.
    """

    def __init__(self, folder: str, what: Mapping[str, str | int]):
        """Reads what an earlier start has finished; UserError if it converted other images."""
        self._path, self._lines = f"{folder}/{PROGRESS}", [json.dumps(what)]
        self.done: dict[int, Shard] = {}
        try:
            first, *rest = fetch(self._path).decode().splitlines()
        except FileNotFoundError:
            return
        if json.loads(first) != what:
            raise UserError(f"{folder} holds a part of other images; use another folder, or delete this one")
        for line in rest:
            number, shard = json.loads(line)
            if _size(f"{folder}/{shard['file']}") == shard["bytes"]:
                self._note(number, Shard(**shard))

    def add(self, number: int, shard: Shard) -> None:
        """Notes that a shard is in its place."""
        self._note(number, shard)
        write_text(self._path, "".join(f"{line}\n" for line in self._lines))

    def _note(self, number: int, shard: Shard) -> None:
        self.done[number] = shard
        self._lines.append(json.dumps([number, shard._asdict()]))


def _write_missing(source: ImageSource, folder: str, records: int, progress: Progress) -> None:
    """Writes the shards that are not done, several at a time, first beside their place."""
    count = -(-len(source) // records)
    numbers = lambda i: range(len(source))[i * records : (i + 1) * records]
    with (
        tempfile.TemporaryDirectory(dir=None if is_remote(folder) else folder, prefix=".part-") as part,
        concurrent.futures.ThreadPoolExecutor(cores()) as pool,
    ):
        waiting = {
            pool.submit(_write_shard, source, numbers(i), f"{part}/images-{i:05d}-of-{count:05d}.arrayrecord"): i
            for i in range(count)
            if i not in progress.done
        }

        def keep(future: concurrent.futures.Future[Shard]) -> None:
            shard = future.result()
            _move(f"{part}/{shard.file}", f"{folder}/{shard.file}")
            progress.add(waiting[future], shard)

        try:
            with show_progress("writing", len(waiting), "shards", True) as advance:
                for future in concurrent.futures.as_completed(waiting):
                    keep(future)
                    advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            for future, number in waiting.items():  # those that end while the others stop
                if number not in progress.done and not future.cancelled() and future.exception() is None:
                    keep(future)
            raise


def _write_shard(source: ImageSource, numbers: Sequence[int], path: str) -> Shard:
    """Writes images `numbers` of the source as a shard."""
    writer = ArrayRecordWriter(path, OPTIONS)
    for number in numbers:
        item = source[number]
        image = item["image"]
        if not isinstance(image, bytes):
            raise UserError("--convert: these images are not files, so there is nothing to convert")
        writer.write(encode(item["label"], image_name(source, number), image))
    writer.close()
    return Shard(os.path.basename(path), len(numbers), os.path.getsize(path), _checksum(path))


def _checksum(path: str) -> str:
    if is_remote(path):
        return hashlib.sha256(fetch(path)).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(folder: str, shards: Sequence[Shard]) -> None:
    """Compares finished shards with their checksums; UserError names one that differs."""
    with show_progress("verifying", len(shards), "shards", True) as advance:
        for shard in shards:
            path = f"{folder}/{shard.file}"
            if _size(path) != shard.bytes or _checksum(path) != shard.sha256:
                raise UserError(f"{path} differs from its checksum; delete it and {MANIFEST}, and convert again")
            advance()


def _size(path: str) -> int:
    try:
        return size_of(path)
    except OSError:
        return -1


def _move(source: str, target: str) -> None:
    if is_remote(target):
        filesystem(target).put_file(source, target)
        os.unlink(source)
    else:
        os.replace(source, target)
