"""Programs of the device index: exact or approximate nearest neighbours over keys that all devices of a mesh share.

The similarity of a block of queries to a chunk of keys is one matrix product. Its k best columns lie in the k column
blocks with the largest maxima, so that only their scores are sorted. Where no query has more than `FEW` scores above
its k-th best so far, which is soon the rule, so many blocks suffice. Chunks are scanned, so memory is queries x chunk,
never queries x keys. Products of bfloat16 keys are summed in float32.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Float32, Int32

from hummingbird.retrieval.index.scores import Widths, product_scores

CHUNK, BLOCK, QUERIES = 32_768, 64, 1024
FEW = 16  # candidates of a query in a chunk; XLA sorts so few of many by a kernel of its own on GPUs
AXIS = "bank"
Candidates = tuple[Int32[Array, "Q m"], Float32[Array, "Q m"]]  # columns or key numbers, and their scores


@functools.partial(jax.jit, donate_argnums=0)
def put_chunk(
    part: Float[Array, "1 chunks chunk D"], block: Float[Array, "chunk D"], number: int | Int32[Array, ""]
) -> Float[Array, "1 chunks chunk D"]:
    """Writes `block` as chunk `number` of `part`, in place."""
    return jax.lax.dynamic_update_slice(part, block[None, None], (0, number, 0, 0))


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
      keys: sharded along the first axis.
      first: number of the first key of each device.
      count: keys of each device; the rest is padding at the end.
      k: neighbours per query.
      mesh: of one axis, `AXIS`.
      recall: expected share of the true neighbours; below 1, `jax.lax.approx_max_k` finds them.
      length: keys of all devices, for `recall`.
      widths: parts of the keys, which are compared by `product_scores`; None: inner products.

    Returns:
      Key numbers and similarities of all queries in order, best first, sharded as they are; -1 and -inf where there are
      fewer.
    """

    def search_local(queries: Array, keys: Array, first: Array, count: Array) -> Candidates:
        mine = queries.reshape(-1, queries.shape[-1]).astype(keys.dtype)
        everyone = jax.lax.all_gather(mine, AXIS, tiled=True)
        size = min(QUERIES, len(everyone))
        blocks = jnp.pad(everyone, ((0, -len(everyone) % size), (0, 0))).reshape(-1, size, mine.shape[1])
        scan = functools.partial(scan_chunks, keys=keys[0], first=first[0], count=count[0], k=k)
        found = jax.lax.map(functools.partial(scan, recall=recall, length=length, widths=widths), blocks)
        found = (x.reshape(-1, k)[: len(everyone)] for x in found)
        # Candidates of this device's queries, those of each device side by side and in the order of their keys.
        ids, similarity = (jax.lax.all_to_all(x, AXIS, 0, 1, tiled=True) for x in found)
        return best_of(ids, similarity, k)

    spec = PartitionSpec(AXIS)
    return jax.shard_map(search_local, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(
        queries, keys, first, count
    )


def scan_chunks(
    queries: Float[Array, "Q D"],
    keys: Float[Array, "chunks chunk D"],
    first: int | Int32[Array, ""],
    count: int | Int32[Array, ""],
    k: int,
    recall: float = 1.0,
    length: int = -1,
    widths: Widths | None = None,
) -> Candidates:
    """Finds the k nearest keys of one device; -1 and -inf where there are fewer.

    Args:
      queries: in the type of the keys.
      keys: numbered from `first`; only `count` of them are there, the rest is padding.
      k, recall, length, widths: as for `search_sharded`.
    """
    chunk = keys.shape[1]
    precision = jax.lax.Precision.HIGHEST if keys.dtype == jnp.float32 else None

    def step(number: Array, best: Candidates) -> Candidates:
        part = jax.lax.dynamic_index_in_dim(keys, number, keepdims=False)
        if widths is None:
            contract = (((1,), (1,)), ((), ()))
            scores = jax.lax.dot_general(queries, part, contract, precision, preferred_element_type=jnp.float32)
        else:
            scores = product_scores(queries, part, widths)
        start = number * chunk
        scores = jnp.where(start + jnp.arange(chunk) < count, scores, -jnp.inf)
        if recall == 1:
            return add_scores(best, scores, first + start, k)
        similarity, columns = jax.lax.approx_max_k(
            scores, min(k, chunk), recall_target=recall, reduction_input_size_override=max(length, chunk)
        )
        return append(best, columns, similarity, first + start, k)

    none = (jnp.full((len(queries), k), -1, jnp.int32), jnp.full((len(queries), k), -jnp.inf, jnp.float32))
    return jax.lax.fori_loop(0, (count + chunk - 1) // chunk, step, none)


def add_scores(best: Candidates, scores: Float32[Array, "Q M"], start: int | Int32[Array, ""], k: int) -> Candidates:
    """Adds the scores of M keys, which are numbered from `start`, to the k best so far; M is a multiple of BLOCK."""
    count, columns = scores.shape
    # Column j is in block j mod blocks, so that the maximum over a block is taken over whole vectors.
    table = scores.reshape(count, BLOCK, columns // BLOCK)
    maxima = table.max(axis=1)

    def add(blocks: int) -> Candidates:
        """Adds the scores of the blocks with the largest maxima."""
        _, chosen = jax.lax.top_k(maxima, min(blocks, maxima.shape[1]))
        values = jnp.take_along_axis(table, chosen[:, None, :], axis=2)
        numbers = jnp.arange(BLOCK)[None, :, None] * maxima.shape[1] + chosen[:, None, :]
        near, similarity = narrow(numbers.reshape(count, -1), values.reshape(count, -1), k, 8)
        return append(best, near, similarity, start, k)

    if min(k, maxima.shape[1]) <= FEW:
        return add(k)
    most = jnp.max(jnp.sum(maxima > best[1][:, -1:], axis=1))
    return jax.lax.cond(most <= FEW, lambda: add(FEW), lambda: add(k))


def append(
    best: Candidates,
    columns: Int32[Array, "Q n"],
    similarity: Float32[Array, "Q n"],
    start: int | Int32[Array, ""],
    k: int,
) -> Candidates:
    """Merges columns of a chunk that begins with key `start` into the k best so far."""
    ids = jnp.where(jnp.isneginf(similarity), -1, start + columns)
    return best_of(jnp.concatenate([best[0], ids], axis=1), jnp.concatenate([best[1], similarity], axis=1), k)


def best_of(ids: Int32[Array, "Q n"], similarity: Float32[Array, "Q n"], k: int) -> Candidates:
    """Returns the k best of n candidates, best first; of equal ones, the first."""
    similarity, column = jax.lax.top_k(similarity, k)
    return jnp.take_along_axis(ids, column, axis=1), similarity


def narrow(columns: Int32[Array, "Q n"], scores: Float32[Array, "Q n"], k: int, block: int) -> Candidates:
    """Keeps the k blocks with the largest maxima, [Q, n] -> [Q, k * block]; all blocks if there are at most k."""
    blocks = scores.shape[1] // block
    if blocks <= k or scores.shape[1] % block:
        return columns, scores
    table, numbers = (x.reshape(len(x), block, blocks) for x in (scores, columns))
    _, chosen = jax.lax.top_k(table.max(axis=1), k)
    numbers, values = (jnp.take_along_axis(x, chosen[:, None, :], axis=2) for x in (numbers, table))
    return numbers.reshape(len(scores), -1), values.reshape(len(scores), -1)
