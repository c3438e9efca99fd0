"""Whether a bank and its index fit memory and disk: said from estimates, before hours of encoding."""

from __future__ import annotations

import pathlib
import shutil

from hummingbird.config.evaluate import Retrieval
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.keys import key_dtype
from hummingbird.retrieval.index.build import index_bytes

# Bytes of label and origin that an entry takes beside its key, roughly.
ENTRY_BYTES = 32
# Batches, the training sample and what else comes and goes while a bank is built and searched, roughly.
WORKING_BYTES = 2**29


def check_room(entries: int, dim: int, retrieval: Retrieval, folder: pathlib.Path | None, stored: bool = False) -> None:
    """UserError if a bank of `entries` x `dim` and its index do not fit.

    Args:
      retrieval: the config's group of that name.
      folder: where the bank is kept; None: in memory.
      stored: the bank is there already, in `folder`.
    """
    itemsize = key_dtype(retrieval.key_dtype, entries, dim).itemsize
    bank = entries * (dim * itemsize + ENTRY_BYTES)
    needed = WORKING_BYTES + index_bytes(retrieval.index, entries, dim, itemsize, retrieval.scann.dimensions_per_block)
    if folder is None:
        needed += bank
    elif not stored:
        check_space(folder, bank)  # mapped: pages of it leave memory where there is little
    available = available_memory()
    if available is not None and needed > available:
        where = "" if folder is not None else ", or keep the bank on disk with retrieval.bank=FOLDER"
        raise UserError(
            f"config key retrieval.memory_length: {entries} entries of {dim} features and their index need "
            f"{needed / 1e9:.1f} GB, {available / 1e9:.1f} GB of memory are free; lower it, set "
            f"retrieval.key_dtype=bfloat16{where}"
        )


def check_space(folder: pathlib.Path, needed: int) -> None:
    """UserError unless the disk of `folder`, which need not be there yet, has `needed` bytes free."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"retrieval.bank={folder}: the bank needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free; "
            "use another disk or lower retrieval.memory_length"
        )


def available_memory() -> int | None:
    """Bytes of memory that can be had without swapping, or None where the system does not say.

    On Linux, what the machine has left or, if that is less, what is left to the control group: schedulers and
    containers end a process that goes beyond.
    """
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*machine, *group_memory()], default=None)


def group_memory(root: pathlib.Path = pathlib.Path("/sys/fs/cgroup"), own: str = "/proc/self/cgroup") -> list[int]:
    """Bytes left to this process's control group and to each one around it, of those that have a limit (cgroup v2)."""
    try:
        lines = pathlib.Path(own).read_text().splitlines()
    except OSError:
        return []
    group = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    found = []
    for folder in (root / group, *(root / group).parents):
        if not folder.is_relative_to(root):
            break
        try:
            limit, used = ((folder / f"memory.{name}").read_text() for name in ("max", "current"))
            pages = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue  # the root has none, and older systems count elsewhere
        if limit.strip() != "max":
            # Pages of files are taken back when memory is asked for.
            found.append(int(limit) - int(used) + int(pages.get("inactive_file", 0)))
    return found
