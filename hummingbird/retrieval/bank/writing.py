"""Banks written to disk: file by file while the prompt is encoded, resumable, by one command at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.files import (
    BUILDING,
    DTYPES,
    MANIFEST,
    check_folder,
    checksum,
    map_columns,
    read_json,
)
from hummingbird.retrieval.bank.memory import MemoryBank, bank_columns
from hummingbird.run import locks
from hummingbird.run.files import write_json

COMMIT_SECONDS = 10.0
FULL = (errno.ENOSPC, errno.EDQUOT)


class FileColumns:
    """Columns of a bank under construction, appended to files; see `memory.Columns`. A context: it holds the folder.

    What is committed survives a killed process: opening the folder again goes on from the last commit.

    Args:
      folder: the bank's folder.
      identity: what the bank is made from; a folder with another identity is refused.
      anew: forget what is there of the same bank, unfinished.

    Raises:
      UserError: also if the folder cannot be written, or what is there of an unfinished bank is damaged.
    """

    def __init__(self, folder: pathlib.Path, identity: dict[str, Any], anew: bool = False):
        self.folder, self.identity = folder, identity
        self.columns: dict[str, dict[str, Any]] = {}
        self.done = self.length = 0
        self._files: dict[str, BinaryIO] = {}
        self._last = time.monotonic()
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(lock(folder))
        try:
            check_folder(folder, identity)
            if anew:
                (folder / BUILDING).unlink(missing_ok=True)
            self._resume()
        except BaseException:
            self._lock.close()
            raise

    def _resume(self) -> None:
        """Goes on where the unfinished bank was left; an index of an older one goes."""
        if (self.folder / BUILDING).exists():
            state = read_json(self.folder / BUILDING, ("identity", "columns", "done", "length"))
            self.columns, self.done, self.length = state["columns"], state["done"], state["length"]
            for name, column in self.columns.items():
                file = self._path(name)
                if not file.is_file() or file.stat().st_size < column["bytes"]:
                    raise UserError(
                        f"{file}: has lost what was written before; delete {self.folder} and build it again"
                    )
                os.truncate(file, column["bytes"])
        elif not self.finished:
            for index in self.folder.glob("index-*"):  # of a bank that is no more
                shutil.rmtree(index)

    @property
    def finished(self) -> bool:
        """Whether another command has finished this bank before this one could hold the folder."""
        return (self.folder / MANIFEST).exists() and not (self.folder / BUILDING).exists()

    def __enter__(self) -> FileColumns:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in (*self._files.values(), self._lock):
            with contextlib.suppress(OSError):  # what a full disk did not take was said before
                file.close()

    def _path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.bin"

    def append(self, name: str, values: np.ndarray) -> None:
        column = self.columns.setdefault(name, {"dtype": str(values.dtype), "row": list(values.shape[1:]), "bytes": 0})
        values = np.ascontiguousarray(values, DTYPES[column["dtype"]])
        with self._disk():
            if name not in self._files:
                self._files[name] = self._path(name).open("ab" if column["bytes"] else "wb")
            self._files[name].write(values.view(np.uint8).data if values.size else b"")
        column["bytes"] += values.nbytes

    def commit(self, done: int, length: int, always: bool = False) -> None:
        """Makes what was appended permanent, at most every ten seconds: `done` jobs gave `length` entries."""
        if not always and time.monotonic() - self._last < COMMIT_SECONDS:
            return
        self.done, self.length = done, length
        with self._disk():
            self._flush()
            state = {"identity": self.identity, "columns": self.columns, "done": done, "length": length}
            write_json(self.folder / BUILDING, state)
        self._last = time.monotonic()

    def finish(self) -> dict[str, np.ndarray]:
        """Closes the bank: checksums, bank.json, and the columns memory-mapped."""
        with self._disk():
            self._flush()
            entries = {name: {**column, "sha256": checksum(self._path(name))} for name, column in self.columns.items()}
            write_json(self.folder / MANIFEST, {"kind": "bank", "identity": self.identity, "columns": entries})
        (self.folder / BUILDING).unlink(missing_ok=True)
        return map_columns(self.folder, entries)

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """A full disk is the user's to mend."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(
                f"retrieval.bank={self.folder}: the disk is full; make room and run the same command again, "
                f"it goes on after {self.done} encoded images"
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
                f"retrieval.bank={folder}: cannot be written ({error.strerror}); choose another folder"
            ) from error
        yield


def save_bank(path: str, identity: dict[str, Any], bank: MemoryBank) -> None:
    """Writes a bank that was built in memory, in place of what is left of the same one, unfinished."""
    with FileColumns(pathlib.Path(path), identity, anew=True) as columns:
        if columns.finished:
            return  # others may have it mapped
        for name, values in bank_columns(bank).items():
            columns.append(name, values)
        columns.finish()
