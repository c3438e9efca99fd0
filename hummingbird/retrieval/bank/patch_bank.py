"""The memory bank of dense retrieval, M = {(k_j, l_j)}: keys, local labels, and where each entry comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8

from hummingbird.tasks import FORMS, BankLabels
from hummingbird.tasks.task import Column

# Columns of every bank; the task adds those of its labels.
COLUMNS = ("keys", "image", "epoch", "patch")


@dataclasses.dataclass
class PatchBank:
    """Entries of a memory bank.

    Attributes:
      keys: patch features, float32 or bfloat16; L2-normalised unless `retrieval.raw_keys`. With `shares`, those that
        this process holds.
      labels: local labels of the M entries.
      image: number of each entry's image in the whole prompt set.
      epoch: augmentation pass.
      patch: patch number in that pass's grid, row by row.
      shares: keys that each process holds, in the order of the entries; None: this one holds all.
    """

    keys: Float[np.ndarray, "rows D"]
    labels: BankLabels
    image: Int32[np.ndarray, " M"]
    epoch: UInt8[np.ndarray, " M"]
    patch: Int32[np.ndarray, " M"]
    shares: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def keys_bytes(self) -> int:
        """Bytes of the keys of all processes."""
        return len(self) * self.keys.shape[1] * self.keys.itemsize

    @property
    def nbytes(self) -> int:
        return self.keys_bytes + self.labels.nbytes + self.image.nbytes + self.epoch.nbytes + self.patch.nbytes

    def take(self, rows: Int[np.ndarray, " n"]) -> PatchBank:
        """Returns the entries `rows`, in that order, copied. The bank must have all keys."""
        assert self.shares is None
        return PatchBank(self.keys[rows], self.labels.take(rows), self.image[rows], self.epoch[rows], self.patch[rows])

    def shorten(self, length: int, process: int) -> PatchBank:
        """Returns the first entries, at most `length`, given which process this is. The keys are not copied."""
        if len(self) <= length:
            return self
        shares = None
        if self.shares is not None:
            shares = tuple(int(n) for n in np.diff(np.minimum(np.cumsum([0, *self.shares]), length)))
        rows, keys = np.arange(length), self.keys[: length if shares is None else shares[process]]
        return PatchBank(keys, self.labels.take(rows), self.image[rows], self.epoch[rows], self.patch[rows], shares)

    def columns(self) -> dict[str, Column]:
        """Returns the arrays to store; `from_columns` restores the bank from them."""
        return {**{name: getattr(self, name) for name in COLUMNS}, **self.labels.columns()}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Column], form: str, channels: int) -> PatchBank:
        """Restores a bank.

        Args:
          columns: arrays by name.
          form: of the task that made the labels.
          channels: C of its votes.
        """
        labels = FORMS[form].bank_labels(columns, channels)
        return cls(columns["keys"], labels, columns["image"], columns["epoch"], columns["patch"])
