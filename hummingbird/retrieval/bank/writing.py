"""Banks written to disk: file by file while the prompt is encoded, resumable, by one command at a time."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import BinaryIO

import jax
import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.bank import files
from hummingbird.retrieval.bank.files import (
    BUILDING,
    DTYPES,
    MANIFEST,
    Identity,
    StoredColumn,
    check_folder,
    map_columns,
    read_json,
)
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.checksums import checksum
from hummingbird.retrieval.processes import first, gather, send_rows, together
from hummingbird.retrieval.progress import Clock
from hummingbird.run import locks
from hummingbird.run.files import Json, write_json
from hummingbird.tasks.task import Column

COMMIT_SECONDS = 10.0
FULL = (errno.ENOSPC, errno.EDQUOT)


def open_bank(
    path: str,
    identity: Identity,
    clock: Clock,
    build: Callable[[FileColumns | None], PatchBank],
    check: Callable[[bool], object] = lambda stored: None,
) -> PatchBank:
    """Loads the bank in a folder; builds it there if it is missing or unfinished.

    Several processes build it in memory, and the first one saves it: an interrupted build then starts over.

    Args:
      path: the bank's folder.
      identity: what the bank is built from.
      clock: takes the time of loading.
      build: builds the bank into files, or in memory if it is given None.
      check: called first, in every process, with whether the folder holds the finished bank.

    Raises:
      UserError: the folder holds another bank, cannot be written, or is being written by another command.
    """
    if "://" in path:
        raise UserError(f"retrieval.bank={path}: a bank is kept in a local folder; copy it afterwards")
    if all(gather(files.is_bank(path))):
        together(lambda: check_folder(pathlib.Path(path), identity))
        check(True)
        with clock("load_bank"):
            return together(lambda: files.load_bank(path, identity))
    if jax.process_count() == 1:
        with FileColumns(pathlib.Path(path), identity) as columns:
            check(columns.finished)
            return build(columns) if not columns.finished else files.load_bank(path, identity)
    # Before the encoding: a folder that only the first process can read must not hold another bank.
    together(lambda: check_folder(pathlib.Path(path), identity) if first() else None)
    check(False)
    bank = build(None)
    if bank.shares is None:
        together(lambda: save_bank(path, identity, bank) if first() else None)
    else:
        save_shared(path, identity, bank, bank.shares)
    return bank


def save_bank(path: str, identity: Identity, bank: PatchBank) -> None:
    """Writes a bank that was built in memory; replaces an unfinished one of the same identity."""
    with FileColumns(pathlib.Path(path), identity, start_over=True) as columns:
        if columns.finished:
            return  # others may have it mapped
        for name, values in bank.columns().items():
            columns.append(name, values)
        columns.finish()


def save_shared(path: str, identity: Identity, bank: PatchBank, shares: Sequence[int]) -> None:
    """Saves a bank whose keys are spread over several processes. The first one writes; see `save_bank`."""
    with contextlib.ExitStack() as opened:

        def start() -> FileColumns | None:
            if not first():
                return None
            columns = FileColumns(pathlib.Path(path), identity, start_over=True)
            return opened.enter_context(columns)

        columns = together(start)
        if any(gather(columns is not None and columns.finished)):
            return
        for rows in send_rows(bank.keys, shares):
            together(functools.partial(columns.append, "keys", rows) if columns else nothing)

        def finish() -> None:
            if columns is not None:
                for name, values in bank.columns().items():
                    if name != "keys":
                        columns.append(name, values)
                columns.finish()

        together(finish)


def nothing() -> None:
    """What processes do while the first one writes."""


class FileColumns:
    """Columns of a bank under construction, appended to files; see `bank.columns.Columns`.

    A context manager that locks the folder. What is committed survives a killed process: opening the folder again
    resumes from the last commit.

    Args:
      folder: the bank's folder.
      identity: what the bank is built from; a folder with another identity is refused.
      start_over: discard an unfinished bank of the same identity.

    Raises:
      UserError: another identity; the folder cannot be written or another command writes it; or an unfinished bank is
        damaged.
    """

    def __init__(self, folder: pathlib.Path, identity: Identity, start_over: bool = False):
        self.folder, self.identity = folder, identity
        self.columns: dict[str, StoredColumn] = {}
        self.done = self.length = 0
        self._files: dict[str, BinaryIO] = {}
        self._last = time.monotonic()
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(lock(folder))
        try:
            check_folder(folder, identity)
            if start_over:
                (folder / BUILDING).unlink(missing_ok=True)
            self._resume()
        except BaseException:
            self._lock.close()
            raise

    def _resume(self) -> None:
        """Cuts the files of an unfinished bank at the last commit; removes indexes of an older bank."""
        if (self.folder / BUILDING).exists():
            state = read_json(self.folder / BUILDING, ("identity", "columns", "done", "length"))
            self.columns, self.done, self.length = state["columns"], state.get("done", 0), state.get("length", 0)
            for name, column in self.columns.items():
                file = self._path(name)
                if not file.is_file() or file.stat().st_size < column["bytes"]:
                    raise UserError(f"{file} has lost committed rows; delete {self.folder} and build it again")
                os.truncate(file, column["bytes"])
        elif not self.finished:
            for index in self.folder.glob("index-*"):
                shutil.rmtree(index)

    @property
    def finished(self) -> bool:
        """Whether another command finished this bank before this one could lock the folder."""
        return (self.folder / MANIFEST).exists() and not (self.folder / BUILDING).exists()

    def __enter__(self) -> FileColumns:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in (*self._files.values(), self._lock):
            with contextlib.suppress(OSError):  # a full disk was reported when it was written to
                file.close()

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.bin"

    def append(self, name: str, values: Column) -> None:
        """Adds rows to the column `name`."""
        column = self.columns.setdefault(name, {"dtype": str(values.dtype), "row": list(values.shape[1:]), "bytes": 0})
        values = np.ascontiguousarray(values, DTYPES[column["dtype"]])
        with self._disk():
            if name not in self._files:
                self._files[name] = self._path(name).open("ab" if column["bytes"] else "wb")
            self._files[name].write(values.view(np.uint8).data if values.size else b"")
        column["bytes"] += values.nbytes

    def commit(self, done: int, length: int, always: bool = False) -> None:
        """Makes rows permanent, at most every ten seconds: `done` jobs gave `length` entries."""
        if not always and time.monotonic() - self._last < COMMIT_SECONDS:
            return
        self.done, self.length = done, length
        with self._disk():
            self._flush()
            write_json(self.folder / BUILDING, self._manifest(self.columns) | {"done": done, "length": length})
        self._last = time.monotonic()

    def finish(self) -> dict[str, Column]:
        """Finishes the bank: writes checksums and bank.json; returns the columns memory-mapped."""
        with self._disk():
            self._flush()
            entries: dict[str, StoredColumn] = {
                name: {**column, "sha256": checksum(self._path(name))} for name, column in self.columns.items()
            }
            write_json(self.folder / MANIFEST, self._manifest(entries))
        (self.folder / BUILDING).unlink(missing_ok=True)
        return map_columns(self.folder, entries)

    def _manifest(self, columns: dict[str, StoredColumn]) -> dict[str, Json]:
        stored: dict[str, Json] = {}
        for name, column in columns.items():
            form: dict[str, Json] = {"dtype": column["dtype"], "row": column["row"], "bytes": column["bytes"]}
            stored[name] = {**form, "sha256": column["sha256"]} if "sha256" in column else form
        return {"kind": "bank", "identity": self.identity, "columns": stored}

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Turns a full disk into a UserError."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(
                f"retrieval.bank={self.folder}: the disk is full; make room and run the same command again, "
                f"which resumes after {self.done} encoded images"
            ) from error


@contextlib.contextmanager
def lock(folder: pathlib.Path, wait: bool = False) -> Iterator[None]:
    """Holds FOLDER/.lock, so that no other command writes the bank; see `run.locks.hold`.

    Args:
      folder: the bank's folder; made if missing.
      wait: wait for the command that holds it.

    Raises:
      UserError: the folder cannot be written; or another command holds it, and `wait` is False.
    """
    busy = f"retrieval.bank={folder}: another command is writing it"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.hold(folder / ".lock", busy, "wait for it, or choose another folder", wait))
        except OSError as error:
            raise UserError(
                f"retrieval.bank={folder} cannot be written ({error.strerror}); choose another folder"
            ) from error
        yield
