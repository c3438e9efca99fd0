"""Index build and search time, bytes and recall as the memory bank grows (Figure 5), up to 10,240,000 keys.

Keys are drawn in chunks from a clustered model (a tree of centres, decaying spectrum), stored in a bfloat16 file and
memory-mapped. Recall is measured against an exact search over the same keys.

    scripts/bench retrieval_scale [--lengths=40960,163840,655360,2621440,10240000] [--dim=768] [--index=scann]
                                  [--folder=DIR] [--plot=FILE.png] [--preset=table6|table6_few|auto]
                                  [--leaves=512 --leaves_to_search=32 --reorder=120]

--leaves_to_search=32,256 --reorder=120,1800 measures all four combinations with one index.

Two cores, 24 GiB, the defaults (Table 6's tree; plotted in .assets/retrieval_scale.png). The index gets 1,024 queries,
one image; the exact search only the 64 on which recall is measured (--recall):

          keys    keys' bytes    build    1,024 queries    recall@30    64 exactly    anonymous memory
        40,960        63 MB       4.3 s         0.05 s          0.87        0.08 s             0.4 GB
       163,840       252 MB       5.4 s         0.08 s          0.94        0.30 s             0.7 GB
       655,360       1.0 GB        16 s         0.20 s          0.93        1.3 s              1.3 GB
     2,621,440       4.0 GB        46 s         0.85 s          0.60        5.2 s              0.7 GB
    10,240,000      15.7 GB       166 s         2.6 s           0.32       17 s                1.7 GB

The operating system may drop the mapped keys from memory; including them the largest run peaked at 17.6 GB. On an A100
the paper reports 0.03 s up to a million keys and 0.2 s at ten million, without recall. Recall falls because Table 6
re-scores 120 candidates at any length, not because of the tree: 10,240,000 keys with --leaves_to_search=32,256
--reorder=120,1800:

        leaves    re-scored    1,024 queries    recall@30
            32          120            2.4 s         0.32
            32        1,800            9.8 s         0.99
           256          120           14.8 s         0.32
           256        1,800           21.2 s         0.99

Since then, several shards are re-scored in blocks that stay in a core's cache, and with fewer leaves 10,240,000 keys
take (--leaves=512 --leaves_to_search=4,8 --reorder=1300,1800; the first lines also fetch pages of keys for the first
time):

        leaves    re-scored    1,024 queries    recall@30
             4        1,300            4.2 s         0.97
             4        1,800            5.1 s         0.986
             8        1,300            4.5 s         0.98
             8        1,800            4.0 s         0.995

4,096 leaves take 791 s to build instead of 188 s; 8, 16 and 32 of them find the same 0.71, 0.89 and 0.99 with 600,
1,000 and 1,800 candidates.

`retrieval.scann.preset=auto` takes 512 leaves and 300 candidates up to 524,000 keys, 1,024 and 300 at 655,360, 2,048
and 740 at 2,621,440, 4,096 and 1,800 at 10,240,000. What it rests on, recall@30 with 32 leaves searched
(--lengths=61440 --leaves=512 --reorder=120,250,500 and so on; the last line is the table above):

          keys    leaves    120     250     500     740    1,800
        61,440       512   0.86    0.97    1.00
       163,840       512   0.94    0.98    1.00
       655,360     1,024   0.92    0.99    1.00
     2,621,440     2,048           0.85    0.98    1.00
    10,240,000       512   0.32                            0.99

Leaves hardly matter to recall here: 16, 32 and 64 of 256 find the same 0.84 at 61,440 keys and 120 candidates, 32 and
64 of 512 the same 0.94 at 163,840. SOAR, which finds keys whose leaf is not searched, has nothing to win there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.exact import ExactIndex
from hummingbird.retrieval.index.scann import ScannIndex
from hummingbird.retrieval.index.settings import PRESETS, ScannSettings
from hummingbird.retrieval.progress import track

CHUNK, QUERIES, K = 65_536, 1024, 30


class Model:
    """Draws unit features around 4,096 centres, which lie around 64 coarser ones; variance decays along the axes."""

    def __init__(self, dim: int):
        rng = np.random.default_rng(0)
        self.scale = ((1 + np.arange(dim)) ** -0.5).astype(np.float32)
        coarse = rng.normal(size=(64, dim)).astype(np.float32)
        self.centres = coarse[rng.integers(0, 64, 4096)] + 0.7 * rng.normal(size=(4096, dim)).astype(np.float32)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        noise = rng.standard_normal((count, self.centres.shape[1]), np.float32)
        return normalise((self.centres[rng.integers(0, 4096, count)] + 0.7 * noise) * self.scale)[0]


def write_keys(path: str, model: Model, length: int) -> np.ndarray:
    """Writes `length` keys to a bfloat16 file and returns them memory-mapped, [length, D]."""
    with open(path, "wb") as file:
        chunks = list(enumerate(range(0, length, CHUNK)))
        for number, start in track(chunks, len(chunks), f"{length:,} keys", True):
            keys = model.draw(np.random.default_rng([1, number]), min(CHUNK, length - start))
            file.write(keys.astype(ml_dtypes.bfloat16).view(np.uint8).data)
    return np.memmap(path, ml_dtypes.bfloat16, "r", shape=(length, len(model.scale)))


def measure(keys: np.ndarray, queries: np.ndarray, options: argparse.Namespace) -> Iterator[dict]:
    """Times one bank: its build, then for each search setting the best of three searches with all queries."""
    preset = PRESETS[options.preset](len(keys), K)
    searched, reordered = options.leaves_to_search or (preset.leaves_to_search,), options.reorder or (preset.reorder,)
    sizes = {"leaves": options.leaves or preset.leaves, "leaves_to_search": searched[0], "reorder": reordered[0]}
    start, cpu = time.perf_counter(), time.process_time()
    index: Any = build_index(keys, options.index, progress=True, **sizes)
    build, build_cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{len(keys):,} keys: built in {build:.0f} s, {anonymous_memory() / 1e9:.1f} GB", file=sys.stderr, flush=True)
    start = time.perf_counter()
    truth, _ = ExactIndex(keys).search(queries[: options.recall], K)
    exact = time.perf_counter() - start
    tunable = isinstance(index, ScannIndex)
    for leaves, reorder in itertools.product(searched, reordered):
        if tunable:
            index = index.retuned(ScannSettings(**{**sizes, "leaves_to_search": leaves, "reorder": reorder}))
        times, found = [], np.zeros(0)
        for _ in range(3):
            start = time.perf_counter()
            found, _ = index.search(queries, K)
            times.append(time.perf_counter() - start)
        recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, truth, strict=False)])
        yield {
            "keys": len(keys),
            "key_bytes": keys.nbytes,
            "index": index.kind,
            "build_seconds": round(build, 2),
            "build_processor_seconds": round(build_cpu, 2),
            **({**sizes, "leaves_to_search": leaves, "reorder": reorder} if tunable else {}),
            "seconds_per_1024_queries": round(min(times), 4),
            "recall_at_30": round(float(recall), 4),
            "exact_seconds": round(exact, 2),
            "exact_queries": len(truth),
            # The peak also counts resident pages of the mapped key file, which the system can reclaim.
            "anonymous_memory_bytes": anonymous_memory(),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        if not tunable:
            return  # other indexes have no search settings


def anonymous_memory() -> int:
    """Returns the bytes of this process that are not backed by files."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def plot(rows: list[dict], path: str) -> None:
    """Plots search time and recall over the number of keys (Figure 5)."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure((8, 3.2), layout="constrained")
    times, recall = figure.subplots(1, 2)
    searches = dict.fromkeys((row.get("leaves_to_search"), row.get("reorder")) for row in rows)
    for leaves, reorder in searches:
        those = [row for row in rows if (row.get("leaves_to_search"), row.get("reorder")) == (leaves, reorder)]
        keys = [row["keys"] for row in those]
        text = f", {leaves} leaves, {reorder} re-scored" if len(searches) > 1 else ""
        times.plot(keys, [row["seconds_per_1024_queries"] for row in those], marker="o", label=f"1,024 queries{text}")
        recall.plot(keys, [row["recall_at_30"] for row in those], marker="o")
    built = {row["keys"]: row["build_seconds"] for row in rows}
    times.plot(list(built), list(built.values()), marker="o", color="grey", label="build")
    times.set(xscale="log", yscale="log", xlabel="keys in the memory bank", ylabel="seconds")
    times.legend(frameon=False)
    recall.set(xscale="log", ylim=(0, 1.02), xlabel="keys in the memory bank", ylabel="recall@30")
    for axes in (times, recall):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def numbers(text: str) -> tuple[int, ...]:
    """ "32,256" -> (32, 256)."""
    return tuple(map(int, text.split(",")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=numbers, default="40960,163840,655360,2621440,10240000")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--index", default="scann", choices=("scann", "exact", "device"))
    parser.add_argument(
        "--preset", default="table6", choices=PRESETS, help="defaults of --leaves, --leaves_to_search and --reorder"
    )
    parser.add_argument("--leaves", type=int)
    parser.add_argument("--leaves_to_search", type=numbers, help="one or several, for example 32,256")
    parser.add_argument("--reorder", type=numbers, help="one or several, for example 120,1800")
    parser.add_argument("--recall", type=int, default=64, help="queries for recall")
    parser.add_argument("--folder", default=None, help="folder for the key file; default: the system's temporary one")
    parser.add_argument("--plot", default="")
    options = parser.parse_args()
    model, rows = Model(options.dim), []
    queries = model.draw(np.random.default_rng(2), QUERIES)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for length in options.lengths:
            path = os.path.join(folder, "keys.bin")
            for row in measure(write_keys(path, model, length), queries, options):
                rows.append(row)
                print(json.dumps(row), flush=True)
            os.unlink(path)
            if options.plot:
                plot(rows, options.plot)  # after every length, so that an interrupted run leaves its results
    print(json.dumps({"benchmark": "retrieval_scale", "options": vars(options), "rows": rows}))


if __name__ == "__main__":
    main()
