"""Reads parts of files, local or in buckets, in one request each; retries what passes, such as a busy server."""

from __future__ import annotations

import errno
import functools
import io
import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar

import fsspec
from etils.epath import backend

from hummingbird.errors import first_line

T = TypeVar("T")
log = logging.getLogger(__name__)

PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each new try
# A local file system's errors that may be gone at the next try; a bucket's client raises types of its own.
PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.EMFILE, errno.ENFILE}
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError)
BLOCK = 16 * 2**20  # bytes that `Ranges` requests at a time


def is_remote(where: str) -> bool:
    """Returns whether a path is in a bucket."""
    return "://" in where


def filesystem(where: str) -> fsspec.AbstractFileSystem:
    """Returns the client of a bucket."""
    return backend.fsspec_backend.fs(where)


def fetch(where: str, start: int = 0, end: int | None = None) -> bytes:
    """Reads bytes `start` to `end` of a file, to its end if None.

    Raises:
      OSError: it cannot be read, also after several tries.
    """
    return retried(functools.partial(_fetch, where, start, end), where)


def _fetch(where: str, start: int, end: int | None) -> bytes:
    if is_remote(where):
        data = filesystem(where).cat_file(where, start=start or None, end=end)
        assert isinstance(data, bytes)
        return data
    with open(where, "rb") as file:  # one handle per read: threads and processes share nothing
        file.seek(start)
        return file.read(-1 if end is None else end - start)


def size_of(where: str) -> int:
    """Returns the size of a file in bytes. Raises OSError."""
    if is_remote(where):
        return retried(lambda: int(filesystem(where).info(where)["size"]), where)
    return os.stat(where).st_size


def retried(read: Callable[[], T], where: str) -> T:
    """Calls `read` until it succeeds, at most five times if the error may pass.

    Raises:
      OSError: the last error, or the first that will not pass.
    """
    for pause in PAUSES:
        try:
            return read()
        except Exception as error:
            if not _may_pass(error):
                raise
            log.warning("reading %s failed (%s); trying again in %g s", where, first_line(error), pause)
            time.sleep(pause)
    try:
        return read()
    except OSError:
        raise
    except Exception as error:  # a client's own type
        raise OSError(first_line(error)) from error


def _may_pass(error: Exception) -> bool:
    if isinstance(error, LASTING):
        return False
    return not isinstance(error, OSError) or error.errno is None or error.errno in PASSING


class Ranges(io.RawIOBase):
    """An object in a bucket as a file that is read in large blocks: few requests, also for many small reads."""

    def __init__(self, where: str):
        self._where, self._size = where, size_of(where)
        self._position, self._start, self._block = 0, 0, b""

    def read(self, size: int = -1, /) -> bytes:
        end = self._size if size < 0 else min(self._size, self._position + size)
        if not self._start <= self._position <= end <= self._start + len(self._block):
            self._start = self._position
            self._block = fetch(self._where, self._start, min(self._size, max(end, self._start + BLOCK)))
        data = self._block[self._position - self._start : end - self._start]
        self._position += len(data)
        return data

    def write(self, data: bytes, /) -> int:
        raise io.UnsupportedOperation("write")

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position
