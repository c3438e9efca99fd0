"""Builds ScaNN indexes, and keeps them in a bank's folder: written once under a lock, verified when found again.

Keys beyond 2 GiB are indexed in shards without ScaNN's own copy of them; `scann.ScannIndex` re-scores the candidates of
all shards from the bank's keys, so that memory stays near the size of the bank.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import tempfile
import warnings
from typing import TypedDict

import numpy as np

from hummingbird.config.evaluate import Scann
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.files import checksum
from hummingbird.retrieval.bank.writing import FULL, lock
from hummingbird.retrieval.index import quantise, scann_files
from hummingbird.retrieval.index.exact import ExactIndex
from hummingbird.retrieval.index.interface import Index, Keys
from hummingbird.retrieval.index.scann import ScannIndex, find_scann
from hummingbird.run.files import write_json

SHARD_BYTES = 2 * 2**30  # of float32 keys in one searcher
MANIFEST = "index.json"


class Manifest(TypedDict):
    """Content of index.json.

    Attributes:
      starts: number of the first key of each shard, followed by the number of keys.
      reorder: candidates to re-score exactly.
      files: SHA-256 of each file of a kept index.
    """

    starts: list[int]
    reorder: int
    files: dict[str, str]


def count_shards(length: int, dim: int) -> int:
    """Returns the number of shards of a bank; a single one holds its own copy of the keys."""
    return max(1, -(-4 * length * dim // SHARD_BYTES))


def scann_bytes(length: int, dim: int, itemsize: int, dimensions_per_block: int) -> int:
    """Estimates the bytes of an index in addition to the keys; see `build.index_bytes`.

    A code is half a byte per block; while a shard is loaded, its codes are in memory once more, one byte each.
    """
    shards, blocks = count_shards(length, dim), -(-dim // dimensions_per_block)
    keys = length * dim * itemsize if shards == 1 else 0
    return keys + length * (blocks // 2 + 4) + length // shards * blocks


def build_scann(keys: Keys, settings: Scann, folder: str | None = None, progress: bool = False) -> Index:
    """Builds a tree-AH index (Table 6), or an exact one, with a warning, where that is impossible.

    Args:
      keys: L2-normalised, finite.
      settings: of the tree, the codes and the search.
      folder: keeps the index and finds it again; made if missing; None: not kept.
      progress: show a progress bar.

    Raises:
      UserError: a kept index is damaged or belongs to another bank, or the disk is full.
    """
    problem = find_scann().problem
    if len(keys) < settings.leaves:
        problem = problem or f"{len(keys)} keys are fewer than {settings.leaves} leaves"
    if problem:
        warnings.warn(f"index: {problem}, searching exactly instead", stacklevel=2)
        return ExactIndex(keys)
    path = kept_path(folder, settings) if folder else None
    try:
        if path is not None:
            return load_index(keep_index(path, keys, settings, progress), keys)
        with tempfile.TemporaryDirectory(prefix="hummingbird-index-") as scratch:
            write_index(pathlib.Path(scratch), keys, settings, progress)
            return load_index(pathlib.Path(scratch), keys)
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = f"{tempfile.gettempdir()} is full; make room, or set TMPDIR to a folder with room for the keys"
        place = f"the disk of retrieval.bank={folder} is full; make room and run the same command" if path else place
        raise UserError(f"index: {place}") from error


# ---------------------------------------------------------------- kept on disk
def kept_path(folder: str, settings: Scann) -> pathlib.Path | None:
    """Returns where the index with these settings is kept; None, with a warning, if the folder cannot be written."""
    parent = pathlib.Path(folder)
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(settings), sort_keys=True).encode()).hexdigest()[:12]
    path = parent / f"index-scann-{digest}"
    if (path / MANIFEST).is_file():
        return path
    try:
        parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        warnings.warn(f"index: {folder} cannot be written, the index is not kept", stacklevel=3)
    return path if writable else None


def keep_index(path: pathlib.Path, keys: Keys, settings: Scann, progress: bool) -> pathlib.Path:
    """Returns the folder of a kept index, built under a lock if it is not there yet; another command waits for it."""
    if (path / MANIFEST).is_file():
        return verified(path)
    with lock(path.parent, wait=True):
        if (path / MANIFEST).is_file():
            return verified(path)
        part = path.with_name(path.name + ".part")
        for old in (part, path):  # interrupted or damaged
            shutil.rmtree(old, ignore_errors=True)
        part.mkdir()
        try:
            write_index(part, keys, settings, progress, checksums=True)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)  # a full disk needs the room
            raise
        os.replace(part, path)  # either whole or not there
    return path


def verified(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a kept index; UserError if one of its files is damaged."""
    for name, expected in read_manifest(path)["files"].items():
        if not (path / name).is_file() or checksum(path / name) != expected:
            raise UserError(f"{path / name}: is missing or does not match its checksum; delete {path}")
    return path


def write_index(
    path: pathlib.Path, keys: Keys, settings: Scann, progress: bool = False, checksums: bool = False
) -> None:
    """Trains, encodes and writes one searcher per shard into an empty folder, for `load_index`."""
    shards = count_shards(*keys.shape)
    starts = np.linspace(0, len(keys), shards + 1).astype(int).tolist()
    quantiser = None if settings.autopilot else train(keys, settings)
    for number, (first, last) in enumerate(itertools.pairwise(starts)):
        folder = path / f"shard{number}"
        folder.mkdir()
        if quantiser is None:
            scann_files.write_autopilot(folder, keys[first:last])
        else:
            text = f"index {number + 1}/{shards}" if progress else ""
            scann_files.write_shard(folder, keys[first:last], quantiser, settings, shards == 1, text)
    files = {str(p.relative_to(path)): checksum(p) for p in sorted(path.rglob("*")) if checksums and p.is_file()}
    content = {"starts": starts, "reorder": settings.reorder, "settings": dataclasses.asdict(settings), "files": files}
    write_json(path / MANIFEST, content)


def train(keys: Keys, settings: Scann) -> quantise.Quantiser:
    """Trains tree and codes on a random sample of the keys, always the same one."""
    rng = np.random.default_rng(0)
    size = min(len(keys), max(settings.training_sample, settings.leaves))
    rows = np.sort(rng.choice(len(keys), size, replace=False))  # in the order of the file
    sample = keys[rows].astype(np.float32)[rng.permutation(size)]
    return quantise.train(sample, settings.leaves, settings.dimensions_per_block, settings.anisotropic_threshold)


def read_manifest(path: pathlib.Path) -> Manifest:
    """Reads index.json; UserError if it is damaged."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        return {"starts": manifest["starts"], "reorder": manifest["reorder"], "files": manifest["files"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path / MANIFEST}: cannot be read ({error}); delete {path}") from error


def load_index(path: pathlib.Path, keys: Keys) -> ScannIndex:
    """Loads the index over `keys` that `write_index` wrote; UserError if it was written for another bank."""
    manifest = read_manifest(path)
    starts = manifest["starts"]
    if starts[-1] != len(keys):
        raise UserError(f"{path}: is an index of {starts[-1]} keys, the bank has {len(keys)}; delete it")
    searchers = [scann_files.load_searcher(path / f"shard{number}") for number in range(len(starts) - 1)]
    return ScannIndex(searchers, starts, manifest["reorder"], keys)
