"""Estimates whether a bank and its index fit memory and disk, before hours of encoding."""

from __future__ import annotations

import pathlib
import shutil

import jax

from hummingbird.config.evaluate import Retrieval
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.keys import key_dtype
from hummingbird.retrieval.index.build import index_bytes
from hummingbird.retrieval.index.device import DeviceMemoryError, shortage

# Rough size of an entry without its key: label and origin, bytes.
ENTRY_BYTES = 32
# Rough size of temporary arrays during building and searching: batches, the training sample, bytes.
WORKING_BYTES = 2**29


def check_room(
    entries: int,
    dim: int,
    retrieval: Retrieval,
    folder: pathlib.Path | None,
    stored: bool = False,
    longest: int | None = None,
    apart: bool = False,
) -> None:
    """Raises UserError if a bank and its index do not fit.

    Args:
      entries: of the bank.
      dim: features of a key.
      retrieval: settings of bank and index.
      folder: keeps the bank; None: in memory.
      stored: the bank is in `folder` already.
      longest: entries of the longest bank that is cut from this one and searched; None: the bank itself is searched.
      apart: keys stay with the processes that encode them, if the devices search; otherwise each process has all.
    """
    searched = longest or entries
    itemsize = key_dtype(retrieval.stored_dtype, searched, dim).itemsize
    if retrieval.index == "device" and (problem := device_shortage(searched, dim, retrieval)):
        raise DeviceMemoryError(problem)
    several = jax.process_count() > 1 and not stored  # who build a bank in memory, also one to be kept
    parts = jax.process_count() if apart and several and devices_fit(entries, dim, retrieval) else 1
    whole, held = (entries * (dim * itemsize // n + ENTRY_BYTES) for n in (1, parts))
    needed = searching_bytes(searched, dim, retrieval)
    if searched < entries:
        needed += searched * (dim * itemsize + ENTRY_BYTES)  # a copy
    if folder is None or several:
        needed += held
    if folder is not None and not stored:
        check_space(folder, whole)  # memory-mapped: its pages can be dropped when memory is short
    available = available_memory()
    if available is not None and needed > available:
        where = "" if folder is not None or several else ", or keep the bank on disk with retrieval.bank=FOLDER"
        raise UserError(
            f"config key retrieval.memory_length: {entries} entries of {dim} features and their index need "
            f"{needed / 1e9:.1f} GB, {available / 1e9:.1f} GB of memory are free; lower it, set "
            f"retrieval.key_dtype=bfloat16{where}"
        )


def devices_fit(entries: int, dim: int, retrieval: Retrieval) -> bool:
    """Returns whether a bank will be searched by the devices, those of all processes."""
    if retrieval.raw_keys:
        return False  # the space is fitted to all keys
    if retrieval.index != "auto" or jax.default_backend() == "cpu":
        return retrieval.index == "device"
    return not device_shortage(entries, dim, retrieval)


def device_shortage(entries: int, dim: int, retrieval: Retrieval) -> str:
    """Says why a bank will not fit the devices, those of all processes; "" if it will."""
    if retrieval.raw_keys:  # each process searches all keys by itself, in float32
        return shortage(entries, dim + 1, 4)
    itemsize = key_dtype(retrieval.stored_dtype, entries, dim).itemsize
    return shortage(entries, dim, itemsize, jax.device_count() if jax.process_count() > 1 else None)


def searching_bytes(entries: int, dim: int, retrieval: Retrieval) -> int:
    """Estimates the memory that the search of a bank takes in addition to the bank."""
    if retrieval.raw_keys:  # the index gets a float32 copy, and is exact on the host
        kind = "exact" if retrieval.index == "auto" else retrieval.index
        return WORKING_BYTES + 4 * entries * (dim + 1) + index_bytes(kind, entries, dim + 1, 4, 1)
    if retrieval.index == "auto" and devices_fit(entries, dim, retrieval):
        return WORKING_BYTES
    itemsize, block = key_dtype(retrieval.stored_dtype, entries, dim).itemsize, retrieval.scann.dimensions_per_block
    return WORKING_BYTES + index_bytes(retrieval.index, entries, dim, itemsize, block)


def entries_in_memory(longest: int, dim: int, retrieval: Retrieval) -> int | None:
    """Returns how many entries fit the memory while a bank of `longest` is searched; None if that is unknown."""
    available = available_memory()
    if available is None:
        return None
    size = dim * key_dtype(retrieval.stored_dtype, longest, dim).itemsize + ENTRY_BYTES
    return max(0, available - searching_bytes(longest, dim, retrieval)) // size


def check_space(folder: pathlib.Path, needed: int) -> None:
    """Raises UserError unless the disk of `folder`, which need not exist yet, has room for `needed` bytes in it.

    What an interrupted command left there counts as written.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    written = sum(file.stat().st_size for file in folder.glob("*.bin"))
    free = shutil.disk_usage(place).free
    if needed - written > free:
        raise UserError(
            f"retrieval.bank={folder}: the bank needs {(needed - written) / 1e9:.1f} GB, the disk has "
            f"{free / 1e9:.1f} GB free; use another disk or lower retrieval.memory_length"
        )


def available_memory() -> int | None:
    """Returns the bytes of memory available without swapping; None if the system does not report them.

    On Linux, that of the machine or of the process's control group, whichever is less: schedulers and containers kill
    processes that exceed the latter.
    """
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*machine, *group_memory()], default=None)


def group_memory(root: pathlib.Path = pathlib.Path("/sys/fs/cgroup"), own: str = "/proc/self/cgroup") -> list[int]:
    """Returns the bytes left to this process's control group and its parents, of those with a limit (cgroup v2)."""
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
            continue  # the root group has no limit, and cgroup v1 has other files
        if limit.strip() != "max":
            # Cached file pages are reclaimed on demand.
            found.append(int(limit) - int(used) + int(pages.get("inactive_file", 0)))
    return found
