"""Runs a function of a batch on all devices of this process, each with an equal part of the batch."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Shaped

from hummingbird.models.params import Params

Rows = Shaped[Array | np.ndarray, "B ..."]


@dataclasses.dataclass(frozen=True)
class Spread:
    """Batches over the first `count` devices of this process.

    Attributes:
      count: of devices.
    """

    count: int

    def place(self, tree: Params) -> Params:
        """Copies a tree of arrays to each device."""
        return jax.device_put(tree, self._sharding())

    def split(self, rows: Shaped[np.ndarray, "B ..."]) -> Shaped[Array, "b ..."]:
        """Copies a part of the rows to each device; zeros fill the last part up, so that b is a multiple of `count`."""
        padded = np.zeros((-(-len(rows) // self.count) * self.count, *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        return jax.device_put(padded, self._sharding("images"))

    def run(self, function: Callable[..., tuple[Array, ...]], tree: Params, *rows: Rows) -> tuple[Array, ...]:
        """Begins to apply `function(tree, *rows)`, which must be hashable by value: equal ones are compiled once."""
        return _compiled(function, self.count, len(rows))(tree, *rows)

    def _sharding(self, *axes: str) -> NamedSharding:
        return NamedSharding(_mesh(self.count), PartitionSpec(*axes))


def spread_for(images: int) -> Spread:
    """Returns how a batch of so many images is spread: over all devices, or as many as there are images."""
    return Spread(min(jax.local_device_count(), max(1, images)))


def _mesh(count: int) -> Mesh:
    return Mesh(np.asarray(jax.local_devices()[:count]), ("images",), axis_types=(AxisType.Auto,))


# Few, for a function may hold on to much.
@functools.lru_cache(maxsize=16)
def _compiled(function: Callable[..., tuple[Array, ...]], count: int, rows: int) -> Callable[..., tuple[Array, ...]]:
    whole, split = PartitionSpec(), PartitionSpec("images")
    specs = (whole, *[split] * rows)
    # shard_map: no part of the function can be tempted to exchange what belongs to other devices.
    mapped = jax.shard_map(function, mesh=_mesh(count), in_specs=specs, out_specs=split, check_vma=False)
    return jax.jit(mapped)


@dataclasses.dataclass(frozen=True)
class Call:
    """A function with static arguments; equal to another one of the same function and arguments."""

    function: Callable[..., tuple[Array, ...]]
    arguments: tuple[Hashable, ...]

    def __call__(self, tree: Params, *rows: Rows) -> tuple[Array, ...]:
        return self.function(*self.arguments, tree, *rows)


def map_images(
    function: Callable[..., tuple[Array, ...]], one_by_one: bool, *rows: Shaped[Array, "B ..."]
) -> tuple[Array, ...]:
    """Applies a function of batches to a batch: as a whole, or one image after the other to bound its memory."""
    if not one_by_one:
        return function(*rows)
    single = lambda parts: tuple(x[0] for x in function(*(part[None] for part in parts)))
    return jax.lax.map(single, tuple(jnp.asarray(x) for x in rows))
