"""Nearest neighbours on accelerators: nothing to build, keys sharded over the devices of one process or of all.

At paper scale, 1,024 queries against 10,240,000 x 768 in bfloat16, `scripts/bench exact_search --device --keys=10240000
--dim=768` on an H200: 41.5 ms with the kernel of `device_kernel`, 60.1 ms with XLA's products and maxima, 756 ms with a
`top_k` of each chunk; the products alone take 16.3 ms at the published peak, 20 at the 790 Tflop/s that large products
reach there. PASCAL VOC at the paper's size is thus 60 s of search for 1,449 query images, after 32 s in which 16 cores
decode the prompt (`scripts/bench host_decoding`) and the encoder works 11 s (ViT-B at 512 px: 2,040 images a second).

On eight v5e chips, compiled ahead of time and not run (`--topology=v5e:2x4`): 2.01 GB of keys + 0.30 GB a chip, 1.8 MB
over the network; at least 10.5 ms of matrix products and 26.5 ms of memory traffic, of which scoring the keys of the
best blocks again is 10.8. With `--recall=0.95` (`retrieval.device_recall`, `jax.lax.approx_max_k`) scores are reduced
where they are computed: no working memory, and 2.5 ms of memory traffic.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float32

from hummingbird.errors import UserError, first_line
from hummingbird.retrieval.index.device_search import (
    AXIS,
    BLOCK,
    CHUNK,
    GATHERED,
    QUERIES,
    put_chunk,
    search_sharded,
)
from hummingbird.retrieval.index.interface import Keys, Neighbours, Queries
from hummingbird.retrieval.index.scores import Widths
from hummingbird.retrieval.processes import gather


class DeviceMemoryError(UserError):
    """The devices lack the memory for keys or for their search.

    Args:
      reason: how much of what.
    """

    def __init__(self, reason: str):
        super().__init__(
            f"retrieval.index=device: {reason}; set retrieval.key_dtype=bfloat16 (which does not help with "
            "retrieval.distance=l2 or retrieval.standardise), lower retrieval.memory_length, or use "
            "retrieval.index=exact"
        )
        self.reason = reason


class DeviceIndex:
    """Search on JAX devices in the type of the keys; see `interface.Index`.

    Args:
      keys: L2-normalised; those of this process, where `shares` are given.
      devices: number of local devices to use; None: all. Not with `shares`.
      chunk: keys compared at a time on each device.
      recall: expected share of the true neighbours; below 1, `jax.lax.approx_max_k` finds them, faster on TPUs.
      shares: keys that each process holds, in the order of their numbers; all processes then search together. None:
        this process searches on its own.
      widths: parts of the keys, which are compared by `product_scores`; None: inner products.

    Raises:
      DeviceMemoryError: the keys do not fit the devices' memory.
    """

    kind = "device"

    def __init__(
        self,
        keys: Keys,
        devices: int | None = None,
        chunk: int = CHUNK,
        recall: float = 1.0,
        shares: Sequence[int] | None = None,
        widths: Widths | None = None,
    ):
        self.widths = widths
        self.together, self.recall = shares is not None, recall
        shares = [len(keys)] if shares is None else shares
        me = jax.process_index() if self.together else 0
        assert shares[me] == len(keys)
        self.length = sum(shares)
        # In bfloat16 the queries are rounded too.
        self.exact = keys.dtype == np.float32 and recall == 1
        used = sorted(jax.devices(), key=lambda x: (x.process_index, x.id)) if self.together else jax.local_devices()
        self.mesh = Mesh(np.array(used[:devices]), (AXIS,))
        owners = [device.process_index if self.together else 0 for device in self.mesh.devices]
        first, count = divide(shares, owners)
        share = max(count)
        self.chunks, self.chunk = layout(share, chunk)
        self.sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        self.local = [number for number, owner in enumerate(owners) if owner == me]
        self.fewest = min(owners.count(owner) for owner in owners)
        with memory_errors(self.length * keys.shape[1] * keys.itemsize, self.mesh.size):
            before = sum(shares[:me])
            parts = [self._place(keys[first[i] - before :][: count[i]], i) for i in self.local]
            self.keys = self._whole(jax.block_until_ready(parts))
        self.first, self.count = (
            self._whole([jax.device_put(np.array(x[i : i + 1], np.int32), self.mesh.devices[i]) for i in self.local])
            for x in (first, count)
        )

    def _place(self, keys: Keys, number: int) -> Float[Array, "1 chunks chunk D"]:
        """Copies a device's share of the keys to it, chunk by chunk, so that the host never holds a second copy."""
        device = self.mesh.devices[number]
        with jax.default_device(device):
            part = jnp.zeros((1, self.chunks, self.chunk, keys.shape[1]), keys.dtype)
        for i in range(self.chunks):
            rows = keys[i * self.chunk : (i + 1) * self.chunk]
            block = np.zeros((self.chunk, keys.shape[1]), keys.dtype)
            block[: len(rows)] = rows
            part = jax.block_until_ready(put_chunk(part, jax.device_put(block, device), i))
        return part

    def _whole(self, parts: Sequence[Array]) -> Array:
        """Returns the array of which each device of the mesh holds an equal part, given those of this process."""
        shape = (len(parts[0]) * self.mesh.size, *parts[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, self.sharding, list(parts))

    def exactly(self) -> DeviceIndex:
        """Returns an index over the same keys that finds all neighbours."""
        index = object.__new__(DeviceIndex)
        index.__dict__.update(self.__dict__, recall=1.0, exact=self.keys.dtype == np.float32)
        return index

    def search(self, queries: Queries, k: int) -> Neighbours:
        """See `interface.Index.search`; raises DeviceMemoryError. All processes call it if they search together."""
        return self.start(queries, k)()

    def start(self, queries: Queries | Float[Array, "B h w D"], k: int) -> Callable[[], Neighbours]:
        """Begins a search; the function that it returns waits for the neighbours.

        Args:
          queries: L2-normalised, in NumPy; or, as an encoder left them on the local devices, one map an image.
          k: neighbours per query.
        """
        with self._memory_errors():
            if (placed := self._adopt(queries)) is not None:
                return lambda: self._fetch([self._dispatch(placed, k)], queries.size // queries.shape[-1], k)
            rows = np.asarray(queries, np.float32).reshape(-1, queries.shape[-1])
            blocks = [self._dispatch(block, k) for block in self._blocks(rows)]
        return lambda: self._fetch(blocks, len(rows), k)

    def _memory_errors(self) -> contextlib.AbstractContextManager[None]:
        return memory_errors(self.keys.nbytes, self.mesh.size)

    def _adopt(self, queries: Queries | Float[Array, "B h w D"]) -> Array | None:
        """Returns this process's maps as its part of one array over all processes; None if their layouts do not fit."""
        parts = self._parts(queries) if isinstance(queries, Array) else []
        form = parts[0].shape if parts else None
        forms = set(gather(form)) if self.together else {form}
        return self._whole(parts) if forms == {form} and parts else None

    def _parts(self, maps: Float[Array, "B h w D"]) -> list[Array]:
        """Returns the part of each device of this process, if each has an equal one; else none."""
        shards = sorted(maps.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        parts = [shard.data for shard in shards]
        placed = [shard.device for shard in shards] == [self.mesh.devices[i] for i in self.local]
        return parts if placed and sum(map(len, parts)) == len(maps) else []

    def _blocks(self, rows: Float32[np.ndarray, "Q D"]) -> Iterator[Array]:
        """Yields queries in blocks of few sizes, so that few programs are compiled: powers of two up to QUERIES."""
        most = max(gather(len(rows))) if self.together else len(rows)
        size = min(QUERIES, max(8, 1 << max(most - 1, 0).bit_length()))
        each = -(-size // self.fewest)  # rows per device: all processes have as many blocks, whatever their devices
        size = each * len(self.local)
        for number in range(-(-most // (each * self.fewest))):
            part = rows[number * size : (number + 1) * size]
            padded = np.zeros((size, rows.shape[1]), self.keys.dtype)
            padded[: len(part)] = part
            yield jax.make_array_from_process_local_data(self.sharding, padded)

    def _dispatch(self, queries: Array, k: int) -> list[list[Array]]:
        """Searches the queries of all processes; returns ids and similarities of this process's, by device."""
        wanted, length = min(k, self.length), self.length if self.recall < 1 else -1
        asked = (queries, self.keys, self.first, self.count, wanted, self.mesh, self.recall, length, self.widths)
        found = search_sharded(*asked)
        parts = [
            [shard.data for shard in sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)]
            for x in found
        ]
        for part in (*parts[0], *parts[1]):
            part.copy_to_host_async()
        return parts

    def _fetch(self, blocks: Sequence[list[list[Array]]], rows: int, k: int) -> Neighbours:
        ids, best = np.full((rows, k), -1, np.int32), np.full((rows, k), -np.inf, np.float32)
        with self._memory_errors():
            for whole, side in ((ids, 0), (best, 1)):
                found = np.concatenate([np.asarray(part) for block in blocks for part in block[side]] or [whole])[:rows]
                whole[:, : found.shape[1]] = found
        return ids, best


def layout(share: int, chunk: int = CHUNK) -> tuple[int, int]:
    """Returns the number of chunks and of keys per chunk for a device's share, with room for up to an eighth more.

    Banks of similar lengths, such as those of parts of a prompt, have the same layout, and so the same program.

    Example:
      >>> layout(1_000), layout(1_280_000), layout(10_240_000)
      ((1, 1024), (40, 32768), (320, 32768))
    """
    chunk = min(chunk, BLOCK * few(-(-share // BLOCK)))
    return few(-(-share // chunk)), chunk


def few(count: int) -> int:
    """Rounds up to a number of at most four binary digits, and zeros."""
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step


def divide(shares: Sequence[int], owners: Sequence[int]) -> tuple[list[int], list[int]]:
    """Divides the keys of each process over its devices.

    Args:
      shares: keys of each process.
      owners: process of each device.

    Returns:
      For each device, the number of its first key and how many it has.

    Example:
      >>> divide([5, 3], [0, 0, 1])
      ([0, 3, 5], [3, 2, 3])
    """
    first, count = [], []
    for number, owner in enumerate(owners):
        share, devices = shares[owner], owners.count(owner)
        before = sum(shares[:owner])
        start, stop = (min(share, -(-share // devices) * (owners[:number].count(owner) + i)) for i in (0, 1))
        first.append(before + start)
        count.append(stop - start)
    return first, count


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


def device_bytes(length: int, dim: int, itemsize: int, devices: int | None = None) -> int:
    """Estimates the memory that the keys and the search of a block of queries take on each of the devices.

    Args:
      length, dim, itemsize: number, dimensions and bytes per value of the keys.
      devices: that share them; None: those of this process.
    """
    chunks, chunk = layout(-(-length // (devices or jax.local_device_count())))
    scores, maxima = QUERIES * chunk * 4, QUERIES * chunks * chunk // BLOCK * 4
    return chunks * chunk * dim * itemsize + 2 * (scores + maxima + GATHERED)


def free_device_memory() -> int | None:
    """Returns the bytes free on the local device with the least; None if the devices do not report them, as CPUs."""
    free = []
    for device in jax.local_devices():
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            free.append(int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0)))
    return min(free, default=None)


def shortage(length: int, dim: int, itemsize: int, devices: int | None = None) -> str:
    """Says why keys and their search will not fit the devices; "" if they will, or if that is unknown.

    Args:
      length, dim, itemsize, devices: as for `device_bytes`.
    """
    free, needed = free_device_memory(), device_bytes(length, dim, itemsize, devices)
    if free is None or needed <= free:
        return ""
    numbers = f"{needed / 1e9:.1f} GB needed on each, {free / 1e9:.1f} GB free"
    return f"{no_room(length * dim * itemsize, devices or jax.local_device_count())} ({numbers})"
