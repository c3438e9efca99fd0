"""ScaNN: tree, asymmetric hashing and exact re-scoring (App. A.2, Table 6). The only place that imports it.

Traps, all met: a NaN key ends the process while a tree is built; fewer keys than leaves raises; what it does not find
it pads with id 0 and NaN; serialised searchers hold absolute paths unless told otherwise. Keys beyond two GiB are
indexed in shards without ScaNN's own copy of them, and the best candidates of all shards are re-scored from the bank's
keys, so that memory stays near the size of the bank.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pathlib
import shutil
import warnings
from typing import Any

import numpy as np

from hummingbird.config import EVALUATE
from hummingbird.errors import UserError
from hummingbird.retrieval.bank_files import checksum, write_json
from hummingbird.retrieval.exact_index import ExactIndex, top_k

DEFAULTS = {name: setting.default for name, setting in EVALUATE["retrieval"]["scann"].items()}
SHARD_BYTES = 2 * 2**30  # of float32 keys in one searcher
MANIFEST = "index.json"


def import_scann() -> Any:
    """ScaNN's NumPy interface, or None where it is not installed (it exists for Linux only)."""
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError:
        return None
    return scann_ops_pybind


class ScannIndex:
    """Searchers over consecutive shards of the keys.

    Args:
      searchers: one for each shard; a single one re-scores by itself.
      starts: number of the first key of each shard, and the number of all keys.
      reorder: candidates re-scored exactly.
      keys: float32 or bfloat16 [M, D], for re-scoring over several shards.
    """

    kind, exact = "scann", False

    def __init__(self, searchers: list[Any], starts: list[int], reorder: int, keys: np.ndarray):
        self.searchers, self.starts, self.reorder = searchers, starts, reorder
        self.keys = keys if len(searchers) > 1 else None

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """queries float32 [Q, D] -> ids int32 [Q, k], similarity float32 [Q, k]; best first, -1 and -inf for none."""
        queries = np.ascontiguousarray(queries, np.float32)
        if not np.isfinite(queries).all():
            raise UserError("index queries: NaN or infinite values; check the encoder")
        if self.keys is None:
            return _pad(*self._candidates(0, queries, k, max(self.reorder, k)), k)
        ids = np.full((len(queries), k), -1, np.int32)
        best = np.full((len(queries), k), -np.inf, np.float32)
        for start in range(0, len(queries), 256):
            part = slice(start, start + 256)
            ids[part], best[part] = self._search_shards(queries[part], k, max(self.reorder, k))
        return ids, best

    def _candidates(self, shard: int, queries: np.ndarray, wanted: int, reorder: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the keys that one searcher finds, -1 with -inf where it finds less than `wanted`."""
        wanted = min(wanted, self.starts[shard + 1] - self.starts[shard])
        found, similarity = self.searchers[shard].search_batched_parallel(
            queries, final_num_neighbors=wanted, pre_reorder_num_neighbors=max(reorder, wanted)
        )
        missing = np.isnan(similarity)
        ids = np.where(missing, -1, found.astype(np.int64) + self.starts[shard]).astype(np.int32)
        return ids, np.where(missing, -np.inf, similarity).astype(np.float32)

    def _search_shards(self, queries: np.ndarray, k: int, reorder: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.keys is not None
        found = [self._candidates(shard, queries, reorder, reorder) for shard in range(len(self.searchers))]
        ids, rough = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        column, _ = top_k(rough, reorder)
        ids = np.take_along_axis(ids, column, axis=1)
        near = self.keys[np.maximum(ids, 0)].astype(np.float32)  # [q, reorder, D]
        similarity = np.einsum("qd,qrd->qr", queries, near)
        similarity = np.where(ids >= 0, similarity, -np.inf)
        column, similarity = top_k(similarity, k)
        return _pad(np.take_along_axis(ids, column, axis=1), similarity, k)

    def save(self, folder: pathlib.Path, settings: dict[str, Any]) -> None:
        """Writes the searchers with checksums; the folder is either whole or not there."""
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        for number, searcher in enumerate(self.searchers):
            (part / f"shard{number}").mkdir(parents=True)
            searcher.serialize(str(part / f"shard{number}"), relative_path=True)
        files = {str(p.relative_to(part)): checksum(p) for p in sorted(part.rglob("*")) if p.is_file()}
        write_json(part / MANIFEST, {"starts": self.starts, "reorder": self.reorder, **settings, "files": files})
        os.replace(part, folder)


def _pad(ids: np.ndarray, similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    missing = ((0, 0), (0, k - ids.shape[1]))
    padded = np.pad(ids, missing, constant_values=-1), np.pad(similarity, missing, constant_values=-np.inf)
    return padded[0].astype(np.int32), padded[1].astype(np.float32)


def build_scann(keys: np.ndarray, **settings: Any) -> ScannIndex | ExactIndex:
    """A tree-AH index with the settings of Table 6; exact with a warning where that is impossible."""
    scann, chosen = import_scann(), {**DEFAULTS, **settings}
    if scann is None or len(keys) < chosen["leaves"]:
        few = f"{len(keys)} keys are fewer than {chosen['leaves']} leaves"
        why = "scann is not installed" if scann is None else few
        warnings.warn(f"index: {why}, searching exactly instead", stacklevel=2)
        return ExactIndex(keys)
    shards = max(1, -(-4 * keys.shape[0] * keys.shape[1] // SHARD_BYTES))
    starts = np.linspace(0, len(keys), shards + 1).astype(int).tolist()
    searchers = []
    for first, last in itertools.pairwise(starts):
        part = np.ascontiguousarray(keys[first:last], np.float32)
        # ScaNN draws its first centres anew each time, and threads add up in any order: both would change the result.
        same = chosen["deterministic"]
        threads = 1 if same else os.cpu_count() or 1
        builder = scann.builder(part, 10, "dot_product").set_n_training_threads(threads)
        if chosen["autopilot"]:
            builder = builder.autopilot()
        else:
            builder = builder.tree(
                chosen["leaves"],
                chosen["leaves_to_search"],
                training_sample_size=chosen["training_sample"],
                random_init=not same,
            ).score_ah(
                chosen["dimensions_per_block"],
                anisotropic_quantization_threshold=chosen["anisotropic_threshold"],
                training_sample_size=chosen["training_sample"],
            )
            builder = builder.reorder(chosen["reorder"]) if shards == 1 else builder
        searchers.append(builder.build())
    return ScannIndex(searchers, starts, chosen["reorder"], keys)


def saved_scann(keys: np.ndarray, folder: str, **settings: Any) -> ScannIndex | ExactIndex:
    """`build_scann`, kept in a folder beside the bank: read if it is there and undamaged, built and written if not."""
    chosen = {**DEFAULTS, **settings}
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]
    path = pathlib.Path(folder) / f"index-scann-{digest}"
    scann = import_scann()
    if scann is None or not (path / MANIFEST).is_file():
        index = build_scann(keys, **settings)
        if isinstance(index, ScannIndex):
            index.save(path, {"settings": chosen})
        return index
    manifest = json.loads((path / MANIFEST).read_text())
    for name, expected in manifest["files"].items():
        if not (path / name).is_file() or checksum(path / name) != expected:
            raise UserError(f"{path / name}: is missing or does not match its checksum; delete {path}")
    shards = len(manifest["starts"]) - 1
    searchers = [scann.load_searcher(str(path / f"shard{number}")) for number in range(shards)]
    return ScannIndex(searchers, manifest["starts"], manifest["reorder"], keys)
