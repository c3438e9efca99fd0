"""Programs of the device index: exact or approximate nearest neighbours over keys that all devices of a mesh share.

The similarities of a block of queries to a chunk of keys are one matrix product, of which only the largest of every
BLOCK keys is kept. The k nearest keys lie in the k blocks with the largest maxima, and of equal keys the first in the
first such blocks: only their keys are scored again and sorted. So no pass over the keys sorts anything, and memory is
queries x chunk and queries x keys / BLOCK, never queries x keys. Products of bfloat16 keys are summed in float32.

Chunks hold their keys `permuted`, so that a maximum over a block is taken over whole vectors. On GPUs a kernel takes
the maxima where the products are, see `device_kernel`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Float32, Int32

from hummingbird.retrieval.index import device_kernel
from hummingbird.retrieval.index.device_kernel import BLOCK
from hummingbird.retrieval.index.scores import Widths, product_scores

CHUNK, QUERIES = 32_768, 1024
GATHERED = 2**28  # bytes of keys that are scored again at a time
AXIS = "bank"
Candidates = tuple[Int32[Array, "Q m"], Float32[Array, "Q m"]]  # columns or key numbers, and their scores


@functools.partial(jax.jit, donate_argnums=0)
def put_chunk(
    part: Float[Array, "1 chunks chunk D"], block: Float[Array, "chunk D"], number: int | Int32[Array, ""]
) -> Float[Array, "1 chunks chunk D"]:
    """Writes `block`, permuted, as chunk `number` of `part`, in place."""
    permuted = block.reshape(-1, BLOCK, block.shape[1]).swapaxes(0, 1).reshape(block.shape)
    return jax.lax.dynamic_update_slice(part, permuted[None, None], (0, number, 0, 0))


def number_at(column: Int32[Array, "*n"], chunk: int) -> Int32[Array, "*n"]:
    """Returns which key of its chunk `put_chunk` put into a column."""
    blocks = chunk // BLOCK
    return column % blocks * BLOCK + column // blocks


@functools.partial(jax.jit, static_argnames=("k", "mesh", "recall", "length", "widths"))
def search_sharded(
    queries: Float[Array, "*Q D"],
    keys: Float[Array, "devices chunks chunk D"],
    first: Int32[Array, " devices"],
    count: Int32[Array, " devices"],
    k: int,
    mesh: Mesh,
    recall: float = 1.0,
    length: int = -1,
    widths: Widths | None = None,
) -> tuple[Int32[Array, "q {k}"], Float32[Array, "q {k}"]]:
    """Finds the k nearest keys of each query over all devices.

    Every device compares all queries with its own keys, and merges the candidates of all devices for its own queries:
    queries are gathered once, candidates exchanged once.

    Args:
      queries: sharded along the first axis; those of images are [B, h, w, D].
      keys: sharded along the first axis; chunks as `put_chunk` writes them.
      first: number of the first key of each device.
      count: keys of each device; the rest is padding at the end.
      k: neighbours per query.
      mesh: of one axis, `AXIS`.
      recall: expected share of the true neighbours; below 1, `jax.lax.approx_max_k` finds them.
      length: keys of all devices, for `recall`.
      widths: parts of the keys, which are compared by `product_scores`; None: inner products.

    Returns:
      Key numbers and similarities of all queries in order, best first, sharded as they are; -1 and -inf where there are
      fewer. Of equal keys, the first is found first.
    """
    fused = widths is None and recall == 1 and device_kernel.runs_on(mesh.devices.flat[0], keys)

    def search_local(queries: Array, keys: Array, first: Array, count: Array) -> Candidates:
        mine = queries.reshape(-1, queries.shape[-1]).astype(keys.dtype)
        everyone = jax.lax.all_gather(mine, AXIS, tiled=True)
        size = min(QUERIES, len(everyone))
        blocks = jnp.pad(everyone, ((0, -len(everyone) % size), (0, 0))).reshape(-1, size, mine.shape[1])
        own = {"keys": keys[0], "first": first[0], "count": count[0], "k": k, "widths": widths}
        if recall < 1:
            scan = functools.partial(scan_approximately, recall=recall, length=length, **own)
        else:
            scan = functools.partial(scan_exactly, fused=fused, **own)
        found = (x.reshape(-1, k)[: len(everyone)] for x in jax.lax.map(scan, blocks))
        # Candidates of this device's queries, those of each device side by side and in the order of their keys.
        ids, similarity = (jax.lax.all_to_all(x, AXIS, 0, 1, tiled=True) for x in found)
        return best_of(ids, similarity, k)

    spec = PartitionSpec(AXIS)
    return jax.shard_map(search_local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(
        queries, keys, first, count
    )


def scan_exactly(
    queries: Float[Array, "Q D"],
    keys: Float[Array, "chunks chunk D"],
    first: int | Int32[Array, ""],
    count: int | Int32[Array, ""],
    k: int,
    widths: Widths | None = None,
    fused: bool = False,
) -> Candidates:
    """Finds the k nearest keys of one device; -1 and -inf where there are fewer.

    Args:
      queries: in the type of the keys.
      keys: numbered from `first`; only `count` of them are there, the rest is padding.
      k, widths: as for `search_sharded`.
      fused: take maxima by `device_kernel`.
    """
    chunk, dim = keys.shape[1:]
    find = device_kernel.block_maxima if fused else functools.partial(block_maxima, widths=widths)
    best = largest_blocks(find(queries, keys, count), k)  # [Q, m]
    within = jnp.arange(BLOCK)

    def score(part: tuple[Array, Array]) -> Candidates:
        query, blocks = part  # [D], [m]
        per = chunk // BLOCK
        columns = (blocks // per * chunk + blocks % per)[:, None] + within * per
        numbers = (blocks[:, None] * BLOCK + within).reshape(-1)
        rows = jnp.take(keys.reshape(-1, dim), columns.reshape(-1), axis=0, mode="clip")
        return numbers, jnp.where(numbers < count, _scores(query[None], rows, widths)[0], -jnp.inf)

    together = max(1, GATHERED // (best.shape[1] * BLOCK * dim * keys.dtype.itemsize))
    numbers, scores = jax.lax.map(score, (queries, best), batch_size=min(together, len(queries)))
    falling, numbers = jax.lax.sort((-scores, numbers), num_keys=2)
    falling, numbers = (jnp.pad(x, ((0, 0), (0, max(0, k - x.shape[1]))))[:, :k] for x in (falling, numbers))
    there = (jnp.arange(k) < best.shape[1] * BLOCK) & ~jnp.isposinf(falling)
    return jnp.where(there, first + numbers, -1), jnp.where(there, -falling, -jnp.inf)


def block_maxima(
    queries: Float[Array, "Q D"],
    keys: Float[Array, "chunks chunk D"],
    count: int | Int32[Array, ""],
    widths: Widths | None = None,
) -> Float32[Array, "Q blocks"]:
    """Returns the largest score of every BLOCK keys; -inf where there is none."""
    (chunks, chunk, _), found = keys.shape, len(queries)
    number = number_at(jnp.arange(chunk), chunk)

    def step(i: Array, maxima: Array) -> Array:
        scores = _scores(queries, jax.lax.dynamic_index_in_dim(keys, i, keepdims=False), widths)
        scores = jnp.where(i * chunk + number < count, scores, -jnp.inf)
        best = functools.reduce(jnp.maximum, jnp.split(scores, BLOCK, axis=1))  # TPUs would copy a reshaped array
        return jax.lax.dynamic_update_slice(maxima, best, (0, i * (chunk // BLOCK)))

    start = jnp.full((found, chunks * chunk // BLOCK), -jnp.inf, jnp.float32)
    return jax.lax.fori_loop(0, (count + chunk - 1) // chunk, step, start)


def largest_blocks(maxima: Float32[Array, "Q blocks"], k: int) -> Int32[Array, "Q m"]:
    """Returns the blocks with the k largest maxima, of equal ones the first; all blocks if there are fewer."""
    found, blocks = maxima.shape
    if blocks <= k * BLOCK:
        return jax.lax.top_k(maxima, min(k, blocks))[1]
    groups = jnp.pad(maxima, ((0, 0), (0, -blocks % BLOCK)), constant_values=-jnp.inf).reshape(found, -1, BLOCK)
    chosen = jnp.sort(jax.lax.top_k(groups.max(axis=2), k)[1])  # sorted, for equal maxima
    inside = jnp.take_along_axis(groups, chosen[:, :, None], axis=1).reshape(found, -1)
    numbers = (chosen[:, :, None] * BLOCK + jnp.arange(BLOCK)).reshape(found, -1)
    return jnp.take_along_axis(numbers, jax.lax.top_k(inside, k)[1], axis=1)


def scan_approximately(
    queries: Float[Array, "Q D"],
    keys: Float[Array, "chunks chunk D"],
    first: int | Int32[Array, ""],
    count: int | Int32[Array, ""],
    k: int,
    recall: float,
    length: int,
    widths: Widths | None = None,
) -> Candidates:
    """Finds the expected share `recall` of the k nearest keys of one device; otherwise as `scan_exactly`."""
    chunk = keys.shape[1]
    number = number_at(jnp.arange(chunk), chunk)

    def step(i: Array, best: Candidates) -> Candidates:
        scores = _scores(queries, jax.lax.dynamic_index_in_dim(keys, i, keepdims=False), widths)
        scores = jnp.where(i * chunk + number < count, scores, -jnp.inf)
        similarity, columns = jax.lax.approx_max_k(
            scores, min(k, chunk), recall_target=recall, reduction_input_size_override=max(length, chunk)
        )
        ids = jnp.where(jnp.isneginf(similarity), -1, first + i * chunk + number_at(columns, chunk))
        return best_of(jnp.concatenate([best[0], ids], 1), jnp.concatenate([best[1], similarity], 1), k)

    none = (jnp.full((len(queries), k), -1, jnp.int32), jnp.full((len(queries), k), -jnp.inf, jnp.float32))
    return jax.lax.fori_loop(0, (count + chunk - 1) // chunk, step, none)


def best_of(ids: Int32[Array, "Q n"], similarity: Float32[Array, "Q n"], k: int) -> Candidates:
    """Returns the k best of n candidates, best first; of equal ones, the first."""
    similarity, column = jax.lax.top_k(similarity, k)
    return jnp.take_along_axis(ids, column, axis=1), similarity


def _scores(queries: Float[Array, "Q D"], keys: Float[Array, "M D"], widths: Widths | None) -> Float32[Array, "Q M"]:
    if widths is not None:
        return jnp.asarray(product_scores(queries, keys, widths))
    precision = jax.lax.Precision.HIGHEST if keys.dtype == jnp.float32 else None
    return jax.lax.dot_general(queries, keys, (((1,), (1,)), ((), ())), precision, preferred_element_type=jnp.float32)
