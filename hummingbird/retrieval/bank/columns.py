"""Columns of a bank under construction: arrays that grow at their end, in memory (in files: `bank.writing`)."""

from __future__ import annotations

import pathlib
from typing import Protocol, runtime_checkable

import numpy as np

from hummingbird.tasks.task import Column


@runtime_checkable
class Columns(Protocol):
    """Where a bank under construction is kept.

    Attributes:
      folder: the folder of the files; None: in memory.
      done: jobs (an image in an augmentation pass) whose entries are committed.
      length: entries that are committed.
    """

    @property
    def folder(self) -> pathlib.Path | None: ...

    done: int
    length: int

    def append(self, name: str, values: Column) -> None:
        """Adds rows to the column `name`."""
        ...

    def commit(self, done: int, length: int, always: bool = False) -> None:
        """Makes rows permanent: `done` jobs gave `length` entries. Rate-limited unless `always`."""
        ...

    def finish(self) -> dict[str, Column]:
        """Returns all columns by name."""
        ...


class MemoryColumns:
    """Columns in memory. Columns of at most `capacity` rows are written in place, without a second copy."""

    folder = None

    def __init__(self, capacity: int):
        self.capacity, self.done, self.length = capacity, 0, 0
        self._arrays: dict[str, np.ndarray] = {}
        self._lengths: dict[str, int] = {}

    def append(self, name: str, values: Column) -> None:
        """Adds rows to the column `name`."""
        start = self._lengths.get(name, 0)
        end = start + len(values)
        array = self._arrays.get(name)
        if array is None or end > len(array):
            # Untouched pages of np.empty cost nothing, so a capacity far above the final length does no harm.
            grown = np.empty((max(self.capacity, 2 * end), *values.shape[1:]), values.dtype)
            if array is not None:
                grown[:start] = array[:start]
            self._arrays[name] = array = grown
        array[start:end] = values
        self._lengths[name] = end

    def commit(self, done: int, length: int, always: bool = False) -> None:
        """Notes how far the bank is; nothing survives the process."""
        self.done, self.length = done, length

    def finish(self) -> dict[str, Column]:
        """Returns all columns by name."""
        return {name: array[: self._lengths[name]] for name, array in self._arrays.items()}
