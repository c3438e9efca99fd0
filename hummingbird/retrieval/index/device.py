"""Exact nearest neighbours on the accelerators: no build, the bank sharded over all local devices.

The similarity of a block of queries to a chunk of keys is one matrix product. Its k best columns lie in the k column
blocks with the largest block maxima, so that only those few scores are ever sorted. Chunks are scanned, so memory is
queries x chunk, never queries x keys. In bfloat16 (keys stored so) products are summed in float32.

At paper scale, 1,024 queries against 10,240,000 x 768 in bfloat16 on eight v5e chips, `scripts/bench exact_search
--topology=v5e:2x4` (compiled ahead of time, not run): 2.01 GB of keys + 0.54 GB a chip, no sort wider than 512 columns
of the 32,768 in a chunk, 1.3 MB over the network; at least 10.5 ms of matrix products and 15.6 ms of memory traffic.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hummingbird.errors import UserError

CHUNK, BLOCK, QUERIES = 32_768, 64, 1024
AXIS = "bank"


class DeviceIndex:
    """Exact search by JAX in the type that the keys are stored in.

    Args:
      keys: float32 or bfloat16 [M, D], L2-normalised.
      devices: JAX devices; None: all local ones.
      chunk: keys compared at a time on each device.

    Raises:
      UserError: the keys do not fit the devices' memory.
    """

    kind = "device"

    def __init__(self, keys: np.ndarray, devices: list[Any] | None = None, chunk: int = CHUNK):
        self.length = len(keys)
        self.exact = keys.dtype == np.float32  # in bfloat16 the queries are rounded too
        devices = list(devices or jax.local_devices())
        share = -(-self.length // len(devices))
        self.chunk = min(chunk, -(-share // BLOCK) * BLOCK)
        self.chunks = -(-share // self.chunk)
        self.mesh = Mesh(np.array(devices), (AXIS,))
        shape = (len(devices), self.chunks, self.chunk, keys.shape[1])
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        try:
            parts = [self._place(keys, number, device) for number, device in enumerate(devices)]
            self.keys = jax.make_array_from_single_device_arrays(shape, sharding, jax.block_until_ready(parts))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"retrieval.index=device: {keys.nbytes / 1e9:.1f} GB of keys do not fit the memory of {len(devices)} "
                f"{devices[0].device_kind}; set retrieval.key_dtype=bfloat16, lower retrieval.memory_length, or use "
                "retrieval.index=exact"
            ) from error

    def _place(self, keys: np.ndarray, number: int, device: Any) -> jax.Array:
        """The part of one device, [1, chunks, chunk, D], written a chunk at a time: the host holds no copy of it."""
        rows = self.chunks * self.chunk
        with jax.default_device(device):
            part = jnp.zeros((1, self.chunks, self.chunk, keys.shape[1]), keys.dtype)
        for i in range(self.chunks):
            first = number * rows + i * self.chunk
            block = np.zeros((self.chunk, keys.shape[1]), keys.dtype)
            block[: max(0, min(self.chunk, self.length - first))] = keys[first : first + self.chunk]
            part = jax.block_until_ready(put_chunk(part, jax.device_put(block, device), i))
        return part

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """queries float32 [Q, D] -> ids int32 [Q, k], similarity float32 [Q, k]; best first, -1 and -inf for none."""
        queries = np.ascontiguousarray(queries, np.float32)
        wanted = min(k, self.length)
        # One compiled shape for whatever number of queries comes.
        size = min(QUERIES, max(8, 1 << (len(queries) - 1).bit_length()))
        ids = np.full((len(queries), k), -1, np.int32)
        best = np.full((len(queries), k), -np.inf, np.float32)
        pending = []
        for start in range(0, len(queries), size):
            part = queries[start : start + size]
            padded = np.zeros((size, queries.shape[1]), self.keys.dtype)
            padded[: len(part)] = part
            pending.append((start, len(part), search_sharded(padded, self.keys, self.length, wanted, self.mesh)))
        for start, count, (found, similarity) in pending:
            ids[start : start + count, :wanted] = np.asarray(found)[:count]
            best[start : start + count, :wanted] = np.asarray(similarity)[:count]
        return ids, best


@functools.partial(jax.jit, donate_argnums=0)
def put_chunk(part: jax.Array, block: jax.Array, number: int) -> jax.Array:
    """part [1, chunks, chunk, D] with `block` [chunk, D] as its chunk `number`, in place."""
    return jax.lax.dynamic_update_slice(part, block[None, None], (0, number, 0, 0))


@functools.partial(jax.jit, static_argnames=("length", "k", "mesh"))
def search_sharded(queries: jax.Array, keys: jax.Array, length: int, k: int, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """The k nearest keys of each query over all devices.

    Args:
      queries: [Q, D] in the keys' type. keys: [devices, chunks, chunk, D], sharded along the first axis.
      length: number of real keys; the rest is padding at the end.

    Returns:
      ids int32 [Q, k] and similarity float32 [Q, k], best first.
    """

    def local(queries: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jax.lax.axis_index(AXIS) * keys.shape[1] * keys.shape[2]
        ids, similarity = scan_chunks(queries, keys[0], first, length, k)
        return ids[None], similarity[None]

    spec = PartitionSpec(AXIS)
    ids, similarity = jax.shard_map(
        local, mesh=mesh, in_specs=(PartitionSpec(), spec), out_specs=(spec, spec), check_vma=False
    )(queries, keys)  # [devices, Q, k]
    ids, similarity = (x.transpose(1, 0, 2).reshape(len(queries), -1) for x in (ids, similarity))
    similarity, column = jax.lax.top_k(similarity, k)
    return jnp.take_along_axis(ids, column, axis=1), similarity


def scan_chunks(
    queries: jax.Array, keys: jax.Array, first: jax.Array, length: int, k: int
) -> tuple[jax.Array, jax.Array]:
    """The k nearest of keys [chunks, chunk, D] whose numbers start at `first`; missing ones are -1 with -inf."""
    chunk = keys.shape[1]
    precision = jax.lax.Precision.HIGHEST if keys.dtype == jnp.float32 else None

    def step(best: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        number, chunk_keys = part
        start = first + number * chunk
        scores = jax.lax.dot_general(
            queries, chunk_keys, (((1,), (1,)), ((), ())), precision, preferred_element_type=jnp.float32
        )
        scores = jnp.where(start + jnp.arange(chunk) < length, scores, -jnp.inf)
        columns, similarity = candidates(scores, k)
        ids = jnp.concatenate([best[0], jnp.where(jnp.isneginf(similarity), -1, start + columns)], axis=1)
        similarity, column = jax.lax.top_k(jnp.concatenate([best[1], similarity], axis=1), k)
        return (jnp.take_along_axis(ids, column, axis=1), similarity), None

    none = (jnp.full((len(queries), k), -1, jnp.int32), jnp.full((len(queries), k), -jnp.inf, jnp.float32))
    (ids, similarity), _ = jax.lax.scan(step, none, (jnp.arange(len(keys)), keys))
    return ids, similarity


def candidates(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """Columns int32 and scores [Q, n] among which are the k best of scores [Q, M]; M is a multiple of BLOCK."""
    columns = jnp.broadcast_to(jnp.arange(scores.shape[1]), scores.shape)
    for block in (BLOCK, 8):
        columns, scores = narrow(columns, scores, k, block)
    return columns, scores


def narrow(columns: jax.Array, scores: jax.Array, k: int, block: int) -> tuple[jax.Array, jax.Array]:
    """The k blocks of `block` columns with the largest maxima: [Q, n] -> [Q, k * block]; all if they are not more."""
    blocks = scores.shape[1] // block
    if blocks <= k or scores.shape[1] % block:
        return columns, scores
    # Column j is in block j mod blocks: the maximum over a block is taken over whole vectors.
    table, numbers = (x.reshape(len(x), block, blocks) for x in (scores, columns))
    _, chosen = jax.lax.top_k(table.max(axis=1), k)
    numbers, values = (jnp.take_along_axis(x, chosen[:, None, :], axis=2) for x in (numbers, table))
    return numbers.reshape(len(scores), -1), values.reshape(len(scores), -1)
