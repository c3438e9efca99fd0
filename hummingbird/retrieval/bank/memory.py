"""The memory bank of dense retrieval: which patches are kept (App. A.1, Eq. 5) and how they are held.

Keys are L2-normalised patch features; labels are local labels (`hummingbird.tasks`); each entry knows the image, the
augmentation pass and the patch that it comes from.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from jaxtyping import Bool, Int

from hummingbird.errors import UserError
from hummingbird.tasks import BankLabels, LocalLabels, Task, find_kind

KEY_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
# Keys above this size are stored in bfloat16 unless the config says otherwise.
AUTO_FLOAT32_BYTES = 2**29
EMPTY_SCORE = 1e6


# ---------------------------------------------------------------- which patches of an image are kept
def sample_patches(labels: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    """The n patches of one image with the lowest final score (Eq. 5): rare classes first, empty patches last.

    kappa_c counts the patches that hold class c; class_score_j = sum_c kappa_c 1[c in l_j];
    final_score_j = class_score_j * x + 1e6 * 1[l_j empty], x ~ U[0, 1] for each patch.

    Args:
      labels: [N, C], local labels or pixel counts; a patch holds the classes that are above 0.
      n: patches wanted; N at most are given.
      rng: NumPy random generator; N uniform numbers are drawn.

    Returns:
      Patch numbers int64 [min(n, N)], best first.
    """
    holds = np.asarray(labels) > 0
    kappa = holds.sum(axis=0)
    class_score = holds @ kappa
    final_score = class_score * rng.random(len(holds)) + EMPTY_SCORE * ~holds.any(axis=1)
    return np.argsort(final_score, kind="stable")[:n]


def sample_uniform(labelled: Bool[np.ndarray, " N"], n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Draws n patches in random order, patches without a label after all others (App. A.1).

    Args:
      labelled: whether each patch holds a valid pixel.
      n: patches wanted.
      rng: random generator.

    Returns:
      min(n, N) patch numbers.
    """
    order = rng.permutation(len(labelled))
    return order[np.argsort(~labelled[order], kind="stable")][:n]


def choose_patches(local: LocalLabels, n: int, rng: np.random.Generator, salient: bool) -> Int[np.ndarray, " n"]:
    """Draws n patches of an image: by Eq. 5 if `salient`, else uniformly; patches without a label come last."""
    return sample_patches(local.values, n, rng) if salient else sample_uniform(local.labelled, n, rng)


def features_per_image(memory_length: int, images: int, epochs: int, patches: int, sampling: str) -> int:
    """|M| / (|D| * augmentation epochs), at most the patches there are (App. A.1); all of them for sampling "all"."""
    if sampling == "all":
        return patches
    n = memory_length // (images * max(epochs, 1))
    if n < 1:
        raise UserError(
            f"config key retrieval.memory_length: {memory_length} is less than one patch for each of {images} images"
            f" x {max(epochs, 1)} passes; raise it or lower data.fraction"
        )
    return min(n, patches)


# ---------------------------------------------------------------- the bank
@dataclasses.dataclass
class MemoryBank:
    """M = {(k_j, l_j)} with where each entry comes from.

    Attributes:
      keys: float32 or bfloat16 [M, D], L2-normalised.
      labels: local labels of the M entries.
      image: int32 [M], number of the image in the whole prompt set. epoch: uint8 [M], augmentation pass.
      patch: int32 [M], patch number in that pass's grid, row by row.
    """

    keys: np.ndarray
    labels: BankLabels
    image: np.ndarray
    epoch: np.ndarray
    patch: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.labels.nbytes + self.image.nbytes + self.epoch.nbytes + self.patch.nbytes

    def take(self, rows: np.ndarray) -> MemoryBank:
        """The entries `rows` int [n], in that order, copied."""
        return MemoryBank(self.keys[rows], self.labels.take(rows), self.image[rows], self.epoch[rows], self.patch[rows])


class Columns(Protocol):
    """Where a bank under construction is kept: arrays that grow at their end, by name."""

    def append(self, name: str, values: np.ndarray) -> None: ...

    def finish(self) -> dict[str, np.ndarray]: ...


class MemoryColumns:
    """Columns in memory. One that never gets more than `capacity` rows is written in place, without a second copy."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._arrays: dict[str, np.ndarray] = {}
        self._lengths: dict[str, int] = {}

    def append(self, name: str, values: np.ndarray) -> None:
        start = self._lengths.get(name, 0)
        end = start + len(values)
        array = self._arrays.get(name)
        if array is None or end > len(array):
            # Untouched pages of np.empty cost nothing, so the capacity may well be larger than what is used.
            grown = np.empty((max(self.capacity, 2 * end), *values.shape[1:]), values.dtype)
            if array is not None:
                grown[:start] = array[:start]
            self._arrays[name] = array = grown
        array[start:end] = values
        self._lengths[name] = end

    def finish(self) -> dict[str, np.ndarray]:
        return {name: array[: self._lengths[name]] for name, array in self._arrays.items()}


class BankBuilder:
    """Fills a `MemoryBank` image by image; entries without a label never enter.

    Args:
      capacity: greatest number of entries.
      task: kind of label.
      patch: patch side in pixels.
      key_dtype: "auto", "float32" or "bfloat16".
      columns: where entries go; None: memory.
      length: entries that the columns hold already.
    """

    def __init__(
        self,
        capacity: int,
        task: Task,
        patch: int,
        key_dtype: str = "auto",
        columns: Columns | None = None,
        length: int = 0,
    ):
        self.capacity, self.task, self.patch, self.key_dtype = capacity, task, patch, key_dtype
        self.columns = columns if columns is not None else MemoryColumns(capacity)
        self.length = length

    def add(self, keys: np.ndarray, local: LocalLabels, image: int, epoch: int, patch: np.ndarray) -> None:
        """Appends entries of one image.

        Args:
          keys: float32 [n, D], L2-normalised.
          local: their local labels; entries without a label are dropped.
          image, epoch: where they come from. patch: int [n].
        """
        room = self.capacity - self.length
        chosen = np.flatnonzero(local.labelled)[:room]
        if not len(chosen):
            return
        dtype = key_dtype(self.key_dtype, self.capacity, keys.shape[1])
        new = {
            "keys": keys[chosen].astype(dtype, copy=False),
            "image": np.full(len(chosen), image, np.int32),
            "epoch": np.full(len(chosen), epoch, np.uint8),
            "patch": patch[chosen].astype(np.int32),
        }
        new |= self.task.label_columns(local.values[chosen], self.patch)
        for name, values in new.items():
            self.columns.append(name, values)
        self.length += len(chosen)

    def finish(self) -> MemoryBank:
        """The bank; UserError if no patch of any image holds a valid pixel."""
        if not self.length:
            raise UserError("the prompt holds no patch with a valid label: check data.root and the void value")
        return bank_from_columns(self.columns.finish(), self.task.kind, self.task.channels)


def bank_from_columns(columns: dict[str, np.ndarray], kind: str, channels: int) -> MemoryBank:
    """The bank that `BankBuilder` put into columns.

    Args:
      kind: of the task. channels: of its labels.
    """
    labels = find_kind(kind).bank_labels(columns, channels)
    return MemoryBank(columns["keys"], labels, columns["image"], columns["epoch"], columns["patch"])


def bank_columns(bank: MemoryBank) -> dict[str, np.ndarray]:
    """The columns that `bank_from_columns` makes the bank of."""
    columns = {name: getattr(bank, name) for name in ("keys", "image", "epoch", "patch")}
    return {**columns, **bank.labels.columns()}


def key_dtype(name: str, length: int, dim: int) -> np.dtype:
    """The NumPy dtype of stored keys; "auto" is float32 up to 512 MiB of keys and bfloat16 above."""
    if name == "auto":
        name = "float32" if 4 * length * dim <= AUTO_FLOAT32_BYTES else "bfloat16"
    return KEY_DTYPES[name]


def normalise(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features divided by their L2 norm, float32 [..., D] (zero ones stay zero), and the norms, float32 [...]."""
    features = np.asarray(features, np.float32)
    norm = np.sqrt(np.einsum("...d,...d->...", features, features))
    return features / np.where(np.isfinite(norm) & (norm > 0), norm, 1)[..., None], norm
