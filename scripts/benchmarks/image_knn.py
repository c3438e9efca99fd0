"""k-NN classification at ImageNet's size: our search by blocks, and scikit-learn's brute force where it can.

    scripts/bench image_knn [--keys=1280000] [--dim=768] [--queries=256] [--neighbours=20] [--few=100000]

Classifies random unit vectors by the majority of their neighbours. `all` is our search over all keys, made in place
block by block; `few` compares it with scikit-learn (`KNeighborsClassifier(algorithm="brute")`, all cores) on so many of
them, with the same predictions. Prints wall seconds for all queries and the peak memory of the process; the device
index is the one measured where JAX has an accelerator.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import jax
import numpy as np

from hummingbird.retrieval.recognition import knn
from hummingbird.retrieval.results import peak_memory

CLASSES = 1000
BLOCK = 65_536


def unit_rows(length: int, dim: int, seed: int) -> np.ndarray:
    """Draws unit vectors around one centre a class, a block at a time."""
    centres = np.random.default_rng(0).standard_normal((CLASSES, dim), np.float32)
    rows = np.empty((length, dim), np.float32)
    for start in range(0, length, BLOCK):
        part = rows[start : start + BLOCK]
        np.random.default_rng([seed, start]).standard_normal(dtype=np.float32, out=part)
        part += 0.3 * centres[(start + np.arange(len(part))) % CLASSES]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Returns the seconds of a call, and its result."""
    start = time.perf_counter()
    found = run()
    return round(time.perf_counter() - start, 2), found


def classify(keys: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Classifies queries by our k-NN; key i is of class i % 1000."""
    ids, _ = knn.nearest(keys, queries, k, "cosine")
    return knn.majority((ids % CLASSES).astype(np.int32), CLASSES)


def main() -> None:
    """Runs the benchmark and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, default in {"keys": 1_280_000, "dim": 768, "queries": 256, "neighbours": 20, "few": 100_000}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    from sklearn.neighbors import KNeighborsClassifier

    keys, queries = unit_rows(asked.keys, asked.dim, 1), unit_rows(asked.queries, asked.dim, 2)
    few = keys[: min(asked.few, asked.keys)]
    classify(few[: 4 * asked.neighbours], queries, asked.neighbours)  # what is compiled is compiled
    ours, predicted = timed(lambda: classify(few, queries, asked.neighbours))
    theirs = KNeighborsClassifier(asked.neighbours, algorithm="brute", n_jobs=-1)
    theirs.fit(few, np.arange(len(few)) % CLASSES)
    seconds, expected = timed(lambda: theirs.predict(queries))
    before = peak_memory()
    whole, _ = timed(lambda: classify(keys, queries, asked.neighbours))
    print(
        json.dumps(
            {
                "benchmark": "image_knn",
                "backend": jax.default_backend(),
                "index": knn.index_kind("auto"),
                **vars(asked),
                "seconds": {"all": whole, "few": ours, "few_sklearn": seconds},
                "times_faster": round(seconds / ours, 2),
                "same_predictions": round(float(np.mean(predicted == expected)), 4),
                "keys_bytes": keys.nbytes,
                "search_bytes": max(0, peak_memory() - before),
                "peak_memory_bytes": peak_memory(),
            }
        )
    )


if __name__ == "__main__":
    main()
