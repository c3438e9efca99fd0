"""Builds ScaNN indexes, and keeps them in a bank's folder: written once under a lock, verified when found again.

Keys beyond 2 GiB are indexed in shards without ScaNN's own copy of them; `scann.ScannIndex` re-scores the candidates of
all shards from the bank's keys, so that memory stays near the size of the bank.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import os
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypedDict

import numpy as np

from hummingbird.errors import UserError, first_line
from hummingbird.retrieval.bank.writing import FULL, lock
from hummingbird.retrieval.checksums import checksum, damaged
from hummingbird.retrieval.index import quantise, scann_files
from hummingbird.retrieval.index.exact import ExactIndex
from hummingbird.retrieval.index.interface import Index, Keys
from hummingbird.retrieval.index.scann import ScannIndex, find_scann
from hummingbird.retrieval.index.settings import ScannSettings
from hummingbird.run.files import Json, write_json

SHARD_BYTES = 2 * 2**30  # of float32 keys in one searcher
MANIFEST = "index.json"
INDEX_VERSION = 2  # to be raised with every change of what is trained or written
SEARCH_SETTINGS = ("leaves_to_search", "reorder")  # given to each search
CHECK_LEAVES, CHECK_REORDER = 32, 2000  # how widely an index is searched for its own keys, at least
TOLERANCE = 0.02  # of cosines between keys rounded to bfloat16


class Manifest(TypedDict):
    """Content of index.json.

    Attributes:
      starts: number of the first key of each shard, followed by the number of keys.
      files: SHA-256 of each file of a kept index.
    """

    starts: list[int]
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


def build_scann(keys: Keys, settings: ScannSettings, folder: str | None = None, progress: bool = False) -> Index:
    """Builds a tree-AH index (Table 6), or an exact one, with a warning, where that is impossible.

    Args:
      keys: L2-normalised, finite.
      settings: of the tree, the codes and the search.
      folder: keeps the index and finds it again, also under other settings of the search; made if missing; None: not
        kept.
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
    writers = tuple(WRITERS)
    if folder and (kept_path(folder, settings, "scann") / MANIFEST).is_file():
        writers = ("scann",)  # the other one has failed with this bank
    for writer, following in zip(writers, [*writers[1:], "searching exactly"], strict=True):
        index, problem = open_checked(keys, settings, folder, progress, writer)
        if index is not None:
            return index
        text = f"{following} instead" if following != "scann" else "ScaNN builds it by itself instead"
        warnings.warn(f"index: written by {writer!r}, {problem}; {text}", stacklevel=2)
    return ExactIndex(keys)


def open_checked(
    keys: Keys, settings: ScannSettings, folder: str | None, progress: bool, writer: str
) -> tuple[ScannIndex | None, str]:
    """Builds or finds an index; returns it, or None and what is wrong with it. Arguments as in `build_scann`."""
    path = writable_path(folder, settings, writer) if folder else None
    try:
        if path is not None:
            index = load_index(keep_index(path, keys, settings, progress, writer), keys, settings)
        else:
            with tempfile.TemporaryDirectory(prefix="hummingbird-index-") as scratch:
                write_index(pathlib.Path(scratch), keys, settings, progress, writer=writer)
                index = load_index(pathlib.Path(scratch), keys, settings)
        problem = check_index(index, keys, settings)
    except UserError:
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = f"{tempfile.gettempdir()} is full; make room, or set TMPDIR to a folder with room for the keys"
        place = f"the disk of retrieval.bank={folder} is full; make room and run the same command" if path else place
        raise UserError(f"index: {place}") from error
    except Exception as error:  # ScaNN raises exceptions of any type if it cannot read a file
        problem = f"it cannot be loaded ({type(error).__name__}: {first_line(error)})"
    if not problem:
        return index, ""
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)
    return None, problem


def check_index(index: ScannIndex, keys: Keys, settings: ScannSettings, count: int = 64) -> str:
    """Searches for some of an index's own keys, widely; returns what is wrong, or "".

    Codes are approximate, so a few keys of a long bank may not be found; of a misread file, hardly any is found. A key
    that finds another one as near as itself has found a copy.
    """
    wide = dataclasses.replace(
        settings,
        leaves_to_search=min(settings.leaves, max(settings.leaves_to_search, CHECK_LEAVES)),
        reorder=max(settings.reorder, CHECK_REORDER),
    )
    rows = np.unique(np.linspace(0, len(keys) - 1, count).astype(int))
    queries = keys[rows].astype(np.float32)
    ids, similarity = (found[:, 0] for found in index.retuned(wide).search(queries, 1))
    true = np.einsum("qd,qd->q", queries, keys[np.maximum(ids, 0)].astype(np.float32))
    missed = (ids < 0) | (true < 1 - TOLERANCE)
    if 4 * missed.sum() > len(rows):
        return f"it does not find {int(missed.sum())} of {len(rows)} of its own keys"
    wrong = (ids >= 0) & (np.abs(true - similarity) > TOLERANCE)
    return f"its similarities are wrong for {int(wrong.sum())} of {len(rows)} of its own keys" if wrong.any() else ""


# ---------------------------------------------------------------- kept on disk
def trained_settings(settings: ScannSettings) -> dict[str, int | float | bool]:
    """Returns the settings that tree and codes depend on; the others are given to each search."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in SEARCH_SETTINGS}


def kept_path(folder: str, settings: ScannSettings, writer: str = "hummingbird") -> pathlib.Path:
    """Returns where an index is kept: by what it was trained with, who wrote it, and ScaNN's version."""
    trained = {**trained_settings(settings), "writer": writer, "version": INDEX_VERSION, "scann": scann_version()}
    digest = hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()[:12]
    return pathlib.Path(folder) / f"index-scann-{digest}"


def scann_version() -> str:
    """Returns the version of the installed ScaNN."""
    try:
        return importlib.metadata.version("scann")
    except importlib.metadata.PackageNotFoundError:  # a checkout on the path
        return "unknown"


def writable_path(folder: str, settings: ScannSettings, writer: str) -> pathlib.Path | None:
    """Returns `kept_path` if an index is there or can be; None, with a warning, if the folder cannot be written."""
    path = kept_path(folder, settings, writer)
    if (path / MANIFEST).is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path.parent, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        warnings.warn(f"index: {folder} cannot be written, the index is not kept", stacklevel=4)
    return path if writable else None


def keep_index(
    path: pathlib.Path, keys: Keys, settings: ScannSettings, progress: bool, writer: str = "hummingbird"
) -> pathlib.Path:
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
            write_index(part, keys, settings, progress, checksums=True, writer=writer)
        except Exception:
            shutil.rmtree(part, ignore_errors=True)  # a full disk needs the room
            raise
        os.replace(part, path)  # either whole or not there
    return path


def verified(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a kept index; UserError if one of its files is damaged."""
    if bad := damaged(path, {**read_manifest(path)["files"]}):
        raise UserError(f"{path / bad} is missing or does not match its checksum; delete {path}")
    return path


class Plan(NamedTuple):
    """How the searchers of an index are written.

    Attributes:
      keys: of the whole index.
      settings: of tree and codes.
      rescore: whether the searchers hold their keys.
      progress: show progress bars.
    """

    keys: Keys
    settings: ScannSettings
    rescore: bool
    progress: bool


Writer = Callable[[pathlib.Path, Keys, str], None]  # an empty folder, the keys of a shard, "number/shards"


def own_writer(plan: Plan) -> Writer:
    """Trains tree and codes on a sample, and writes ScaNN's files by hand."""
    quantiser = train(plan.keys, plan.settings)

    def write(folder: pathlib.Path, keys: Keys, number: str) -> None:
        text = f"index {number}" if plan.progress else ""
        scann_files.write_shard(folder, keys, quantiser, plan.settings, plan.rescore, text)

    return write


def native_writer(plan: Plan) -> Writer:
    """Lets ScaNN train each shard and write its files."""
    return lambda folder, keys, number: scann_files.write_native(folder, keys, plan.settings, plan.rescore)


def autopilot_writer(plan: Plan) -> Writer:
    """Lets ScaNN choose tree and codes of each shard too."""
    return lambda folder, keys, number: scann_files.write_autopilot(folder, keys)


# Who writes the files, in the order in which they are tried.
WRITERS: dict[str, Callable[[Plan], Writer]] = {"hummingbird": own_writer, "scann": native_writer}


def write_index(
    path: pathlib.Path,
    keys: Keys,
    settings: ScannSettings,
    progress: bool = False,
    checksums: bool = False,
    writer: str = "hummingbird",
) -> None:
    """Trains, encodes and writes one searcher per shard into an empty folder, for `load_index`.

    Args:
      path: the folder.
      keys: L2-normalised, finite.
      settings: of tree and codes.
      progress: show progress bars.
      checksums: add those of the files.
      writer: key of `WRITERS`.
    """
    shards = count_shards(*keys.shape)
    starts = np.linspace(0, len(keys), shards + 1).astype(int).tolist()
    make = autopilot_writer if settings.autopilot else WRITERS[writer]
    write = make(Plan(keys, settings, shards == 1, progress))
    for number, (first, last) in enumerate(itertools.pairwise(starts)):
        folder = path / f"shard{number}"
        folder.mkdir()
        write(folder, keys[first:last], f"{number + 1}/{shards}")
    files = {str(p.relative_to(path)): checksum(p) for p in sorted(path.rglob("*")) if checksums and p.is_file()}
    made: dict[str, Json] = {"writer": writer, "version": INDEX_VERSION, "scann": scann_version()}
    write_json(path / MANIFEST, {"starts": starts, "settings": trained_settings(settings), **made, "files": files})


def train(keys: Keys, settings: ScannSettings) -> quantise.Quantiser:
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
        return {"starts": manifest["starts"], "files": manifest["files"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path / MANIFEST} cannot be read ({error}); delete {path}") from error


def load_index(path: pathlib.Path, keys: Keys, settings: ScannSettings) -> ScannIndex:
    """Loads the index over `keys` that `write_index` wrote; UserError if it was written for another bank."""
    starts = read_manifest(path)["starts"]
    if starts[-1] != len(keys):
        raise UserError(f"{path} is an index of {starts[-1]} keys, the bank has {len(keys)}; delete it")
    searchers = [scann_files.load_searcher(path / f"shard{number}") for number in range(len(starts) - 1)]
    return ScannIndex(searchers, starts, keys, settings)
