"""An evaluation on several processes: each takes a contiguous part of the images, and all get the whole result.

Where the devices search, they share the keys of the bank: each process keeps those that it has encoded, so that no host
holds all of them, and all processes search together. Otherwise every process holds the whole bank, since its queries
need it. What all need is gathered column by column in small pieces, so that neither a device nor a second copy has to
hold it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from hummingbird.errors import UserError

T = TypeVar("T")
PIECE = 32 * 2**20  # bytes that each process sends at a time


def first() -> bool:
    """Returns whether this is the process that writes files and shows progress."""
    return jax.process_index() == 0


def own_part(items: Sequence[T]) -> Sequence[T]:
    """Returns this process's part of the items; the parts of all processes, in their order, are the whole."""
    return items[own_slice(len(items), jax.process_index())]


def own_slice(length: int, process: int) -> slice:
    """Returns where the part of a process lies in a sequence of `length` items."""
    count = jax.process_count()
    return slice(length * process // count, length * (process + 1) // count)


def together(function: Callable[[], T]) -> T:
    """Calls `function` in each process; if it fails in one of them, all fail instead of waiting forever.

    Raises:
      UserError: another process failed, with its message.
    """
    if jax.process_count() == 1:
        return function()
    try:
        result = function()
    except Exception as error:
        gather(str(error) or type(error).__name__)
        raise
    for process, message in enumerate(gather(None)):
        if message is not None:
            raise UserError(f"process {process} of {jax.process_count()}: {message}")
    return result


def gather(mine: T) -> list[T]:
    """Returns the object of each process, in their order. Meant for small objects, which are pickled."""
    if jax.process_count() == 1:
        return [mine]
    data = np.frombuffer(pickle.dumps(mine), np.uint8)
    lengths = _exchange(np.array([len(data)], np.int64).view(np.uint8)).view(np.int64)[:, 0]
    received = [bytearray() for _ in lengths]
    for start in range(0, int(lengths.max()), PIECE):
        piece = np.zeros(min(PIECE, int(lengths.max()) - start), np.uint8)
        piece[: max(len(data) - start, 0)] = data[start : start + len(piece)]
        for buffer, part in zip(received, _exchange(piece), strict=True):
            buffer += part.tobytes()
    return [pickle.loads(buffer) for buffer in received]


def gather_columns(mine: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Concatenates the columns [n, ...] of all processes; a process without rows gives {}."""
    forms = [{name: (column.shape[1:], column.dtype) for name, column in mine.items()}]
    forms = [form for found in gather(forms) for form in found if form]
    names = forms[0] if forms else {}
    return {name: _gather_rows(mine.get(name, np.empty((0, *row), dtype))) for name, (row, dtype) in names.items()}


def _gather_rows(mine: np.ndarray) -> np.ndarray:
    counts = gather(len(mine))
    whole = np.empty((sum(counts), *mine.shape[1:]), mine.dtype)
    width = whole[:1].nbytes if len(whole) else 1
    source, target = (np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(-1, width) for x in (mine, whole))
    starts, rows = np.cumsum([0, *counts]), max(1, PIECE // width)
    for begin in range(0, max(counts), rows):
        piece = np.zeros((min(rows, max(counts) - begin), width), np.uint8)
        own = source[begin : begin + len(piece)]
        piece[: len(own)] = own
        for start, count, part in zip(starts, counts, _exchange(piece), strict=False):
            n = min(max(count - begin, 0), len(part))
            target[start + begin : start + begin + n] = part[:n]
    return whole


def send_rows(mine: np.ndarray, counts: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields the rows [n, D] of all processes piece by piece, in their order, in every process.

    Args:
      mine: rows of this process.
      counts: rows of each process.
    """
    width = mine.shape[1] * mine.itemsize
    source, step = np.ascontiguousarray(mine).view(np.uint8).reshape(-1, width), max(1, PIECE // width)
    for process, count in enumerate(counts):
        sends = process == jax.process_index()
        for begin in range(0, count, step):
            piece = np.zeros((min(step, count - begin), width), np.uint8)
            if sends:
                piece[:] = source[begin : begin + len(piece)]
            received = np.ascontiguousarray(multihost_utils.broadcast_one_to_all(piece, is_source=sends))
            yield received.view(mine.dtype).reshape(-1, mine.shape[1])


def _exchange(mine: np.ndarray) -> np.ndarray:
    """Stacks the bytes [...] of each process to [processes, ...]."""
    return np.asarray(multihost_utils.process_allgather(mine, tiled=False))


def in_step(items: Iterator[T]) -> Iterator[T | None]:
    """Yields the items of this process, then None for as long as another process has more.

    Raises:
      UserError: another process failed.
    """
    while True:
        item = together(lambda: next(items, None))
        if not any(gather(item is not None)):
            return
        yield item


def merge(values: list[T]) -> list[T]:
    """Concatenates the lists of all processes."""
    return [value for part in gather(values) for value in part]
