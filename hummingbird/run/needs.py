"""Says before a run starts what it will need of disks and memory."""

from __future__ import annotations

import logging
import os
import shutil

from etils import epath

log = logging.getLogger(__name__)

GB = 1e9


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
        "the run needs up to %.2f GB in %s (%d checkpoints of %.2f GB) and %.2f GB of each host's memory to read ahead",
        *(needed / GB, folder, kept, checkpoint_bytes / GB, buffer_bytes / GB),
    )
    if "://" in os.fspath(folder):
        return
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        log.warning(
            "%s has room for %.2f GB, and the run's checkpoints will take %.2f GB: free some, or set keep_checkpoints",
            *(there, free / GB, needed / GB),
        )
