"""Exact nearest neighbours on accelerators: nothing to build, keys sharded over all local devices.

The similarity of a block of queries to a chunk of keys is one matrix product. Its k best columns lie in the k column
blocks with the largest maxima, so that only their scores are sorted. Chunks are scanned, so memory is queries x chunk,
never queries x keys. Products of bfloat16 keys are summed in float32.

At paper scale, 1,024 queries against 10,240,000 x 768 in bfloat16 on eight v5e chips, `scripts/bench exact_search
--topology=v5e:2x4` (compiled ahead of time, not run): 2.01 GB of keys + 0.54 GB a chip, no sort wider than 512 columns
of the 32,768 in a chunk, 1.3 MB over the network; at least 10.5 ms of matrix products and 15.6 ms of memory traffic.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float32, Int32

from hummingbird.errors import UserError, first_line
from hummingbird.retrieval.index.interface import Keys, Neighbours, Queries

CHUNK, BLOCK, QUERIES = 32_768, 64, 1024
AXIS = "bank"
SCORE_COPIES = 4  # of a block of scores, float32 [QUERIES, CHUNK], while it is narrowed down
Candidates = tuple[Int32[Array, "Q m"], Float32[Array, "Q m"]]  # columns or key numbers, and their scores


class DeviceMemoryError(UserError):
    """The devices lack the memory for keys or for their search.

    Args:
      reason: how much of what.
    """

    def __init__(self, reason: str):
        super().__init__(
            f"retrieval.index=device: {reason}; set retrieval.key_dtype=bfloat16, lower retrieval.memory_length, or "
            "use retrieval.index=exact"
        )
        self.reason = reason


class DeviceIndex:
    """Exact search on JAX devices in the type of the keys; see `interface.Index`.

    Args:
      keys: L2-normalised.
      devices: number of local devices to use; None: all.
      chunk: keys compared at a time on each device.

    Raises:
      DeviceMemoryError: the keys do not fit the devices' memory.
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
        with memory_errors(keys.nbytes, len(used)):
            parts = [self._place(keys, number) for number in range(len(used))]
            self.keys = jax.make_array_from_single_device_arrays(shape, sharding, jax.block_until_ready(parts))

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
        """See `interface.Index.search`; raises DeviceMemoryError."""
        with memory_errors(self.keys.nbytes, self.mesh.size):
            return self._search(np.ascontiguousarray(queries, np.float32), k)

    def _search(self, queries: Float32[np.ndarray, "Q D"], k: int) -> Neighbours:
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


@contextlib.contextmanager
def memory_errors(key_bytes: int, devices: int) -> Iterator[None]:
    """Turns a device's failure to allocate memory for keys or their search into a DeviceMemoryError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DeviceMemoryError(f"{no_room(key_bytes, devices)} ({first_line(error)})") from error


def no_room(key_bytes: int, devices: int) -> str:
    """Says that keys do not fit the memory of so many devices."""
    kind = jax.local_devices()[0].device_kind
    return f"{key_bytes / 1e9:.1f} GB of keys do not fit the memory of {devices} {kind}"


def device_bytes(length: int, dim: int, itemsize: int) -> int:
    """Estimates the memory that the keys and the search of a block of queries take on each local device."""
    share = -(-length // jax.local_device_count())
    chunk = min(CHUNK, -(-share // BLOCK) * BLOCK)
    return -(-share // chunk) * chunk * dim * itemsize + SCORE_COPIES * QUERIES * chunk * 4


def free_device_memory() -> int | None:
    """Returns the bytes free on the local device with the least; None if the devices do not report them, as CPUs."""
    free = []
    for device in jax.local_devices():
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            free.append(int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0)))
    return min(free, default=None)


def shortage(length: int, dim: int, itemsize: int) -> str:
    """Says why keys and their search will not fit the local devices; "" if they will, or if that is unknown.

    Args:
      length, dim, itemsize: number, dimensions and bytes per value of the keys.
    """
    free, needed = free_device_memory(), device_bytes(length, dim, itemsize)
    if free is None or needed <= free:
        return ""
    numbers = f"{needed / 1e9:.1f} GB needed on each, {free / 1e9:.1f} GB free"
    return f"{no_room(length * dim * itemsize, jax.local_device_count())} ({numbers})"


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
