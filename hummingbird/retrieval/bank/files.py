"""Memory banks on disk: built once, resumable, checksummed, memory-mapped, movable between machines.

    bank.json       what it is: identity (encoder, data, protocol), columns with type, shape and checksum; written last
    COLUMN.bin      raw little-endian values: keys, image, epoch, patch, label_*
    building.json   only while it is being built: the same identity and how far it is
    index-*/        serialised indexes over the keys
    .lock           held by the command that writes

The identity holds all that the content depends on. A bank is used for that identity or not at all. Here they are read
and checked; `hummingbird.retrieval.bank.writing` makes them.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.memory import MemoryBank, bank_from_columns
from hummingbird.tasks import find_kind

MANIFEST, BUILDING = "bank.json", "building.json"
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("float32", "int32", "uint8", "uint16", "uint32")} | {
    "bfloat16": np.dtype(ml_dtypes.bfloat16)
}


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
    return bank_from_columns(columns, manifest["identity"]["task"], manifest["identity"]["channels"])


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
    if not (folder / MANIFEST).is_file():
        unfinished = " (an unfinished one: run the same command again to go on)" if (folder / BUILDING).exists() else ""
        raise UserError(f"{folder}: holds no memory bank{unfinished}; build one with `hummingbird bank build`")
    manifest = read_json(folder / MANIFEST, ("identity", "columns"))
    labels = find_kind(manifest["identity"]["task"]).columns
    whole = {name for name, column in manifest["columns"].items() if "sha256" in column}
    if missing := sorted({"keys", "image", "epoch", "patch", *labels} - whole):
        raise UserError(f"{folder / MANIFEST}: lacks {', '.join(missing)}; delete {folder} and build it again")
    return manifest


def read_json(path: pathlib.Path, keys: Sequence[str]) -> dict[str, Any]:
    """What bank.json or building.json says; UserError if it is damaged, lacks one of `keys`, or a column's form."""
    try:
        content = json.loads(path.read_text())
        if missing := [key for key in keys if key not in content]:
            raise KeyError(", ".join(missing))
        if not {"task", "channels", "versions"} <= content["identity"].keys():
            raise KeyError("identity")
        for name, column in content["columns"].items():
            if column["dtype"] not in DTYPES or column["bytes"] < 0 or not isinstance(column["row"], list):
                raise ValueError(f"column {name}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: cannot be read ({what}); delete {path.parent} and build it again") from error
    return content


def check_folder(folder: pathlib.Path, identity: dict[str, Any]) -> None:
    """UserError if the folder holds another bank than that of `identity`, finished or not."""
    for name in (MANIFEST, BUILDING):
        if (folder / name).exists():
            check_identity(read_json(folder / name, ("identity", "columns"))["identity"], identity, folder)


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
