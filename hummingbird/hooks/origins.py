"""Keeps track of which images the entries of the memory bank come from."""

from __future__ import annotations

import collections
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, UInt8


class Thumbnails(NamedTuple):
    """One process's part of a batch.

    Attributes:
      index: of each image in the source.
      views: first views, scaled down to side t.
    """

    index: Int[np.ndarray, " b"]
    views: UInt8[np.ndarray, "b t t 3"]


class Origins:
    """The images of the last batches, in the order in which the bank stores them.

    Row r of the bank takes the images r * new ... (r + 1) * new - 1 of the global batch, one per slot (see
    `models.context`). Entries that were written before this process started are unknown.

    Args:
      slots: slots of the bank.
      rows: rows of the bank.
      new: slots that a step writes.
      hosts: number of processes, over which the batch is split in order.
      host: this process.

    Attributes:
      steps: number of steps with images in the bank.
    """

    def __init__(self, slots: int, rows: int, new: int, hosts: int = 1, host: int = 0):
        self._slots, self._new, self._host = slots, new, host
        self._part = rows * new // hosts  # images of this process in a batch
        self.steps = -(-slots // new)
        self.batches: collections.OrderedDict[int, Thumbnails] = collections.OrderedDict()

    def add(self, step: int, batch: Thumbnails) -> None:
        """Adds the images that a step wrote to the bank, and drops those it overwrote."""
        self.batches[step] = batch
        while len(self.batches) > self.steps:
            self.batches.popitem(last=False)

    def find(self, step: int, cursor: int, slot: int, row: int) -> tuple[Thumbnails, int] | None:
        """Finds the image behind a bank entry.

        Args:
          step: newest step in the bank.
          cursor: of the bank after that step.
          slot, row: place of the entry.

        Returns:
          The batch that wrote the entry and the position in it; None if the entry was written before this process
          started or by another process.
        """
        age = (cursor - 1 - slot) % self._slots
        batch = self.batches.get(step - age // self._new)
        position = row * self._new + self._new - 1 - age % self._new - self._host * self._part
        return (batch, position) if batch is not None and 0 <= position < self._part else None


def shrink(views: UInt8[np.ndarray, "b S S 3"], side: int) -> UInt8[np.ndarray, "b side side 3"]:
    """Copies views, scaled to `side` pixels."""
    if views.shape[1] == side:
        return np.array(views)
    return np.stack([cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA) for view in views])
