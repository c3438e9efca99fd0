"""Memory banks on disk: built once, resumable, checksummed, memory-mapped, movable between machines.

    bank.json       identity (encoder, data, protocol), and type, shape and checksum of each column; written last
    COLUMN.bin      raw little-endian values: keys, image, epoch, patch, label_*
    building.json   only during construction: the same identity, and the progress
    index-*/        serialised indexes over the keys
    .lock           held by the command that writes

The identity holds everything that the content depends on: a bank serves evaluations of the same identity only. This
file reads and checks banks; `hummingbird.retrieval.bank.writing` writes them.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import pathlib
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypeAlias, TypedDict

import ml_dtypes
import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.patch_bank import COLUMNS, PatchBank
from hummingbird.retrieval.checksums import damaged
from hummingbird.run.files import Json
from hummingbird.tasks import FORMS
from hummingbird.tasks.task import Column

MANIFEST, BUILDING = "bank.json", "building.json"
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("float32", "int32", "uint8", "uint16", "uint32")} | {
    "bfloat16": np.dtype(ml_dtypes.bfloat16)
}
Identity: TypeAlias = Mapping[str, Json]


class StoredColumn(TypedDict):
    """A column's file.

    Attributes:
      dtype: a key of `DTYPES`.
      row: shape of a row.
      bytes: size of the file.
      sha256: checksum; only of finished columns.
    """

    dtype: str
    row: list[int]
    bytes: int
    sha256: NotRequired[str]


class Manifest(TypedDict):
    """What bank.json and building.json hold; the latter also how many jobs and entries are done."""

    identity: Identity
    columns: dict[str, StoredColumn]
    done: NotRequired[int]
    length: NotRequired[int]


def is_bank(path: str) -> bool:
    """Returns whether the folder holds a finished bank."""
    return (pathlib.Path(path) / MANIFEST).is_file()


def load_bank(path: str, identity: Identity | None = None, verify: bool = True) -> PatchBank:
    """Loads a finished bank, memory-mapped.

    Args:
      path: its folder.
      identity: what it must have been built from; None: anything.
      verify: compare the checksums of columns that have changed since they were verified last.

    Raises:
      UserError: no bank, another identity (the message names the first key that differs), or a damaged file.
    """
    folder = pathlib.Path(path)
    manifest = read_manifest(folder)
    if identity is not None:
        check_identity(manifest["identity"], identity, folder)
    if verify:
        check_columns(folder, manifest)
    return PatchBank.from_columns(map_columns(folder, manifest["columns"]), *label_form(manifest["identity"]))


def check_columns(folder: pathlib.Path, manifest: Manifest, always: bool = False) -> None:
    """Raises UserError if a column has not the size or the checksum that the manifest says; see `damaged`."""
    columns = manifest["columns"]
    for name, column in columns.items():
        file = folder / f"{name}.bin"
        if not file.is_file() or file.stat().st_size != column["bytes"]:
            size = file.stat().st_size if file.is_file() else "no"
            raise UserError(f"{file} has {size} bytes, expected {column['bytes']}; delete {folder} and build it again")
    bad = damaged(folder, {f"{name}.bin": column.get("sha256") for name, column in columns.items()}, always)
    if bad:
        raise UserError(f"{folder / bad} does not match its checksum; delete {folder} and build it again")


def verify_bank(path: str) -> dict[str, Json]:
    """Compares size and checksum of every column.

    Returns:
      {"path", "bytes", "columns", "verified": True}.

    Raises:
      UserError: no bank, or a damaged file.
    """
    folder = pathlib.Path(path)
    manifest = read_manifest(folder)
    check_columns(folder, manifest, always=True)
    total = sum(column["bytes"] for column in manifest["columns"].values())
    return {"path": path, "bytes": total, "columns": list(manifest["columns"]), "verified": True}


def describe_bank(path: str) -> dict[str, Json]:
    """Describes a bank as `hummingbird info` prints it.

    Returns:
      {"kind": "bank", "length", "dim", "key_dtype", "bytes", "fingerprint", "config", "versions", ...}.
    """
    manifest = read_manifest(pathlib.Path(path))
    keys, identity = manifest["columns"]["keys"], manifest["identity"]
    dim = keys["row"][0]
    digest = hashlib.sha256(json.dumps(manifest["columns"], sort_keys=True).encode()).hexdigest()[:16]
    return {
        "kind": "bank",
        "path": path,
        "step": None,
        "fingerprint": digest,
        "parameters": 0,
        "length": keys["bytes"] // (dim * DTYPES[keys["dtype"]].itemsize),
        "dim": dim,
        "key_dtype": keys["dtype"],
        "bytes": sum(column["bytes"] for column in manifest["columns"].values()),
        "config": identity,
        "versions": identity["versions"],
        "indexes": sorted(p.name for p in pathlib.Path(path).glob("index-*")),
    }


# ---------------------------------------------------------------- the parts
def label_form(identity: Identity) -> tuple[str, int]:
    """Returns the form of the labels of a bank, and their channels."""
    form, channels = identity["task"], identity["channels"]
    assert isinstance(form, str)
    assert isinstance(channels, int)
    return form, channels


def read_manifest(folder: pathlib.Path) -> Manifest:
    """Reads bank.json; UserError if there is no finished bank."""
    if not (folder / MANIFEST).is_file():
        unfinished = " (an unfinished one: run the same command again to finish it)"
        raise UserError(
            f"{folder} holds no memory bank{unfinished if (folder / BUILDING).exists() else ''}; build one with "
            "`hummingbird bank build`"
        )
    manifest = read_json(folder / MANIFEST, ("identity", "columns"))
    labels = FORMS[label_form(manifest["identity"])[0]].columns
    whole = {name for name, column in manifest["columns"].items() if "sha256" in column}
    if missing := sorted({*COLUMNS, *labels} - whole):
        raise UserError(f"{folder / MANIFEST} lacks {', '.join(missing)}; delete {folder} and build it again")
    return manifest


def read_json(path: pathlib.Path, keys: Sequence[str]) -> Manifest:
    """Reads bank.json or building.json; UserError if it is damaged, lacks one of `keys`, or a column's form."""
    try:
        content = json.loads(path.read_text())
        if missing := [key for key in keys if key not in content]:
            raise KeyError(", ".join(missing))
        form, _ = label_form(content["identity"])
        if form not in FORMS or "versions" not in content["identity"]:
            raise KeyError("identity")
        for name, column in content["columns"].items():
            if column["dtype"] not in DTYPES or column["bytes"] < 0 or not isinstance(column["row"], list):
                raise ValueError(f"column {name}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} cannot be read ({what}); delete {path.parent} and build it again") from error
    return content


def check_folder(folder: pathlib.Path, identity: Identity) -> None:
    """Raises UserError if the folder holds a bank of another identity, finished or not."""
    for name in (MANIFEST, BUILDING):
        if (folder / name).exists():
            check_identity(read_json(folder / name, ("identity", "columns"))["identity"], identity, folder)


def check_identity(found: Identity, wanted: Identity, folder: pathlib.Path) -> None:
    """Raises UserError that names the first difference, unless a bank's identity is the wanted one."""
    for key in (*sorted(wanted), *sorted(found.keys() - wanted.keys())):
        if key != "versions" and found.get(key) != wanted.get(key):
            raise UserError(
                f"retrieval.bank={folder} was built with {key}={found.get(key)!r}, this evaluation has "
                f"{wanted.get(key)!r}; choose another folder or delete that one"
            )


def map_columns(folder: pathlib.Path, columns: Mapping[str, StoredColumn]) -> dict[str, Column]:
    """Maps columns into memory, read-only."""
    mapped: dict[str, Column] = {}
    for name, column in columns.items():
        dtype = DTYPES[column["dtype"]]
        with open(folder / f"{name}.bin", "rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped[name] = np.frombuffer(buffer, dtype).reshape(-1, *column["row"])
    return mapped
