"""Locks between processes, so that one at a time writes a folder.

filelock rather than `fcntl.flock` by hand: the same lock on most file systems, a lock file on those that lack flock
(such as Lustre by default), and a wait that signals interrupt.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pathlib
from collections.abc import Iterator

import filelock

from hummingbird.errors import UserError

log = logging.getLogger(__name__)

UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # such as NFS without a lock daemon


@contextlib.contextmanager
def hold(path: str | os.PathLike[str], busy: str, advice: str, wait: bool = False) -> Iterator[None]:
    """Holds a lock file until the block ends or the process dies.

    Where the file system has no locks, a warning is logged and the block runs without one.

    Args:
      path: the lock file; missing folders are made.
      busy: what to say if another process holds it, such as "--workdir=DIR: another sweep is running".
      advice: what to do about that.
      wait: wait for the other process, with a warning, instead of raising.

    Raises:
      UserError: another process holds the lock, and `wait` is False.
      OSError: the file cannot be written.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> with hold(f"{folder}/lock", "busy", "wait"):
      ...     is_held(f"{folder}/lock")
      True
      >>> is_held(f"{folder}/lock")
      False
    """
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        if not wait:
            raise UserError(f"{busy}; {advice}") from None
        log.warning("%s; waiting for it", busy)
        lock.acquire()
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        log.warning("%s: cannot be locked (%s); let only one process write here", path, error.strerror)
    try:
        yield
    finally:
        lock.release()


def is_held(path: str | os.PathLike[str]) -> bool:
    """Returns whether a living process holds the lock file `path`; False where the file system has no locks."""
    if not os.path.exists(path):
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return True
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    lock.release()
    return False
