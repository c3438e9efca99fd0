"""Building a ScaNN index: our training on a sample against ScaNN's training on the whole bank, with the recall of both.

Keys are features of random crops of images, queries are features of other images. Both sides use the settings of
Table 6 (4 dimensions per block, 512 leaves) and all cores; each runs in its own process, one after the other. Recall@30
against exact search and the time for 1,024 queries are measured for several numbers of leaves searched and candidates
re-scored; `reaches` is the fastest setting with a recall of at least 0.99.

    scripts/bench scann_build [--keys=1000000] [--dim=384] [--encoder=PATH] [--data=FOLDER] [--leaves=512]

On two cores, 1,000,000 features of 384 dimensions:

- of a ViT-S/16 trained for 300 steps on 125 photographs: 21.4 s against 92.5 s, 28 against 158 processor seconds. With
  64 leaves and 3,000 candidates recall is 0.996 in 0.54 s, with Table 6's 32 and 120 it is 0.73 in 0.21 s. Training on
  the whole bank finds slightly more at the same settings (0.9998 and 0.79). The encoder was trained by `pretrain
  --config=configs/pretrain/small.py:cpu` with encoder.name=vit_s16, encoder.width=384, encoder.depth=12,
  encoder.heads=6, input_size=96, batch_size=32, total_steps=300.
- of pixels: 19.4 s against 125.9 s, with a higher recall at every setting (Table 6's: 0.54 against 0.49). No setting
  reaches 0.99 on these features, on either side.

--encoder is a checkpoint as for `hummingbird evaluate` and then gives the dimension; the default is random features of
a patch's pixels. --data is a folder that is searched for photographs, by default ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
K, QUERIES, SIZE = 30, 1024, 512
SETTINGS = [(32, 120), (32, 400), (32, 1000), (64, 1000), (64, 3000), (128, 3000), (128, 10_000), (256, 10_000)]
LABELS = ("label", "segmentation", "gtfine", "annotation", "depth")


def photographs(folder: str) -> list[pathlib.Path]:
    """Returns the image files under a folder, except those of label folders."""
    files = [p for p in sorted(pathlib.Path(folder).rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    inside = [(p, str(p.relative_to(folder)).lower()) for p in files]
    return [p for p, name in inside if not any(word in name for word in LABELS)]


def extract(options: argparse.Namespace, folder: pathlib.Path) -> str:
    """Writes keys.npy and queries.npy, L2-normalised; returns a description of the features."""
    from hummingbird.data.crops import random_resized_crop
    from hummingbird.data.image_files import decode_image
    from hummingbird.retrieval.bank.keys import normalise

    if options.encoder:
        from hummingbird.encoder import load_encoder

        encoder: Any = load_encoder(options.encoder)
    else:
        from sides.encoders import PixelFeatures

        encoder = PixelFeatures(options.dim)
    files = photographs(options.data)
    # Files next to each other in a sorted listing are often similar, so blocks of eight go to queries or keys.
    asked, held = (
        [p for i, p in enumerate(files) if i // 8 % 8 == 7],
        [p for i, p in enumerate(files) if i // 8 % 8 < 7],
    )

    def write(name: str, chosen: list[pathlib.Path], count: int, per_crop: int | None) -> np.ndarray:
        rng, filled, array = np.random.default_rng(len(name)), 0, np.zeros(0)
        while filled < count:
            picked = [chosen[i] for i in rng.integers(0, len(chosen), 4)]
            images = [decode_image(p.read_bytes(), p.name) for p in picked]
            features = np.asarray(encoder(np.stack([random_resized_crop(rng, x, SIZE) for x in images])))
            rows = normalise(features.reshape(4, -1, features.shape[-1]))[0]
            rows = rows[:, rng.permutation(rows.shape[1])[:per_crop]].reshape(-1, rows.shape[-1])[: count - filled]
            if not filled:
                refuse_shards(options.keys, rows.shape[1])
                array = np.lib.format.open_memmap(folder / name, "w+", np.float32, (count, rows.shape[1]))
            array[filled : filled + len(rows)] = rows
            filled += len(rows)
        return array

    keys = write("keys.npy", held, options.keys, None)
    write("queries.npy", asked, QUERIES, 32)
    return f"{encoder.name}, {keys.shape[1]} dimensions, crops of {len(held)} images; queries of {len(asked)} others"


def refuse_shards(keys: int, dim: int) -> None:
    """Ends the program if the index would be sharded: this benchmark compares one searcher with one."""
    from hummingbird.retrieval.index.scann_build import SHARD_BYTES, count_shards

    if count_shards(keys, dim) > 1:
        most = SHARD_BYTES // (4 * dim)
        sys.exit(f"bench: {keys:,} keys of {dim} dimensions would be searched in shards; use at most --keys={most}")


def ours(keys: np.ndarray, options: argparse.Namespace) -> Any:
    from hummingbird.retrieval.index.build import build_index

    return build_index(keys, "scann", leaves=options.leaves).searchers[0]  # type: ignore[attr-defined]


def whole_bank(keys: np.ndarray, options: argparse.Namespace) -> Any:
    from scann.scann_ops.py import scann_ops_pybind

    builder = scann_ops_pybind.builder(keys, K, "dot_product").set_n_training_threads(os.cpu_count())
    builder = builder.tree(options.leaves, 32, training_sample_size=len(keys))
    builder = builder.score_ah(4, anisotropic_quantization_threshold=0.2, training_sample_size=len(keys))
    return builder.reorder(120).build()


SIDES = {"ours": ours, "whole_bank": whole_bank}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the build time and the recalls of one side."""
    import jax
    import scann  # noqa: F401 before the clock starts

    jax.local_devices()
    keys, queries = (np.load(pathlib.Path(options.folder) / name) for name in ("keys.npy", "queries.npy"))
    start, cpu = time.perf_counter(), time.process_time()
    searcher = SIDES[options.side](keys, options)
    result: dict[str, Any] = {"build_seconds": round(time.perf_counter() - start, 2)}
    result["build_processor_seconds"] = round(time.process_time() - cpu, 2)
    result["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    least = np.load(pathlib.Path(options.folder) / "truth.npy")[:, -1:] - 1e-6
    rows = []
    for leaves, reorder in SETTINGS:
        start, cpu = time.perf_counter(), time.process_time()
        _, similarity = searcher.search_batched_parallel(queries, K, max(K, reorder), leaves, 512)
        row = {"leaves_to_search": leaves, "reorder": reorder, "seconds": round(time.perf_counter() - start, 3)}
        row["processor_seconds"] = round(time.process_time() - cpu, 3)
        # Compared by similarity, not by id: among equal keys any is as near as the true 30th neighbour.
        row["recall_at_30"] = round(float((similarity >= least).mean()), 4)
        rows.append(row)
    good = [row for row in rows if row["recall_at_30"] >= 0.99]
    result["reaches"] = min(good, key=lambda row: row["processor_seconds"]) if good else None
    return {**result, "recall": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--leaves", type=int, default=512)
    parser.add_argument("--encoder", default="")
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--folder", default="", help="folder that keeps keys for later runs; default: a temporary one")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(options.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "truth.npy").exists():
            from hummingbird.retrieval.index.exact import ExactIndex

            (folder / "features.txt").write_text(extract(options, folder))
            keys, queries = np.load(folder / "keys.npy", mmap_mode="r"), np.load(folder / "queries.npy")
            np.save(folder / "truth.npy", ExactIndex(keys).search(queries, K)[1])
        refuse_shards(*np.load(folder / "keys.npy", mmap_mode="r").shape)
        results = {"features": (folder / "features.txt").read_text()}
        for side in SIDES:
            command = [sys.executable, __file__, *sys.argv[1:], f"--folder={folder}", f"--side={side}"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            results[side] = json.loads(output.splitlines()[-1])
    for what in ("", "processor_"):
        a, b = (results[side][f"build_{what}seconds"] for side in SIDES)
        results[f"times_{'less_processor_time' if what else 'faster'}"] = round(b / a, 2)
    print(json.dumps({"benchmark": "scann_build", "options": vars(options), **results}))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
