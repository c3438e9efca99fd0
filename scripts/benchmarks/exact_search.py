"""Exact nearest-neighbour search: our exact and device indexes against NumPy, or compiled for a TPU.

    scripts/bench exact_search [--keys=200000] [--dim=384] [--queries=1024] [--neighbours=30]
    scripts/bench exact_search --device [--keys=10240000 --dim=768]
    scripts/bench exact_search --topology=v5e:2x4 [--recall=0.95]

NumPy's side is a matrix product and argpartition. The side `sorted_chunks` is our exact index without its running
threshold: the best of each chunk are sorted and merged. Prints wall and processor seconds for all queries, best of
three runs.

With --device, searches bfloat16 keys that a GPU draws: the device index with its kernel and with XLA's maxima, against
one `top_k` of each chunk, and says how far similarities are from NumPy's in float32.

With --topology, compiles the device index in bfloat16 ahead of time for that TPU (needs libtpu, not the hardware) and
prints the bytes per device and the time of its operations at the chip's peak. Results of both are in
`hummingbird/retrieval/index/device.py`.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from hummingbird.devices import chips, hlo, traffic
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.index import device_kernel
from hummingbird.retrieval.index.device import DeviceIndex
from hummingbird.retrieval.index.device_search import AXIS, CHUNK, search_sharded
from hummingbird.retrieval.index.exact import ExactIndex, merge_top_k, top_k

K = 30


def best(run: Callable[[], Any]) -> dict[str, float]:
    """Returns the seconds of the fastest of three runs, after one run that compiles."""
    run()
    times = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {"wall": round(min(t[0] for t in times), 5), "processor": round(min(t[1] for t in times), 3)}


def with_trips(text: str, chunks: int) -> str:
    """Notes in a compiled program how often it loops over the chunks: until the keys end, which only the run knows."""
    computations, lines = hlo.split(text), text.splitlines()
    for i, line in enumerate(lines):
        loop = hlo.LOOP.search(line) if " while(" in line else None
        if loop and hlo.trips(line, computations.get(loop[1], ())) == 1:
            lines[i] = f'{line}, "known_trip_count":{{"n":"{chunks}"}}'
    return "\n".join(lines)


def compile_for(topology: str, keys: int, dim: int, queries: int, k: int, recall: float) -> dict[str, Any]:
    """Compiles the device index for a TPU topology; bytes and operations are per device."""
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from hummingbird.commands.plan import analyse
    from hummingbird.devices import topology as topologies

    devices = topologies.tpus(topology)
    mesh = Mesh(np.array(devices), (AXIS,))
    chunks = -(-keys // (len(devices) * CHUNK))
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    shape = lambda dtype, *sizes: jax.ShapeDtypeStruct(sizes, dtype, sharding=sharding)
    bank = shape(jnp.bfloat16, len(devices), chunks, CHUNK, dim)
    asked, places = shape(jnp.bfloat16, queries, dim), shape(jnp.int32, len(devices))
    start = time.perf_counter()
    compiled = search_sharded.lower(asked, bank, places, places, k, mesh, recall, keys if recall < 1 else -1).compile()
    seconds = round(time.perf_counter() - start, 1)
    found = analyse(compiled, devices[0].device_kind, 2 * queries * dim * chunks * CHUNK)
    text = with_trips(compiled.as_text(), chunks)
    moved = traffic.hbm_bytes(text)
    rows = [int(width) for width in re.findall(r"\w+\[\d+,(\d+)\][^=]* sort\(", text)]
    return {
        "topology": topology,
        "devices": len(devices),
        "keys": keys,
        "dim": dim,
        "queries": queries,
        "neighbours": k,
        "recall": recall,
        "compile_seconds": seconds,
        "columns_of_a_chunk": CHUNK,
        "columns_of_the_widest_sort": max(rows, default=0),
        **found,
        "hbm_bytes_at_least": moved,
        "hbm_seconds": round(moved / chips.find(devices[0].device_kind).bandwidth, 5),
    }


def draw(seed: int, count: int, dim: int) -> np.ndarray:
    """Returns unit rows in bfloat16, drawn by the device."""

    @jax.jit
    def rows(key: jax.Array) -> jax.Array:
        x = jax.random.normal(key, (min(count, CHUNK), dim))
        return (x / jnp.linalg.norm(x, axis=1, keepdims=True)).astype(jnp.bfloat16)

    found = np.empty((count, dim), ml_dtypes.bfloat16)
    for i, start in enumerate(range(0, count, CHUNK)):
        part = found[start : start + CHUNK]
        part[:] = np.asarray(rows(jax.random.fold_in(jax.random.key(seed), i)))[: len(part)]
    return found


@functools.partial(jax.jit, static_argnames="k")
def sorted_on_device(queries: jax.Array, keys: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """Finds the k best of keys [chunks, chunk, D] by a `top_k` of each chunk's scores."""

    def step(best: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        number, rows = part
        score, column = jax.lax.top_k(jnp.einsum("qd,md->qm", queries, rows, preferred_element_type=jnp.float32), k)
        score, ids = jnp.concatenate([best[0], score], 1), jnp.concatenate([best[1], number * len(rows) + column], 1)
        score, place = jax.lax.top_k(score, k)
        return (score, jnp.take_along_axis(ids, place, axis=1)), None

    none = (jnp.full((len(queries), k), -jnp.inf), jnp.zeros((len(queries), k), jnp.int32))
    return jax.lax.scan(step, none, (jnp.arange(len(keys)), keys))[0]


def measure_device(options: argparse.Namespace) -> dict[str, Any]:
    """Returns milliseconds of each side, and the largest difference of similarities from NumPy's."""
    keys, queries, k = draw(0, options.keys, options.dim), draw(1, options.queries, options.dim), options.neighbours
    index, asked = DeviceIndex(keys), queries.astype(np.float32)
    seconds, found = {}, {}
    for name in ("kernel", "xla") if device_kernel.runs_on(jax.devices()[0], index.keys) else ("xla",):
        with mock.patch.object(device_kernel, "runs_on", lambda *_, name=name: name == "kernel"):
            jax.clear_caches()
            found[name] = index.search(asked, k)[1]
            seconds[name] = best(lambda: index.search(asked, k))["wall"]
    placed, permuted = jnp.asarray(queries), index.keys[0]
    seconds["sorted"] = best(lambda: jax.block_until_ready(sorted_on_device(placed, permuted, k)))["wall"]
    truth, some = np.full((16, k), -np.inf, np.float32), asked[:16]
    for start in range(0, len(keys), CHUNK):
        scores = np.concatenate([truth, some @ keys[start : start + CHUNK].astype(np.float32).T], axis=1)
        truth = -np.sort(np.partition(-scores, k - 1, axis=1)[:, :k], axis=1)
    device = jax.devices()[0].device_kind
    operations, chip = 2 * len(queries) * keys.size, chips.find(device)
    return {
        "device": device,
        "milliseconds": {name: round(1000 * x, 2) for name, x in seconds.items()},
        "tflops": {name: round(operations / x / 1e12) for name, x in seconds.items()},
        "at_peak": round(1000 * operations / chip.flops, 2) if chip else None,
        "largest_difference": {name: float(np.abs(scores[:16] - truth).max()) for name, scores in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--neighbours", type=int, default=K)
    parser.add_argument("--recall", type=float, default=1.0, help="with --topology: retrieval.device_recall")
    parser.add_argument("--device", action="store_true", help="measure the device index on this machine's GPU")
    parser.add_argument("--topology", default="")
    options = parser.parse_args()
    if options.topology:
        result = compile_for(options.topology, 10_240_000, 768, options.queries, options.neighbours, options.recall)
        print(json.dumps({"benchmark": "exact_search", **result}))
        return
    if options.device:
        print(json.dumps({"benchmark": "exact_search", "options": vars(options), **measure_device(options)}))
        return
    rng = np.random.default_rng(0)
    unit = lambda count: normalise(rng.standard_normal((count, options.dim), np.float32))[0]
    keys, queries = unit(options.keys), unit(options.queries)

    k = options.neighbours

    def naive() -> np.ndarray:
        scores = queries @ keys.T
        chosen = np.argpartition(scores, -k, axis=1)[:, -k:]
        values = np.take_along_axis(scores, chosen, axis=1)
        return np.take_along_axis(chosen, np.argsort(-values, axis=1), axis=1)

    def sorted_chunks() -> np.ndarray:
        ids, best = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
        for first in range(0, len(keys), exact.chunk):
            new_ids, new = top_k(queries @ keys[first : first + exact.chunk].T, k)
            ids, best = merge_top_k(ids, best, new_ids + first, new)
        return ids

    exact, single = ExactIndex(keys), DeviceIndex(keys)
    half = DeviceIndex(keys.astype(ml_dtypes.bfloat16))
    truth = naive()
    sides: dict[str, Callable[[], Any]] = {"numpy": naive, "sorted_chunks": sorted_chunks}
    for name, index in (("exact", exact), ("device_float32", single), ("device_bfloat16", half)):
        sides[name] = lambda index=index: index.search(queries, k)
    result: dict[str, Any] = {name: best(run) for name, run in sides.items()}
    for name, index in (("exact", exact), ("device_float32", single), ("device_bfloat16", half)):
        found = index.search(queries, k)[0]
        result[name]["recall"] = float(
            np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, truth, strict=True)])
        )
        result[name]["times_faster"] = round(result["numpy"]["wall"] / result[name]["wall"], 2)
        result[name]["times_less_processor_time"] = round(result["numpy"]["processor"] / result[name]["processor"], 2)
    before, after = result["sorted_chunks"], result["exact"]
    result["threshold_times_faster"] = {name: round(before[name] / after[name], 2) for name in before}
    result["threshold_same_neighbours"] = float(np.mean(sorted_chunks() == exact.search(queries, k)[0]))
    print(json.dumps({"benchmark": "exact_search", "options": vars(options), **result}))


if __name__ == "__main__":
    main()
