"""Files of a ScaNN searcher, written from our own tree and codes instead of by ScaNN.

ScaNN trains on the whole bank. Training on a sample is deterministic and 4 to 6 times faster at equal recall
(`scripts/bench scann_build`), so its file format is written here by hand. The format is no public interface: an index
has to find its own keys (`scann_build.check_index`), and where it does not, ScaNN builds it by itself.
"""

from __future__ import annotations

import importlib
import os
import pathlib
from types import ModuleType

import numpy as np
from jaxtyping import Float32, UInt8

from hummingbird.retrieval.index import quantise
from hummingbird.retrieval.index.interface import Keys
from hummingbird.retrieval.index.scann import Searcher, find_scann
from hummingbird.retrieval.index.settings import ScannSettings


def scann_module() -> ModuleType:
    """Returns ScaNN's NumPy interface, where `find_scann` has found it."""
    module, problem, _ = find_scann()
    if module is None:
        raise RuntimeError(problem)
    return module


def load_searcher(folder: pathlib.Path) -> Searcher:
    """Loads a searcher from the files of one shard."""
    return scann_module().load_searcher(str(folder))


def write_autopilot(folder: pathlib.Path, keys: Keys) -> None:
    """Writes a searcher that ScaNN has configured and trained by itself."""
    builder = scann_module().builder(np.ascontiguousarray(keys, np.float32), 10, "dot_product")
    builder.autopilot().build().serialize(str(folder), True)


def write_native(folder: pathlib.Path, keys: Keys, settings: ScannSettings, rescore: bool) -> None:
    """Writes a searcher that ScaNN has trained by itself, on a sample of its own; arguments as in `write_shard`."""
    builder = scann_module().builder(np.ascontiguousarray(keys, np.float32), 10, "dot_product")
    builder = builder.tree(
        settings.leaves, settings.leaves_to_search, training_sample_size=min(len(keys), settings.training_sample)
    ).score_ah(settings.dimensions_per_block, anisotropic_quantization_threshold=settings.anisotropic_threshold)
    if rescore:
        builder = builder.reorder(settings.reorder)
    builder.build().serialize(str(folder), True)


def write_shard(
    folder: pathlib.Path,
    keys: Keys,
    quantiser: quantise.Quantiser,
    settings: ScannSettings,
    rescore: bool,
    text: str = "",
) -> None:
    """Writes a searcher over keys.

    Args:
      folder: empty.
      keys: float32 or bfloat16 [m, D]; written too if `rescore`, so that the searcher re-scores its candidates.
      quantiser: tree and codebooks.
      settings: of the tree, the codes and the search.
      rescore: whether the searcher holds the keys.
      text: shown beside a progress bar; empty: none.
    """
    half = keys.dtype != np.float32
    (folder / "scann_config.pb").write_bytes(searcher_config(keys, settings, rescore))
    (folder / "serialized_partitioner.pb").write_bytes(tree(quantiser.leaves))
    (folder / "ah_codebook.pb").write_bytes(codebooks(quantiser.codebooks, keys.shape[1]))

    leaf = np.empty(len(keys), np.int32)
    codes = reserve(folder / "hashed_dataset.npy", (len(keys), len(quantiser.codebooks)))
    quantise.encode(keys, quantiser, leaf, codes, text)
    np.save(folder / "datapoint_to_token.npy", leaf)
    names = {
        "AH_CENTERS": "ah_codebook.pb",
        "PARTITIONER": "serialized_partitioner.pb",
        "TOKENIZATION_NPY": "datapoint_to_token.npy",
        "AH_DATASET_NPY": "hashed_dataset.npy",
    }
    if rescore:
        kind, name = ("BF16_DATASET_NPY", "bfloat16_dataset.npy") if half else ("DATASET_NPY", "dataset.npy")
        names[kind] = name
        np.save(folder / name, keys.view(np.int16) if half else keys)
    (folder / "scann_assets.pbtxt").write_text(assets(names))


def reserve(path: pathlib.Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "{shape[0]} {shape[1]}"]:
    """Creates a memory-mapped .npy file of bytes and allocates its disk space now.

    If the disk filled up later, writing to a mapped page would end the process without an exception.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


# ---------------------------------------------------------------- ScaNN's messages
def searcher_config(keys: Keys, settings: ScannSettings, rescore: bool) -> bytes:
    """Returns the serialised ScannConfig that ScaNN's own builder makes for these settings."""
    from google.protobuf import text_format

    scann = scann_module()
    builder = scann.builder(keys, 10, "dot_product")
    builder = builder.tree(settings.leaves, settings.leaves_to_search).score_ah(
        settings.dimensions_per_block, anisotropic_quantization_threshold=settings.anisotropic_threshold
    )
    if rescore:
        types = scann.scann_builder.ReorderType
        half = keys.dtype != np.float32
        builder = builder.reorder(settings.reorder, quantize=types.BFLOAT16 if half else types.FLOAT32)
    config = messages("proto.scann").ScannConfig()
    return text_format.Parse(builder.create_config(), config).SerializeToString()


def tree(leaves: Float32[np.ndarray, "L D"]) -> bytes:
    """Returns a serialised partitioner: a root with one child per leaf centre."""
    partitioner = messages("partitioning.partitioner").SerializedPartitioner(n_tokens=len(leaves))
    root = partitioner.kmeans.kmeans_tree.root
    root.leaf_id, root.learned_spilling_threshold = -1, float("nan")
    for number, centre in enumerate(leaves):
        root.centers.add().dimension.extend(centre.tolist())
        root.children.add(leaf_id=number, learned_spilling_threshold=float("nan"))
    partitioner.kmeans.kmeans_tree.learned_spilling_type = 0  # none
    return partitioner.SerializeToString()


def codebooks(centres: Float32[np.ndarray, "blocks 16 width"], dim: int) -> bytes:
    """Returns serialised codebooks of product quantisation; the last block is cut to the keys' dimension."""
    message = messages("proto.centers").CentersForAllSubspaces(quantization_scheme=0)  # product
    width = centres.shape[2]
    for number, block in enumerate(centres):
        subspace = message.subspace_centers.add()
        for centre in block[:, : dim - number * width].tolist():
            subspace.center.add(feature_type=2, feature_value_float=centre)  # FLOAT
    return message.SerializeToString()


def assets(names: dict[str, str]) -> str:
    """Returns the list of files by their role, as text."""
    from google.protobuf import text_format

    module = messages("scann_ops.scann_assets")
    message = module.ScannAssets()
    for kind, name in names.items():
        message.assets.add(asset_type=module.ScannAsset.AssetType.Value(kind), asset_path=name)
    return text_format.MessageToString(message)


def messages(name: str) -> ModuleType:
    """Imports one of ScaNN's protobuf modules, which create their classes when imported."""
    return importlib.import_module(f"scann.{name}_pb2")
