"""Nearest neighbours of queries among the keys of a memory bank, behind one interface.

`build_index(keys, kind).search(queries, k)` gives entry numbers and cosine similarities, best first. Keys and queries
are L2-normalised by the caller; similarity is their inner product.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Protocol

import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.memory import KEY_DTYPES
from hummingbird.retrieval.index import scann as scann_index
from hummingbird.retrieval.index.exact import ExactIndex

# Below this many keys an exact search is as fast as building and searching a tree.
AUTO_SCANN_LENGTH = 50_000


class Index(Protocol):
    """What every kind of index can do."""

    kind: str
    exact: bool

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """queries float32 [Q, D] -> ids int32 [Q, k], similarity float32 [Q, k]; best first, -1 and -inf for none."""
        ...


def build_index(
    keys: Any, kind: str = "auto", folder: str | None = None, progress: bool = False, **settings: Any
) -> Index:
    """An index over keys.

    Args:
      keys: float32 or bfloat16 [M, D], L2-normalised, finite; numbers of another type are copied to float32.
      kind: "exact"; "scann" (tree and asymmetric hashing, App. A.2; exact with a warning where ScaNN is missing or
        the bank holds fewer keys than the tree has leaves); "device" (exact, on all local JAX devices, in the
        type of the keys); "auto" (device where there is an accelerator, else scann for large banks, exact for small).
      folder: where an index that takes time to build is kept and looked for; None: nowhere.
      progress: show a bar with the time left where building takes time.
      **settings: for "scann": dimensions_per_block, leaves, leaves_to_search, reorder, anisotropic_threshold,
        training_sample, autopilot (defaults in `hummingbird.config`); other kinds ignore them.

    Raises:
      UserError: unknown kind or setting, no keys, or keys that are not numbers, not [M, D] or not finite.
    """
    if kind not in INDEXES:
        raise UserError(f"retrieval.index: {kind!r} is not one of {', '.join(INDEXES)}")
    unknown = [name for name in settings if name not in scann_index.DEFAULTS]
    if unknown:
        raise UserError(f"index setting {unknown[0]!r} is unknown; there are {', '.join(scann_index.DEFAULTS)}")
    try:
        keys = np.asarray(keys)
        shape, stored = keys.shape, keys.dtype in KEY_DTYPES.values()
        keys = np.ascontiguousarray(keys, keys.dtype if stored else np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"index keys: expected numbers [M, D]: {error}") from error
    if len(shape) != 2 or not len(keys):
        raise UserError(f"index keys: shape {shape}, expected [M, D] with at least one key")
    # A NaN or Inf key makes ScaNN's tree build end the process, so it is refused here for every kind.
    check_finite(keys)
    return INDEXES[kind](keys, folder=folder, progress=progress, **settings)


def index_bytes(kind: str, length: int, dim: int, itemsize: int, dimensions_per_block: int) -> int:
    """Memory that `build_index` takes beside keys of `itemsize` bytes a value, before it is built: an estimate."""
    import jax

    host = jax.default_backend() == "cpu"
    scann = kind == "scann" or (kind == "auto" and host and length >= AUTO_SCANN_LENGTH)
    if scann and scann_index.import_scann() is not None:
        return scann_index.index_bytes(length, dim, itemsize, dimensions_per_block)
    return length * dim * itemsize if kind == "device" and host else 0


def check_finite(keys: np.ndarray, chunk: int = 65_536) -> None:
    """UserError that names the first rows of `keys` [M, D] holding NaN or Inf."""
    for start in range(0, len(keys), chunk):
        part = keys[start : start + chunk]
        with np.errstate(over="ignore", invalid="ignore"):
            if part.dtype == np.float32 and np.isfinite(part.sum()):
                continue  # no value can be NaN or infinite; the other way round the sum may overflow
        if part.dtype.itemsize == 2 and (part.view(np.uint16) & 0x7F80).max() < 0x7F80:
            continue  # bfloat16: an exponent of all ones is NaN or infinity
        finite = np.isfinite(part).all(axis=1)
        if not finite.all():
            rows = (start + np.flatnonzero(~finite)[:5]).tolist()
            raise UserError(f"index keys: rows {rows} (and perhaps more) are NaN or infinite; check the encoder")


def build_exact(keys: np.ndarray, **_: Any) -> Index:
    """Exact search, float32."""
    return ExactIndex(keys)


def build_scann(keys: np.ndarray, folder: str | None = None, progress: bool = False, **settings: Any) -> Index:
    """ScaNN, kept in `folder` if one is given; made if missing."""
    if folder:
        with contextlib.suppress(OSError):  # a folder that cannot be made is warned of like one that cannot be written
            os.makedirs(folder, exist_ok=True)
    return scann_index.build_scann(keys, folder, progress, **settings)


def build_device(keys: np.ndarray, **_: Any) -> Index:
    """Exact search on all local JAX devices, in the type of the keys."""
    from hummingbird.retrieval.index.device import DeviceIndex

    return DeviceIndex(keys)


def build_auto(keys: np.ndarray, folder: str | None = None, progress: bool = False, **settings: Any) -> Index:
    """On accelerators the device index; else ScaNN for large banks where it is installed, exact for small ones."""
    import jax

    if jax.default_backend() != "cpu":
        return build_device(keys)
    if len(keys) >= AUTO_SCANN_LENGTH and scann_index.import_scann() is not None:
        return build_scann(keys, folder, progress, **settings)
    return build_exact(keys)


INDEXES = {"auto": build_auto, "exact": build_exact, "scann": build_scann, "device": build_device}
