"""ScaNN: tree, asymmetric hashing and exact re-scoring (App. A.2, Table 6). The only module that imports it.

ScaNN searches; the tree and the codes are trained by `index.quantise` and handed over as the files that ScaNN itself
would write. Keys beyond 2 GiB are indexed in shards without ScaNN's own copy of them, and the best candidates of all
shards are re-scored from the bank's keys, so that memory stays near the size of the bank.

Pitfalls:

1. A NaN key crashes the process while ScaNN builds a tree.
2. Fewer keys than leaves raises.
3. Missing neighbours are padded with id 0 and similarity NaN.
4. Serialised searchers hold absolute paths unless told otherwise.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import importlib
import itertools
import json
import os
import pathlib
import shutil
import tempfile
import warnings
from typing import Any, cast

import numpy as np

from hummingbird.config.evaluate import Scann
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.files import checksum
from hummingbird.retrieval.bank.writing import FULL, lock
from hummingbird.retrieval.index.exact import ExactIndex, top_k
from hummingbird.run.files import write_json

DEFAULTS = dataclasses.asdict(Scann())
SHARD_BYTES = 2 * 2**30  # of float32 keys in one searcher
BATCH = 1024  # queries that ScaNN answers at a time on each thread
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
        for start in range(0, len(queries), 2 * BATCH):
            part = slice(start, start + 2 * BATCH)
            ids[part], best[part] = self._search_shards(queries[part], k, max(self.reorder, k))
        return ids, best

    def _candidates(self, shard: int, queries: np.ndarray, wanted: int, reorder: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the keys that one searcher finds, -1 with -inf where it finds less than `wanted`."""
        wanted = min(wanted, self.starts[shard + 1] - self.starts[shard])
        found, similarity = self.searchers[shard].search_batched_parallel(
            queries,
            final_num_neighbors=wanted,
            pre_reorder_num_neighbors=max(reorder, wanted),
            # Every thread gets some.
            batch_size=max(1, min(BATCH, -(-len(queries) // (os.cpu_count() or 1)))),
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
        similarity = np.where(ids >= 0, rescore(queries, self.keys, np.maximum(ids, 0)), -np.inf)
        column, similarity = top_k(similarity, k)
        return _pad(np.take_along_axis(ids, column, axis=1), similarity, k)


def rescore(queries: np.ndarray, keys: np.ndarray, ids: np.ndarray, rows: int = 32) -> np.ndarray:
    """Inner products of queries float32 [Q, D] with the keys [M, D] that they name, ids [Q, n] -> float32 [Q, n]."""
    raw = keys if keys.dtype == np.float32 else keys.view(np.uint16)  # NumPy copies and widens integers faster
    found = np.empty(ids.shape, np.float32)

    def part(start: int) -> None:
        near = raw[ids[start : start + rows]]
        if near.dtype != np.float32:
            near = (near.astype(np.uint32) << 16).view(np.float32)  # a bfloat16 is a float32's upper half
        found[start : start + rows] = np.matmul(near, queries[start : start + rows, :, None])[..., 0]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(part, range(0, len(ids), rows)):
            pass
    return found


def _pad(ids: np.ndarray, similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    missing = ((0, 0), (0, k - ids.shape[1]))
    padded = np.pad(ids, missing, constant_values=-1), np.pad(similarity, missing, constant_values=-np.inf)
    return padded[0].astype(np.int32), padded[1].astype(np.float32)


# ---------------------------------------------------------------- building
def count_shards(length: int, dim: int) -> int:
    """Searchers that a bank is split over; one alone keeps the keys, for re-scoring."""
    return max(1, -(-4 * length * dim // SHARD_BYTES))


def index_bytes(length: int, dim: int, itemsize: int, dimensions_per_block: int) -> int:
    """Memory of an index over `length` keys of `dim` values of `itemsize` bytes, beside the keys: an estimate.

    A code is half a byte for each block; while a shard is read its codes are there once more, a byte for each.
    """
    shards, blocks = count_shards(length, dim), -(-dim // dimensions_per_block)
    keys = length * dim * itemsize if shards == 1 else 0
    return keys + length * (blocks // 2 + 4) + length // shards * blocks


def build_scann(
    keys: np.ndarray, folder: str | None = None, progress: bool = False, **settings: Any
) -> ScannIndex | ExactIndex:
    """A tree-AH index with the settings of Table 6; exact with a warning where that is impossible.

    Args:
      keys: float32 or bfloat16 [M, D], L2-normalised, finite.
      folder: where the index is kept: read if it is there and undamaged, built and written if not; None: nowhere.
      progress: show a bar with the time left.
    """
    scann, chosen = import_scann(), {**DEFAULTS, **settings}
    if scann is None or len(keys) < chosen["leaves"]:
        few = f"{len(keys)} keys are fewer than {chosen['leaves']} leaves"
        why = "scann is not installed" if scann is None else few
        warnings.warn(f"index: {why}, searching exactly instead", stacklevel=2)
        return ExactIndex(keys)
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]
    path = pathlib.Path(folder) / f"index-scann-{digest}" if folder else None
    if path and (path / MANIFEST).is_file():
        return load_index(verified(path), keys)
    if path and not os.access(path.parent, os.W_OK):
        warnings.warn(f"index: {folder} cannot be written, the index is not kept", stacklevel=2)
        path = None
    try:
        if path:
            return load_index(keep_index(path, keys, chosen, progress), keys)
        with tempfile.TemporaryDirectory(prefix="hummingbird-index-") as scratch:
            write_index(pathlib.Path(scratch), keys, chosen, progress)
            return load_index(pathlib.Path(scratch), keys)
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = f"{tempfile.gettempdir()} is full; make room, or set TMPDIR to a folder with room for the keys"
        place = f"the disk of retrieval.bank={folder} is full; make room and run the same command" if path else place
        raise UserError(f"index: {place}") from error


def keep_index(path: pathlib.Path, keys: np.ndarray, chosen: dict[str, Any], progress: bool) -> pathlib.Path:
    """Builds the index `path` inside a bank's folder; who asks for it meanwhile waits and finds it there."""
    with lock(path.parent, wait=True):
        if (path / MANIFEST).is_file():
            return verified(path)
        part = path.with_name(path.name + ".part")
        for old in (part, path):  # of an interrupted building, or damaged
            shutil.rmtree(old, ignore_errors=True)
        part.mkdir()
        try:
            write_index(part, keys, chosen, progress, checksums=True)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)  # a full disk needs the room
            raise
        os.replace(part, path)  # either whole or not there
    return path


def verified(path: pathlib.Path) -> pathlib.Path:
    """The folder of a kept index; UserError if one of its files is damaged."""
    for name, expected in read_manifest(path)["files"].items():
        if not (path / name).is_file() or checksum(path / name) != expected:
            raise UserError(f"{path / name}: is missing or does not match its checksum; delete {path}")
    return path


def write_index(
    path: pathlib.Path, keys: np.ndarray, chosen: dict[str, Any], progress: bool = False, checksums: bool = False
) -> None:
    """Trains, encodes and writes searchers for `load_index` into an empty folder."""
    shards = count_shards(*keys.shape)
    starts = np.linspace(0, len(keys), shards + 1).astype(int).tolist()
    quantiser = None if chosen["autopilot"] else _train(keys, chosen)
    for number, (first, last) in enumerate(itertools.pairwise(starts)):
        folder = path / f"shard{number}"
        folder.mkdir()
        if quantiser is None:
            part = np.ascontiguousarray(keys[first:last], np.float32)
            import_scann().builder(part, 10, "dot_product").autopilot().build().serialize(str(folder), True)
        else:
            text = f"index {number + 1}/{shards}" if progress else ""
            _write_shard(folder, keys[first:last], quantiser, chosen, shards == 1, text)
    files = {str(p.relative_to(path)): checksum(p) for p in sorted(path.rglob("*")) if checksums and p.is_file()}
    content = {"starts": starts, "reorder": chosen["reorder"], "settings": chosen, "files": files}
    write_json(path / MANIFEST, content)


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """What index.json says; UserError if it is damaged."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        if not {"starts", "reorder", "files"} <= manifest.keys():
            raise ValueError("it is not whole")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path / MANIFEST}: cannot be read ({error}); delete {path}") from error
    return manifest


def load_index(path: pathlib.Path, keys: np.ndarray) -> ScannIndex:
    """The index over `keys` that `write_index` wrote."""
    manifest = read_manifest(path)
    if manifest["starts"][-1] != len(keys):
        raise UserError(f"{path}: is an index of {manifest['starts'][-1]} keys, the bank has {len(keys)}; delete it")
    shards = len(manifest["starts"]) - 1
    searchers = [import_scann().load_searcher(str(path / f"shard{number}")) for number in range(shards)]
    return ScannIndex(searchers, manifest["starts"], manifest["reorder"], keys)


def reserve(path: pathlib.Path, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file of bytes, mapped; its room on the disk is taken now.

    A mapped page that finds the disk full later ends the process, without an exception.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _train(keys: np.ndarray, chosen: dict[str, Any]) -> Any:
    from hummingbird.retrieval.index import quantise

    rng = np.random.default_rng(0)
    size = min(len(keys), max(chosen["training_sample"], chosen["leaves"]))
    rows = np.sort(rng.choice(len(keys), size, replace=False))  # in the order of the file
    sample = keys[rows].astype(np.float32)[rng.permutation(size)]
    return quantise.train(sample, chosen["leaves"], chosen["dimensions_per_block"], chosen["anisotropic_threshold"])


def _write_shard(
    folder: pathlib.Path, keys: np.ndarray, quantiser: Any, chosen: dict[str, Any], rescore: bool, text: str = ""
) -> None:
    """One searcher's files: configuration, leaves, codebooks, tokens, codes and, to re-score, the keys themselves."""
    from google.protobuf import text_format

    # Their classes are made when they are loaded: a type checker cannot know them.
    partitioner_pb2, centers_pb2, scann_pb2, scann_assets_pb2 = (
        cast(Any, importlib.import_module(f"scann.{name}_pb2"))
        for name in ("partitioning.partitioner", "proto.centers", "proto.scann", "scann_ops.scann_assets")
    )

    from hummingbird.retrieval.index import quantise

    half = keys.dtype != np.float32
    builder = import_scann().builder(keys, 10, "dot_product")
    builder = builder.tree(chosen["leaves"], chosen["leaves_to_search"]).score_ah(
        chosen["dimensions_per_block"], anisotropic_quantization_threshold=chosen["anisotropic_threshold"]
    )
    if rescore:
        types = import_scann().scann_builder.ReorderType
        builder = builder.reorder(chosen["reorder"], quantize=types.BFLOAT16 if half else types.FLOAT32)
    config = text_format.Parse(builder.create_config(), scann_pb2.ScannConfig())
    (folder / "scann_config.pb").write_bytes(config.SerializeToString())

    tree = partitioner_pb2.SerializedPartitioner(n_tokens=len(quantiser.leaves))
    root = tree.kmeans.kmeans_tree.root
    root.leaf_id, root.learned_spilling_threshold = -1, float("nan")
    for number, centre in enumerate(quantiser.leaves):
        root.centers.add().dimension.extend(centre.tolist())
        root.children.add(leaf_id=number, learned_spilling_threshold=float("nan"))
    tree.kmeans.kmeans_tree.learned_spilling_type = 0  # none
    (folder / "serialized_partitioner.pb").write_bytes(tree.SerializeToString())

    codebooks = centers_pb2.CentersForAllSubspaces(quantization_scheme=0)  # product
    width = chosen["dimensions_per_block"]
    for number, centres in enumerate(quantiser.codebooks):
        block = codebooks.subspace_centers.add()
        for centre in centres[:, : keys.shape[1] - number * width].tolist():
            block.center.add(feature_type=2, feature_value_float=centre)  # FLOAT
    (folder / "ah_codebook.pb").write_bytes(codebooks.SerializeToString())

    leaf = np.empty(len(keys), np.int32)
    codes = reserve(folder / "hashed_dataset.npy", (len(keys), len(quantiser.codebooks)))
    quantise.encode(keys, quantiser, leaf, codes, text)
    np.save(folder / "datapoint_to_token.npy", leaf)
    kinds = {"AH_CENTERS": "ah_codebook.pb", "PARTITIONER": "serialized_partitioner.pb"}
    kinds |= {"TOKENIZATION_NPY": "datapoint_to_token.npy", "AH_DATASET_NPY": "hashed_dataset.npy"}
    if rescore:
        name = "bfloat16_dataset.npy" if half else "dataset.npy"
        kinds["BF16_DATASET_NPY" if half else "DATASET_NPY"] = name
        np.save(folder / name, keys.view(np.int16) if half else keys)
    assets = scann_assets_pb2.ScannAssets()
    for kind, name in kinds.items():
        assets.assets.add(asset_type=scann_assets_pb2.ScannAsset.AssetType.Value(kind), asset_path=name)
    (folder / "scann_assets.pbtxt").write_text(text_format.MessageToString(assets))
