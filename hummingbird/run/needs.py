"""Says before a run starts what it will need of disks and memory."""

from __future__ import annotations

import logging
import os
import shutil

from etils import epath

log = logging.getLogger(__name__)


def in_words(size: float) -> str:
    """Returns a number of bytes as gigabytes, or as megabytes if there are few.

    Example:
      >>> in_words(1.5e9), in_words(3.2e6)
      ('1.50 GB', '3.2 MB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def state_needs(folder: epath.Path, checkpoint_bytes: int, kept: int, buffer_bytes: int) -> None:
    """Logs what a run needs, and warns where a local disk has less room than its checkpoints will take.

    Args:
      folder: the workdir; need not exist.
      checkpoint_bytes: size of a checkpoint.
      kept: checkpoints that will be there at most, the one in progress among them.
      buffer_bytes: host memory for images that are read ahead.
    """
    needed = kept * checkpoint_bytes
    log.info(
        "the run needs up to %s in %s (%d checkpoints of %s) and %s of each host's memory to read ahead",
        *(in_words(needed), folder, kept, in_words(checkpoint_bytes), in_words(buffer_bytes)),
    )
    if "://" in os.fspath(folder):
        return
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        log.warning(
            "%s has room for %s, and the run's checkpoints will take %s: free some, or set keep_checkpoints",
            *(there, in_words(free), in_words(needed)),
        )
