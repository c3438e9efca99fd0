"""Memory banks on disk: built once, resumable, checksummed, memory-mapped, movable between machines.

    bank.json       what it is: identity (encoder, data, protocol), columns with type, shape and checksum; written last
    COLUMN.bin      raw little-endian values: keys, image, epoch, patch, label_*
    building.json   only while it is being built: the same identity and how far it is
    index-*/        serialised indexes over the keys

The identity holds all that the content depends on. A bank is used for that identity or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import pathlib
import shutil
import time
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.memory import MemoryBank, bank_columns, bank_from_columns

MANIFEST, BUILDING = "bank.json", "building.json"
COMMIT_SECONDS = 10.0
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("float32", "int32", "uint8", "uint16", "uint32")} | {
    "bfloat16": np.dtype(ml_dtypes.bfloat16)
}


class FileColumns:
    """Columns of a bank under construction, appended to files; see `memory.Columns`.

    What is committed survives a killed process: opening the folder again goes on from the last commit.

    Args:
      folder: the bank's folder.
      identity: what the bank is made from; a folder with another identity is refused.
    """

    def __init__(self, folder: pathlib.Path, identity: dict[str, Any]):
        self.folder, self.identity = folder, identity
        self.columns: dict[str, dict[str, Any]] = {}
        self.done = self.length = 0
        self._files: dict[str, BinaryIO] = {}
        self._last = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / BUILDING).exists():
            state = json.loads((folder / BUILDING).read_text())
            check_identity(state["identity"], identity, folder)
            self.columns, self.done, self.length = state["columns"], state["done"], state["length"]
            for name, column in self.columns.items():
                with open(self._path(name), "r+b") as file:
                    file.truncate(column["bytes"])

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.bin"

    def append(self, name: str, values: np.ndarray) -> None:
        column = self.columns.setdefault(name, {"dtype": str(values.dtype), "row": list(values.shape[1:]), "bytes": 0})
        if name not in self._files:
            self._files[name] = self._path(name).open("ab" if column["bytes"] else "wb")
        values = np.ascontiguousarray(values, DTYPES[column["dtype"]])
        try:
            self._files[name].write(values.view(np.uint8).data if values.size else b"")
        except OSError as error:
            self._full(error)
        column["bytes"] += values.nbytes

    def commit(self, done: int, length: int, always: bool = False) -> None:
        """Makes what was appended permanent, at most every ten seconds: `done` jobs gave `length` entries."""
        if not always and time.monotonic() - self._last < COMMIT_SECONDS:
            return
        self.done, self.length = done, length
        try:
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            state = {"identity": self.identity, "columns": self.columns, "done": done, "length": length}
            write_json(self.folder / BUILDING, state)
        except OSError as error:
            self._full(error)
        self._last = time.monotonic()

    def finish(self) -> dict[str, np.ndarray]:
        """Closes the bank: checksums, bank.json, and the columns memory-mapped."""
        self.commit(self.done, self.length, always=True)
        for file in self._files.values():
            file.close()
        entries = {name: {**column, "sha256": checksum(self._path(name))} for name, column in self.columns.items()}
        write_json(self.folder / MANIFEST, {"kind": "bank", "identity": self.identity, "columns": entries})
        (self.folder / BUILDING).unlink()
        return map_columns(self.folder, entries)

    def _full(self, error: OSError) -> None:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        raise UserError(
            f"retrieval.bank={self.folder}: the disk is full; make room and run the same command again, "
            f"it goes on after {self.done} encoded images"
        ) from error


# ---------------------------------------------------------------- finished banks
def save_bank(path: str, identity: dict[str, Any], bank: MemoryBank) -> None:
    """Writes a bank that was built in memory, in place of what is left of an unfinished one."""
    folder = pathlib.Path(path)
    (folder / BUILDING).unlink(missing_ok=True)
    columns = FileColumns(folder, identity)
    for name, values in bank_columns(bank).items():
        columns.append(name, values)
    columns.commit(len(bank), len(bank), always=True)
    columns.finish()


def is_bank(path: str) -> bool:
    """Whether the folder holds a finished bank."""
    return (pathlib.Path(path) / MANIFEST).is_file()


def load_bank(path: str, identity: dict[str, Any] | None = None, verify: bool = True) -> MemoryBank:
    """A finished bank, memory-mapped.

    Args:
      path: its folder.
      identity: what it must have been made from; None: anything.
      verify: compare the checksum of every column first (reads all of it once).

    Raises:
      UserError: no bank, another identity (the differing key is named), or a damaged file.
    """
    folder = pathlib.Path(path)
    manifest = read_manifest(folder)
    if identity is not None:
        check_identity(manifest["identity"], identity, folder)
    if verify:
        verify_bank(path)
    columns = map_columns(folder, manifest["columns"])
    return bank_from_columns(columns, manifest["identity"]["classes"])


def verify_bank(path: str) -> dict[str, Any]:
    """Compares size and checksum of every column; {"path", "bytes", "columns", "verified"}, or UserError."""
    folder = pathlib.Path(path)
    manifest = read_manifest(folder)
    for name, column in manifest["columns"].items():
        file = folder / f"{name}.bin"
        if not file.is_file() or file.stat().st_size != column["bytes"]:
            size = file.stat().st_size if file.is_file() else "no"
            raise UserError(f"{file}: has {size} bytes, expected {column['bytes']}; delete {folder} and build it again")
        if checksum(file) != column["sha256"]:
            raise UserError(f"{file}: does not match its checksum; delete {folder} and build it again")
    total = sum(column["bytes"] for column in manifest["columns"].values())
    return {"path": path, "bytes": total, "columns": list(manifest["columns"]), "verified": True}


def bank_info(path: str) -> dict[str, Any]:
    """{"kind": "bank", "length", "dim", "key_dtype", "bytes", "fingerprint", "config", "versions", ...} of a bank."""
    manifest = read_manifest(pathlib.Path(path))
    keys, identity = manifest["columns"]["keys"], manifest["identity"]
    dim = keys["row"][0]
    length = keys["bytes"] // (dim * DTYPES[keys["dtype"]].itemsize)
    digest = hashlib.sha256(json.dumps(manifest["columns"], sort_keys=True).encode()).hexdigest()[:16]
    return {
        "kind": "bank",
        "path": path,
        "step": None,
        "fingerprint": digest,
        "parameters": 0,
        "length": length,
        "dim": dim,
        "key_dtype": keys["dtype"],
        "bytes": sum(column["bytes"] for column in manifest["columns"].values()),
        "config": identity,
        "versions": identity["versions"],
        "indexes": sorted(p.name for p in pathlib.Path(path).glob("index-*")),
    }


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """bank.json; UserError if there is no finished bank."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for part, key in (("columns", "keys"), ("identity", "classes")):
            manifest[part][key]
    except FileNotFoundError:
        unfinished = " (an unfinished one: run the same command again to go on)" if (folder / BUILDING).exists() else ""
        raise UserError(
            f"{folder}: holds no memory bank{unfinished}; build one with `hummingbird bank build`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / MANIFEST}: cannot be read ({error}); delete the folder and build again") from error
    return manifest


def check_identity(found: dict[str, Any], wanted: dict[str, Any], folder: pathlib.Path) -> None:
    """UserError that names the first difference, unless a bank's identity is the wanted one."""
    for key in sorted(wanted):
        if key != "versions" and found.get(key) != wanted[key]:
            raise UserError(
                f"retrieval.bank={folder}: was built with {key}={found.get(key)!r}, this evaluation has "
                f"{wanted[key]!r}; give another folder or delete that one"
            )


def map_columns(folder: pathlib.Path, columns: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    """Read-only memory-mapped columns."""
    mapped = {}
    for name, column in columns.items():
        dtype = DTYPES[column["dtype"]]
        with open(folder / f"{name}.bin", "rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped[name] = np.frombuffer(buffer, dtype).reshape(-1, *column["row"])
    return mapped


def checksum(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_space(path: str, needed: int) -> None:
    """UserError unless the disk has `needed` bytes free."""
    folder = pathlib.Path(path)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"retrieval.bank={path}: the bank needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free; "
            "use another disk or lower retrieval.memory_length"
        )


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes JSON so that the file is either whole or not there."""
    part = path.with_name(path.name + ".part")
    with open(part, "w") as file:
        file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
