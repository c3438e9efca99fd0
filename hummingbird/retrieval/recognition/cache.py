"""Features of images in memory or on disk, where encoding resumes.

A cache is a folder with a subfolder for each identity: encoder, images, and how they are prepared and pooled. It holds

    features.json   the identity, and how many rows are done; checksums once all are
    units.npy, norms.npy, labels.npy, done.npy     columns of all rows, memory-mapped
"""

from __future__ import annotations

import hashlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.checksums import checksum, damaged
from hummingbird.retrieval.processes import own_part
from hummingbird.retrieval.recognition.embed import Batch, Embedded
from hummingbird.run import locks
from hummingbird.run.files import Json, write_json

log = logging.getLogger(__name__)

MANIFEST = "features.json"
COLUMNS = ("units", "norms", "labels")
COMMIT = 64  # batches between commits
Identity = Mapping[str, Json]
Encode = Callable[[Sequence[int]], Iterator[Batch]]


def in_memory(length: int, encode: Encode) -> Embedded | None:
    """Encodes this process's part of the images into memory; None if it has none, as where there are few images."""
    rows = own_part(range(length))
    whole: Embedded | None = None
    for batch in encode(rows):
        if whole is None:
            dim = batch.embedded.units.shape[1]
            whole = Embedded(
                np.zeros((len(rows), dim), np.float32), np.zeros(len(rows), np.float32), np.zeros(len(rows), np.int32)
            )
        write(whole, np.asarray(batch.rows) - rows[0], batch.embedded)
    return whole


def write(columns: Embedded, rows: np.ndarray, values: Embedded) -> None:
    """Writes the features of some rows."""
    for column, value in zip(columns, values, strict=True):
        column[rows] = value


def cached(root: str, length: int, identity: Identity, encode: Encode) -> Embedded | None:
    """Returns this process's part of the features from a cache; encodes and stores what is missing.

    Args:
      root: folder of the cache.
      length: images of all processes.
      identity: all that the features depend on.
      encode: encodes images by number.

    Raises:
      UserError: the folder cannot be written, or no longer holds what was stored.
    """
    rows = own_part(range(length))
    if not rows:
        return None
    identity = {**identity, "rows": [rows[0], rows[-1] + 1]}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = pathlib.Path(root) / digest
    try:
        with locks.hold(folder / ".lock", f"images.cache={root}: another process encodes these images", "", wait=True):
            return fill(folder, rows, identity, encode)
    except OSError as error:
        raise UserError(f"config key images.cache: {root} cannot be written ({error.strerror or error})") from error


def fill(folder: pathlib.Path, rows: Sequence[int], identity: Identity, encode: Encode) -> Embedded:
    """Returns the features in a folder; encodes those that are missing. The caller holds the folder's lock."""
    manifest = read(folder, identity)
    if "sha256" in manifest:
        wrong = damaged(folder, {f"{name}.npy": digest for name, digest in manifest["sha256"].items()})
        if wrong:
            raise UserError(f"config key images.cache: {folder / wrong} is damaged; delete {folder}")
        log.info("features of %d images from %s", len(rows), folder)
        return Embedded(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS))
    done = np.load(folder / "done.npy") if manifest else np.zeros(len(rows), bool)
    columns = Embedded(*(np.load(folder / f"{name}.npy", mmap_mode="r+") for name in COLUMNS)) if manifest else None
    left = [row for row in rows if not done[row - rows[0]]]
    for number, batch in enumerate(encode(left), 1):
        columns = columns or create(folder, len(rows), batch.embedded)
        own = np.asarray(batch.rows) - rows[0]
        write(columns, own, batch.embedded)
        done[own] = True
        if number % COMMIT == 0:
            commit(folder, columns, done, identity)
    assert columns is not None, "an empty set is refused before"
    commit(folder, columns, done, identity)
    sums = {name: checksum(folder / f"{name}.npy") for name in COLUMNS}
    write_json(folder / MANIFEST, {"identity": identity, "done": len(rows), "sha256": sums})
    return columns


def read(folder: pathlib.Path, identity: Identity) -> dict:
    """Returns what is known about the features in a folder; {} for none."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"config key images.cache: {folder / MANIFEST} is damaged ({error}); delete {folder}"
        ) from error
    if found.get("identity") != json.loads(json.dumps(identity)):
        raise UserError(f"config key images.cache: {folder} holds features of something else; delete it")
    return found


def create(folder: pathlib.Path, length: int, like: Embedded) -> Embedded:
    """Creates the columns' files."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: (length, *column.shape[1:]) for name, column in zip(COLUMNS, like, strict=True)}
    made = [
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", column.dtype, shapes[name])
        for name, column in zip(COLUMNS, like, strict=True)
    ]
    return Embedded(*made)


def commit(folder: pathlib.Path, columns: Embedded, done: np.ndarray, identity: Identity) -> None:
    """Writes what is done; a run that is killed later begins after it."""
    for column in columns:
        column.flush() if isinstance(column, np.memmap) else None
    np.save(folder / "done.npy", done)
    write_json(folder / MANIFEST, {"identity": identity, "done": int(done.sum())})
