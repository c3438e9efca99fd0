"""Nearest neighbours of queries among the keys of a memory bank, behind one interface.

`build_index(keys, kind).search(queries, k)` gives entry numbers and cosine similarities, best first. Keys and queries
are L2-normalised by the caller; similarity is their inner product.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, Protocol

import numpy as np

from hummingbird.config import EVALUATE
from hummingbird.errors import UserError

# Below this many keys an exact search is as fast as building and searching a tree.
AUTO_SCANN_LENGTH = 50_000
SCANN_DEFAULTS = {name: setting.default for name, setting in EVALUATE["retrieval"]["scann"].items()}


class Index(Protocol):
    """What every kind of index can do."""

    kind: str
    exact: bool

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """queries float32 [Q, D] -> ids int32 [Q, k], similarity float32 [Q, k]; best first, -1 and -inf for none."""
        ...


def build_index(keys: Any, kind: str = "auto", **settings: Any) -> Index:
    """An index over keys.

    Args:
      keys: float32 or bfloat16 [M, D], L2-normalised, finite.
      kind: "exact"; "scann" (tree and asymmetric hashing, App. A.2; exact with a warning where ScaNN is missing or
        the bank holds fewer keys than the tree has leaves); "device" (exact, on all local JAX devices, in the
        type of the keys); "auto" (device where there is an accelerator, else scann for large banks, exact for small).
      **settings: for "scann": dimensions_per_block, leaves, leaves_to_search, reorder, anisotropic_threshold,
        training_sample, autopilot (defaults in `hummingbird.config`); other kinds ignore them.

    Raises:
      UserError: unknown kind or setting, no keys, or keys that are not finite.
    """
    keys = np.asarray(keys)
    if kind not in INDEXES:
        raise UserError(f"retrieval.index: {kind!r} is not one of {', '.join(INDEXES)}")
    unknown = [name for name in settings if name not in SCANN_DEFAULTS]
    if unknown:
        raise UserError(f"index setting {unknown[0]!r} is unknown; there are {', '.join(SCANN_DEFAULTS)}")
    if keys.ndim != 2 or not len(keys):
        raise UserError(f"index keys: shape {keys.shape}, expected [M, D] with at least one key")
    # A NaN or Inf key makes ScaNN's tree build end the process, so it is refused here for every kind.
    check_finite(keys)
    return INDEXES[kind](keys, **settings)


def check_finite(keys: np.ndarray, chunk: int = 65_536) -> None:
    """UserError that names the first rows of `keys` [M, D] holding NaN or Inf."""
    for start in range(0, len(keys), chunk):
        finite = np.isfinite(keys[start : start + chunk]).all(axis=1)
        if not finite.all():
            rows = (start + np.flatnonzero(~finite)[:5]).tolist()
            raise UserError(f"index keys: rows {rows} (and perhaps more) are NaN or infinite; check the encoder")


# ---------------------------------------------------------------- exact, NumPy
class ExactIndex:
    """Exact search by matrix products over chunks of keys, float32.

    The k best keys of a query lie in the k blocks with the largest block maxima, so only those are looked at closely.
    """

    kind, exact = "exact", True

    def __init__(self, keys: np.ndarray, chunk: int = 65_536, block: int = 64):
        self.keys, self.chunk, self.block = keys, chunk, block

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(queries, np.float32)
        ids = np.full((len(queries), k), -1, np.int32)
        best = np.full((len(queries), k), -np.inf, np.float32)
        for start in range(0, len(queries), 1024):
            part = slice(start, start + 1024)
            for first in range(0, len(self.keys), self.chunk):
                keys = np.asarray(self.keys[first : first + self.chunk], np.float32)
                new_ids, new = top_k(queries[part] @ keys.T, k, self.block)
                ids[part], best[part] = merge_top_k(ids[part], best[part], new_ids + first, new)
        return ids, best


def top_k(scores: np.ndarray, k: int, block: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row, [Q, M] -> columns int32, scores float32 [Q, min(k, M)], best first.

    Among equal scores the lower column comes first; which of those at the border are kept is fixed but arbitrary.
    Blocks are strided (column j is in block j mod blocks), so that their maxima are plain vector operations.
    """
    columns = scores.shape[1]
    blocks = columns // block
    if blocks <= 2 * k:
        candidates = np.broadcast_to(np.arange(columns), scores.shape)
        values = scores
    else:
        tail = np.arange(blocks * block, columns)
        maxima = scores[:, : blocks * block].reshape(len(scores), block, blocks).max(axis=1)
        chosen = np.argpartition(maxima, blocks - k, axis=1)[:, blocks - k :]
        inside = (chosen[:, None, :] + (np.arange(block) * blocks)[None, :, None]).reshape(len(scores), -1)
        candidates = np.concatenate([inside, np.broadcast_to(tail, (len(scores), len(tail)))], axis=1)
        values = np.take_along_axis(scores, candidates, axis=1)
    count = min(k, columns)
    if values.shape[1] > count:
        near = np.argpartition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count :]
        candidates, values = np.take_along_axis(candidates, near, 1), np.take_along_axis(values, near, 1)
    order = np.lexsort((candidates, -values), axis=1)
    return np.take_along_axis(candidates, order, 1).astype(np.int32), np.take_along_axis(values, order, 1)


def merge_top_k(
    ids: np.ndarray, similarity: np.ndarray, new_ids: np.ndarray, new_similarity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of two candidate lists per row: [Q, k] and [Q, n] -> [Q, k], best first; ties: lower id first."""
    k = ids.shape[1]
    all_ids = np.concatenate([ids, new_ids], axis=1)
    all_similarity = np.concatenate([similarity, new_similarity], axis=1)
    order = np.lexsort((all_ids, -all_similarity), axis=1)[:, :k]
    return np.take_along_axis(all_ids, order, 1), np.take_along_axis(all_similarity, order, 1)


def build_exact(keys: np.ndarray, **_: Any) -> Index:
    """Exact search, float32."""
    return ExactIndex(keys)


# ---------------------------------------------------------------- ScaNN
def import_scann() -> Any:
    """ScaNN's NumPy interface, or None where it is not installed (it exists for Linux only)."""
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError:
        return None
    return scann_ops_pybind


class ScannIndex:
    """Tree, asymmetric hashing and exact re-scoring of the best candidates (App. A.2)."""

    kind, exact = "scann", False

    def __init__(self, searcher: Any, length: int, reorder: int):
        self.searcher, self.length, self.reorder = searcher, length, reorder

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(queries, np.float32)
        if not np.isfinite(queries).all():
            raise UserError("index queries: NaN or infinite values; check the encoder")
        wanted = min(k, self.length)
        found, similarity = self.searcher.search_batched_parallel(
            queries, final_num_neighbors=wanted, pre_reorder_num_neighbors=max(self.reorder, wanted)
        )
        # ScaNN pads with id 0 and NaN where it finds less than it was asked for.
        missing = np.isnan(similarity)
        ids = np.full((len(queries), k), -1, np.int32)
        best = np.full((len(queries), k), -np.inf, np.float32)
        ids[:, :wanted] = np.where(missing, -1, found.astype(np.int32))
        best[:, :wanted] = np.where(missing, -np.inf, similarity)
        return ids, best


def build_scann(keys: np.ndarray, **settings: Any) -> Index:
    """ScaNN's tree-AH searcher with the settings of Table 6; exact with a warning where that is impossible."""
    scann, chosen = import_scann(), {**SCANN_DEFAULTS, **settings}
    leaves, sample, reorder = chosen["leaves"], chosen["training_sample"], chosen["reorder"]
    if scann is None or len(keys) < leaves:
        why = "scann is not installed" if scann is None else f"{len(keys)} keys are fewer than {leaves} leaves"
        warnings.warn(f"index: {why}, searching exactly instead", stacklevel=2)
        return build_exact(keys)
    builder = scann.builder(np.ascontiguousarray(keys, np.float32), 10, "dot_product")
    builder = builder.set_n_training_threads(os.cpu_count() or 1)
    if chosen["autopilot"]:
        builder = builder.autopilot()
    else:
        builder = (
            builder.tree(leaves, chosen["leaves_to_search"], training_sample_size=sample)
            .score_ah(
                chosen["dimensions_per_block"],
                anisotropic_quantization_threshold=chosen["anisotropic_threshold"],
                training_sample_size=sample,
            )
            .reorder(reorder)
        )
    return ScannIndex(builder.build(), len(keys), reorder)


def build_device(keys: np.ndarray, **_: Any) -> Index:
    """Exact search on all local JAX devices, in the type of the keys."""
    from hummingbird.retrieval.device_index import DeviceIndex

    return DeviceIndex(keys)


def build_auto(keys: np.ndarray, **settings: Any) -> Index:
    """On accelerators the device index; else ScaNN for large banks where it is installed, exact for small ones."""
    import jax

    if jax.default_backend() != "cpu":
        return build_device(keys)
    if len(keys) >= AUTO_SCANN_LENGTH and import_scann() is not None:
        return build_scann(keys, **settings)
    return build_exact(keys)


INDEXES = {"auto": build_auto, "exact": build_exact, "scann": build_scann, "device": build_device}
