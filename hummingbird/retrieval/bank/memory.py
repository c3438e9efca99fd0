"""The memory bank of dense retrieval: which patches are kept (App. A.1, Eq. 5) and how they are held.

Keys are L2-normalised patch features; labels are local labels (`hummingbird.retrieval.bank.labels`); each entry knows
the image, the augmentation pass and the patch that it comes from.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.labels import ClassLabels, DepthLabels, sparse_counts

Labels = ClassLabels | DepthLabels

KEY_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
# Keys above this size are stored in bfloat16 unless the config says otherwise.
AUTO_FLOAT32_BYTES = 2**29
EMPTY_SCORE = 1e6
CLASS_COLUMNS = ("lengths", "classes", "counts")  # of a bank's labels, in the order that `ClassLabels` takes them


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


def sample_uniform(labels: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    """n patches in random order, those without a valid pixel after all others; the rule for depth (App. A.1).

    Args:
      labels: [N, C] as in `sample_patches`, or the number of valid pixels [N].
      n: patches wanted; N at most are given.
      rng: NumPy random generator.

    Returns:
      Patch numbers int64 [min(n, N)].
    """
    filled = has_label(np.asarray(labels))
    order = rng.permutation(len(filled))
    return order[np.argsort(~filled[order], kind="stable")][:n]


def has_label(labels: np.ndarray) -> np.ndarray:
    """Which patches hold a valid pixel, bool [N], from counts [N, C] or depths [N]."""
    return np.any(labels > 0, axis=1) if labels.ndim == 2 else np.asarray(labels > 0)


def sample_salient(labels: Any, n: int, rng: np.random.Generator) -> np.ndarray:
    """The paper's rule: Eq. 5 for counts [N, C], `sample_uniform` for depth [N], which has no classes to be rare."""
    return sample_patches(labels, n, rng) if np.ndim(labels) == 2 else sample_uniform(labels, n, rng)


SAMPLING = {"salient": sample_salient, "uniform": sample_uniform, "all": sample_uniform}


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
    labels: Labels
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
      num_classes: C, or None for depth.
      key_dtype: "auto", "float32" or "bfloat16".
      pixels: pixels in a patch.
      columns: where entries go; None: memory.
      length: entries that the columns hold already.
    """

    def __init__(
        self,
        capacity: int,
        num_classes: int | None,
        key_dtype: str = "auto",
        pixels: int = 256,
        columns: Columns | None = None,
        length: int = 0,
    ):
        self.capacity, self.num_classes, self.key_dtype, self.pixels = capacity, num_classes, key_dtype, pixels
        self.columns = columns if columns is not None else MemoryColumns(capacity)
        self.length = length

    def add(self, keys: np.ndarray, labels: np.ndarray, image: int, epoch: int, patch: np.ndarray) -> None:
        """Appends entries of one image.

        Args:
          keys: float32 [n, D], L2-normalised.
          labels: pixel counts [n, C], or mean depths [n]; rows that are 0 everywhere are dropped.
          image, epoch: where they come from. patch: int [n].
        """
        room = self.capacity - self.length
        chosen = np.flatnonzero(has_label(labels))[:room]
        if not len(chosen):
            return
        dtype = key_dtype(self.key_dtype, self.capacity, keys.shape[1])
        new = {
            "keys": keys[chosen].astype(dtype, copy=False),
            "image": np.full(len(chosen), image, np.int32),
            "epoch": np.full(len(chosen), epoch, np.uint8),
            "patch": patch[chosen].astype(np.int32),
        }
        if self.num_classes is None:
            new["label_depth"] = labels[chosen].astype(np.float32)
        else:
            new |= sparse_counts(labels[chosen], self.pixels)
        for name, values in new.items():
            self.columns.append(name, values)
        self.length += len(chosen)

    def finish(self) -> MemoryBank:
        """The bank; UserError if no patch of any image holds a valid pixel."""
        if not self.length:
            raise UserError("the prompt holds no patch with a valid label: check data.root and the void value")
        return bank_from_columns(self.columns.finish(), self.num_classes)


def bank_from_columns(columns: dict[str, np.ndarray], num_classes: int | None) -> MemoryBank:
    """The bank that `BankBuilder` put into columns."""
    if num_classes is None:
        labels: Labels = DepthLabels(columns["label_depth"])
    else:
        labels = ClassLabels(num_classes, *(columns[f"label_{name}"] for name in CLASS_COLUMNS))
    return MemoryBank(columns["keys"], labels, columns["image"], columns["epoch"], columns["patch"])


def bank_columns(bank: MemoryBank) -> dict[str, np.ndarray]:
    """The columns that `bank_from_columns` makes the bank of."""
    columns = {name: getattr(bank, name) for name in ("keys", "image", "epoch", "patch")}
    if isinstance(bank.labels, DepthLabels):
        return {**columns, "label_depth": bank.labels.depth}
    labels = bank.labels
    lengths = np.diff(labels.offsets).astype(np.uint16)  # as `sparse_counts` gives them
    return {**columns, "label_lengths": lengths, "label_classes": labels.classes, "label_counts": labels.counts}


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
