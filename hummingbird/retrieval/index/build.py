"""Builds an index of any kind: `build_index(keys, kind).search(queries, k)`.

Neighbours are those with the largest inner product. Keys and queries are L2-normalised by the caller, so that it is the
cosine similarity; `hummingbird.retrieval.space` has other distances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from numpy.typing import ArrayLike

from hummingbird.config.evaluate import Scann
from hummingbird.config.schema import resolve
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.keys import KEY_DTYPES
from hummingbird.retrieval.index import scann
from hummingbird.retrieval.index.auto import AutoIndex
from hummingbird.retrieval.index.device import DeviceIndex, shortage
from hummingbird.retrieval.index.exact import ExactIndex
from hummingbird.retrieval.index.interface import Index, Keys
from hummingbird.retrieval.index.scann import ScannIndex
from hummingbird.retrieval.index.scann_build import build_scann, scann_bytes
from hummingbird.retrieval.index.settings import ScannSettings, decide


class How(NamedTuple):
    """How an index is built.

    Attributes:
      scann: settings of kind "scann".
      folder: keeps the index of kind "scann"; None: not kept.
      progress: show a progress bar.
      device_recall: expected share of the true neighbours that kind "device" finds.
      unit: whether keys are L2-normalised.
    """

    scann: ScannSettings
    folder: str | None
    progress: bool
    device_recall: float
    unit: bool


# Below this many keys an exact search is as fast as building and searching a tree.
AUTO_SCANN_LENGTH = 50_000


def build_index(
    keys: ArrayLike,
    kind: str = "auto",
    folder: str | None = None,
    progress: bool = False,
    neighbours: int = 30,
    device_recall: float = 1.0,
    unit: bool = True,
    **settings: int | float | str | None,
) -> Index:
    """Builds an index over keys.

    Args:
      keys: float32 or bfloat16 [M, D], finite, L2-normalised if `unit`; other numbers are copied to float32.
      kind: "exact"; "scann" (tree and asymmetric hashing, App. A.2; exact, with a warning, if ScaNN cannot be imported
        or there are fewer keys than leaves); "device" (exact, on all local JAX devices, in the type of the keys);
        "auto" (device on accelerators with enough memory; else scann for large banks and exact for small ones).
      folder: keeps the index of kind "scann" and finds it again; None: not kept.
      progress: show a progress bar while an index of kind "scann" is built.
      neighbours: how many will be looked up; those of an approximate index grow with them.
      device_recall: expected share of the true neighbours that kind "device" finds; below 1, by approximation, which is
        faster on TPUs.
      unit: whether keys are L2-normalised; if not, "auto" never means scann, which is made for unit vectors.
      **settings: fields of `hummingbird.config.evaluate.Scann`; other kinds ignore them.

    Raises:
      UserError: unknown kind or setting, no keys, or keys that are not numbers, not [M, D] or not finite.

    Example:
      >>> index = build_index(np.eye(3, dtype=np.float32), kind="exact")
      >>> index.search(np.array([[0.6, 0.8, 0.0]], np.float32), k=2)
      (array([[1, 0]], dtype=int32), array([[0.8, 0.6]], dtype=float32))
    """
    if kind not in INDEXES:
        raise UserError(f"retrieval.index: {kind!r} is not one of {', '.join(INDEXES)}")
    names = [field.name for field in dataclasses.fields(Scann)]
    unknown = [name for name in settings if name not in names]
    if unknown:
        raise UserError(f"index setting {unknown[0]!r} is unknown; there are {', '.join(names)}")
    chosen, keys = resolve(Scann, settings), checked(keys)
    return INDEXES[kind](keys, How(decide(chosen, len(keys), neighbours), folder, progress, device_recall, unit))


def checked(keys: ArrayLike) -> Keys:
    """Returns the keys as a contiguous float32 or bfloat16 array; UserError if they cannot be searched."""
    try:
        array = np.asarray(keys)
        dtype = array.dtype if array.dtype in KEY_DTYPES.values() else np.dtype(np.float32)
        shape, array = array.shape, np.ascontiguousarray(array, dtype)
    except (TypeError, ValueError) as error:
        raise UserError(f"index keys: expected numbers [M, D]: {error}") from error
    if len(shape) != 2 or not len(array):
        raise UserError(f"index keys: shape {shape}, expected [M, D] with at least one key")
    # A NaN key makes ScaNN's tree build end the process, so it is refused here for every kind.
    check_finite(array)
    return array


def check_finite(keys: Keys, chunk: int = 65_536) -> None:
    """Raises UserError that names the first rows holding NaN or infinity."""
    for start in range(0, len(keys), chunk):
        part = keys[start : start + chunk]
        with np.errstate(over="ignore", invalid="ignore"):
            if part.dtype == np.float32 and np.isfinite(part.sum()):
                continue  # no value is NaN or infinite; the converse does not hold, since the sum may overflow
        if part.dtype.itemsize == 2 and (part.view(np.uint16) & 0x7F80).max() < 0x7F80:
            continue  # bfloat16: an exponent of all ones is NaN or infinity
        finite = np.isfinite(part).all(axis=1)
        if not finite.all():
            rows = (start + np.flatnonzero(~finite)[:5]).tolist()
            raise UserError(f"index keys: rows {rows} (and perhaps more) are NaN or infinite; check the encoder")


def retuned(index: Index, settings: ScannSettings) -> Index:
    """Returns an index with other settings of the search; exact kinds have none."""
    return index.retuned(settings) if isinstance(index, ScannIndex | AutoIndex) else index


def index_bytes(kind: str, length: int, dim: int, itemsize: int, dimensions_per_block: int) -> int:
    """Estimates the memory that `build_index` takes in addition to the keys.

    Args:
      kind: as for `build_index`.
      length, dim, itemsize: number, dimensions and bytes per value of the keys.
      dimensions_per_block: setting of kind "scann".

    Returns:
      Bytes of host memory.
    """
    cpu = jax.default_backend() == "cpu"
    on_host = kind == "auto" and (cpu or bool(shortage(length, dim, itemsize)))
    if kind == "scann" or (on_host and length >= AUTO_SCANN_LENGTH):
        return scann_bytes(length, dim, itemsize, dimensions_per_block) if scann.find_scann().module else 0
    return length * dim * itemsize if kind == "device" and cpu else 0


def build_exact(keys: Keys, how: How) -> Index:
    """Builds an exact float32 index in NumPy."""
    return ExactIndex(keys)


def build_on_host(keys: Keys, how: How) -> Index:
    """Builds a ScaNN index, or, with a warning, an exact one where that is impossible."""
    return build_scann(keys, how.scann, how.folder, how.progress)


def build_device(keys: Keys, how: How) -> Index:
    """Builds an index on all local JAX devices."""
    return DeviceIndex(keys, recall=how.device_recall)


def build_auto(keys: Keys, how: How) -> Index:
    """Builds a device index on accelerators; on CPUs ScaNN for large banks if installed, else an exact index."""

    def build_host() -> Index:
        return INDEXES[kind_on_host(len(keys), how.unit)](keys, how)

    return build_host() if jax.default_backend() == "cpu" else AutoIndex(keys, build_host, how.device_recall)


def kind_on_host(length: int, unit: bool = True) -> str:
    """Returns the kind of index that "auto" builds on the host for `length` keys, L2-normalised if `unit`."""
    return "scann" if unit and length >= AUTO_SCANN_LENGTH and scann.find_scann().installed else "exact"


@runtime_checkable
class Narrowed(Protocol):
    """An index that can search its keys exactly, which may not be compared by inner products alone."""

    def exactly(self) -> Index:
        """Returns an index over the same keys that finds all neighbours."""
        ...


def exact_version(index: Index, keys: Keys) -> Index:
    """Returns an exact index over the keys of `index`: on the devices, if that is where they are."""
    if isinstance(index, AutoIndex):
        index = index.current
    return index.exactly() if isinstance(index, Narrowed) else ExactIndex(keys)


INDEXES: dict[str, Callable[[Keys, How], Index]] = {
    "auto": build_auto,
    "exact": build_exact,
    "scann": build_on_host,
    "device": build_device,
}
