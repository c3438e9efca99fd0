"""Exact nearest neighbours on accelerators: nothing to build, keys sharded over all local devices.

The similarity of a block of queries to a chunk of keys is one matrix product. Its k best columns lie in the k column
blocks with the largest maxima, so that only their scores are sorted. Chunks are scanned, so memory is queries x chunk,
never queries x keys. Products of bfloat16 keys are summed in float32.

At paper scale, 1,024 queries against 10,240,000 x 768 in bfloat16 on eight v5e chips, `scripts/bench exact_search
--topology=v5e:2x4` (compiled ahead of time, not run): 2.01 GB of keys + 0.54 GB a chip, no sort wider than 512 columns
of the 32,768 in a chunk, 1.3 MB over the network; at least 10.5 ms of matrix products and 15.6 ms of memory traffic.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float32, Int32

from hummingbird.errors import UserError
from hummingbird.retrieval.index.interface import Keys, Neighbours, Queries

CHUNK, BLOCK, QUERIES = 32_768, 64, 1024
AXIS = "bank"
Candidates = tuple[Int32[Array, "Q m"], Float32[Array, "Q m"]]  # columns or key numbers, and their scores


class DeviceIndex:
    """Exact search on JAX devices in the type of the keys; see `interface.Index`.

    Args:
      keys: L2-normalised.
      devices: number of local devices to use; None: all.
      chunk: keys compared at a time on each device.

    Raises:
      UserError: the keys do not fit the devices' memory.
    """

    kind = "device"

    def __init__(self, keys: Keys, devices: int | None = None, chunk: int = CHUNK):
        self.length = len(keys)
        self.exact = keys.dtype == np.float32  # in bfloat16 the queries are rounded too
        used = jax.local_devices()[:devices]
        share = -(-self.length // len(used))
        self.chunk = min(chunk, -(-share // BLOCK) * BLOCK)
        self.chunks = -(-share // self.chunk)
        self.mesh = Mesh(np.array(used), (AXIS,))
        shape = (len(used), self.chunks, self.chunk, keys.shape[1])
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        try:
            parts = [self._place(keys, number) for number in range(len(used))]
            self.keys = jax.make_array_from_single_device_arrays(shape, sharding, jax.block_until_ready(parts))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                f"retrieval.index=device: {keys.nbytes / 1e9:.1f} GB of keys do not fit the memory of {len(used)} "
                f"{used[0].device_kind}; set retrieval.key_dtype=bfloat16, lower retrieval.memory_length, or use "
                "retrieval.index=exact"
            ) from error

    def _place(self, keys: Keys, number: int) -> Float[Array, "1 chunks chunk D"]:
        """Copies one device's share of the keys to it, chunk by chunk, so that the host never holds a second copy."""
        rows, device = self.chunks * self.chunk, self.mesh.devices[number]
        with jax.default_device(device):
            part = jnp.zeros((1, self.chunks, self.chunk, keys.shape[1]), keys.dtype)
        for i in range(self.chunks):
            first = number * rows + i * self.chunk
            block = np.zeros((self.chunk, keys.shape[1]), keys.dtype)
            block[: max(0, min(self.chunk, self.length - first))] = keys[first : first + self.chunk]
            part = jax.block_until_ready(put_chunk(part, jax.device_put(block, device), i))
        return part

    def search(self, queries: Queries, k: int) -> Neighbours:
        """See `interface.Index.search`."""
        queries = np.ascontiguousarray(queries, np.float32)
        wanted = min(k, self.length)
        # Powers of two, so that few shapes are compiled whatever the number of queries.
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
def put_chunk(
    part: Float[Array, "1 chunks chunk D"], block: Float[Array, "chunk D"], number: int | Int32[Array, ""]
) -> Float[Array, "1 chunks chunk D"]:
    """Writes `block` as chunk `number` of `part`, in place."""
    return jax.lax.dynamic_update_slice(part, block[None, None], (0, number, 0, 0))


@functools.partial(jax.jit, static_argnames=("length", "k", "mesh"))
def search_sharded(
    queries: Float[Array, "Q D"],
    keys: Float[Array, "devices chunks chunk D"],
    length: int,
    k: int,
    mesh: Mesh,
) -> tuple[Int32[Array, "Q {k}"], Float32[Array, "Q {k}"]]:
    """Finds the k nearest keys of each query over all devices.

    Args:
      queries: in the type of the keys.
      keys: sharded along the first axis.
      length: number of keys; the rest is padding at the end.
      k: neighbours per query.
      mesh: of one axis, `AXIS`.

    Returns:
      Key numbers and similarities, best first.
    """

    def search_local(queries: Array, keys: Array) -> tuple[Array, Array]:
        first = jax.lax.axis_index(AXIS) * keys.shape[1] * keys.shape[2]
        ids, similarity = scan_chunks(queries, keys[0], first, length, k)
        return ids[None], similarity[None]

    spec = PartitionSpec(AXIS)
    ids, similarity = jax.shard_map(
        search_local, mesh=mesh, in_specs=(PartitionSpec(), spec), out_specs=(spec, spec), check_vma=False
    )(queries, keys)  # [devices, Q, k]
    ids, similarity = (x.transpose(1, 0, 2).reshape(len(queries), -1) for x in (ids, similarity))
    similarity, column = jax.lax.top_k(similarity, k)
    return jnp.take_along_axis(ids, column, axis=1), similarity


def scan_chunks(
    queries: Float[Array, "Q D"],
    keys: Float[Array, "chunks chunk D"],
    first: int | Int32[Array, ""],
    length: int,
    k: int,
) -> Candidates:
    """Finds the k nearest keys of one device; -1 and -inf where there are fewer.

    Args:
      queries: in the type of the keys.
      keys: numbered from `first`; those from `length` on are padding.
    """
    chunk = keys.shape[1]
    precision = jax.lax.Precision.HIGHEST if keys.dtype == jnp.float32 else None

    def step(best: tuple[Array, Array], part: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
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
    best, _ = jax.lax.scan(step, none, (jnp.arange(len(keys)), keys))
    return best


def candidates(scores: Float32[Array, "Q M"], k: int) -> Candidates:
    """Returns columns and scores among which are the k best of each row; M is a multiple of BLOCK."""
    columns = jnp.broadcast_to(jnp.arange(scores.shape[1]), scores.shape)
    for block in (BLOCK, 8):
        columns, scores = narrow(columns, scores, k, block)
    return columns, scores


def narrow(columns: Int32[Array, "Q n"], scores: Float32[Array, "Q n"], k: int, block: int) -> Candidates:
    """Keeps the k blocks with the largest maxima, [Q, n] -> [Q, k * block]; all blocks if there are at most k."""
    blocks = scores.shape[1] // block
    if blocks <= k or scores.shape[1] % block:
        return columns, scores
    # Column j is in block j mod blocks, so that the maximum over a block is taken over whole vectors.
    table, numbers = (x.reshape(len(x), block, blocks) for x in (scores, columns))
    _, chosen = jax.lax.top_k(table.max(axis=1), k)
    numbers, values = (jnp.take_along_axis(x, chosen[:, None, :], axis=2) for x in (numbers, table))
    return numbers.reshape(len(scores), -1), values.reshape(len(scores), -1)
