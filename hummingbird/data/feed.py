"""Reads a host's share of the global batches: images in parallel and ahead of time, batches in their order."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections.abc import Callable, Sequence
from typing import TypeVar

import grain
from absl import flags
from grain import experimental

from hummingbird.config.data import InputPipeline
from hummingbird.errors import UserError

Item = TypeVar("Item")
Batch = TypeVar("Batch")

CHUNK = 8  # most images that a worker process hands over at a time
WAITING = 128  # threads beyond the cores that wait for a bucket
SHARED_MEMORY = "/dev/shm"  # where worker processes leave their images


@dataclasses.dataclass(frozen=True)
class Reading:
    """How many images are read at a time.

    Attributes:
      workers: processes; 0: the threads of this one.
      threads: threads per process; 0: images are made when they are needed.
      ahead: images prepared in advance, in all processes together; 0: none.
      image_bytes: size of the views of an image.
    """

    workers: int = 0
    threads: int = 4
    ahead: int = 64
    image_bytes: int = 0

    @property
    def is_parallel(self) -> bool:
        return self.threads > 0 and self.ahead > 0


def build_reading(data: InputPipeline, host_batch: int, image_bytes: int, remote: bool = False) -> Reading:
    """Bounds what is prepared in advance in images and in bytes.

    Args:
      data: reads `workers`, `threads`, `read_ahead` and `buffer`.
      host_batch: images of a batch that belong to this host.
      image_bytes: size of the views of an image.
      remote: whether reading an image is mostly waiting.

    Raises:
      UserError: worker processes need more shared memory than there is.
    """
    threads = data.threads
    if threads is None:
        threads = math.ceil((cores() + (WAITING if remote else 0)) / max(1, data.workers))
    ahead = min(data.read_ahead * host_batch, max(1, (data.buffer << 20) // image_bytes))
    if data.read_ahead and threads:  # fewer would leave threads without work, whatever the batch
        ahead = max(ahead, 2 * threads * max(1, data.workers))
    if data.workers:  # beside what is ahead, two batches in use, and two chunks in the hands of each worker
        check_shared_memory((ahead + 2 * host_batch + 2 * CHUNK * data.workers) * image_bytes)
    return Reading(data.workers, threads, ahead, image_bytes)


def check_shared_memory(needed: int) -> None:
    """Raises UserError if there is less shared memory than `needed` bytes: a full one kills workers by a bus error."""
    free = shutil.disk_usage(SHARED_MEMORY).free if os.path.isdir(SHARED_MEMORY) else needed
    if free < needed:
        raise UserError(
            f"config key data.workers: workers keep up to {needed >> 20} MiB of images in {SHARED_MEMORY}, which "
            f"has {free >> 20} MiB free; give the container more (docker run --shm-size), lower data.buffer, or set "
            "data.workers=0, which reads in threads"
        )


def cores() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class HostShare(grain.MapDataset[Item]):
    """The images of one host, batch after batch: host h takes images h * b to h * b + b - 1 of each global batch."""

    def __init__(self, parent: grain.MapDataset[Item], host_batch: int, host: int = 0, hosts: int = 1):
        """Makes the share.

        Args:
          parent: all images in the order of the global batches.
          host_batch: b.
          host: h, this process's number.
          hosts: how many there are.
        """
        super().__init__(parent)
        self._host_batch, self._host, self._hosts = host_batch, host, hosts

    def __len__(self) -> int:
        return len(self._parent) // (self._host_batch * self._hosts) * self._host_batch

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, within = divmod(index, self._host_batch)
        return self._parent[(batch * self._hosts + self._host) * self._host_batch + within]


def open_feed(
    images: grain.MapDataset[Item],
    host_batch: int,
    reading: Reading,
    collate: Callable[[Sequence[Item]], Batch],
    join: Callable[[Sequence[Batch]], Batch],
) -> grain.IterDataset[Batch]:
    """Makes batches of `host_batch` images, in order; images, not batches, are the unit of parallel work.

    Args:
      images: from the first image to read on.
      host_batch: b.
      reading: how many at a time.
      collate: makes a batch of images.
      join: makes a batch of batches.
    """
    if not reading.workers:
        ahead = reading.ahead if reading.is_parallel else 0
        options = grain.ReadOptions(num_threads=min(reading.threads, ahead), prefetch_buffer_size=ahead)
        batches = images.to_iter_dataset(options).batch(host_batch, drop_remainder=True, batch_fn=collate)
    else:
        batches = _on_workers(images, host_batch, reading, collate, join)
    # Collating 4,096 images takes half a second, which the step need not wait for.
    return experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=1) if reading.is_parallel else batches


def _on_workers(
    images: grain.MapDataset[Item],
    host_batch: int,
    reading: Reading,
    collate: Callable[[Sequence[Item]], Batch],
    join: Callable[[Sequence[Batch]], Batch],
) -> grain.IterDataset[Batch]:
    """Makes batches of small chunks; worker w makes chunks w, w + workers, ..., which are returned in order."""
    if not flags.FLAGS.is_parsed():  # Grain passes absl's flags to its workers, also where nobody uses them
        flags.FLAGS.mark_as_parsed()
    chunk = max(size for size in range(1, CHUNK + 1) if host_batch % size == 0)
    chunks = max(1, math.ceil(reading.ahead / (reading.workers * chunk)))  # of one worker
    threads = min(reading.threads, chunks)
    buffered = min(2 * threads, chunks) if reading.is_parallel else 0
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    processes = grain.MultiprocessingOptions(
        num_workers=reading.workers, per_worker_buffer_size=max(1, chunks - buffered)
    )
    made = images.batch(chunk, drop_remainder=True, batch_fn=collate).to_iter_dataset(options)
    return made.mp_prefetch(processes).batch(host_batch // chunk, drop_remainder=True, batch_fn=join)
