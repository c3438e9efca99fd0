"""Arranges devices in a mesh, and decides which arrays are split over which of its axes.

Two axes: "data" splits the batch and the bank; "fsdp" splits the batch, the bank and, unlike "data", parameters and
optimiser state too. The result of a step does not depend on either, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.tree_util import KeyPath, keystr
from jaxtyping import Shaped

from hummingbird.config import FinetuneConfig, PretrainConfig
from hummingbird.errors import UserError

BATCH = ("data", "fsdp")  # the axes that images and bank rows are split over
MIN_SHARDED = 2**14  # elements; smaller arrays are cheaper to replicate than to gather
State = TypeVar("State")


@runtime_checkable
class Device(Protocol):
    """A device, as `jax.devices()` lists them."""

    @property
    def device_kind(self) -> str:
        """Name of the chip."""
        ...

    @property
    def platform(self) -> str:
        """Kind of device: cpu, gpu or tpu."""
        ...


def build_mesh(config: PretrainConfig | FinetuneConfig, devices: Sequence[Device] | None = None) -> Mesh:
    """Builds the mesh of a run.

    Args:
      config: reads `mesh.*`, `batch_size`, `micro_batches` and, of pretraining, `context.bank_length`.
      devices: to use; None: all.

    Raises:
      UserError: the devices cannot be arranged as configured, or do not divide the batch or the bank.
    """
    devices = jax.devices() if devices is None else devices
    count, fsdp = len(devices), config.mesh.fsdp
    data = config.mesh.data if config.mesh.data > 0 else count // fsdp
    used = data * fsdp
    keys = f"config keys mesh.data={config.mesh.data}, mesh.fsdp={fsdp}"
    if used > count or (config.mesh.data <= 0 and count % fsdp):
        raise UserError(f"{keys} do not fit {count} devices")
    if jax.process_count() > 1 and used != count:
        raise UserError(f"{keys} must use all {count} devices")
    _check_divisible(config, used)
    return Mesh(arrange(devices, data, fsdp), BATCH, axis_types=(AxisType.Auto, AxisType.Auto))


def arrange(devices: Sequence[Device], data: int, fsdp: int) -> Shaped[np.ndarray, "data fsdp"]:
    """Arranges devices, slice by slice: the axis "data" spans the slices of a TPU, "fsdp" stays within one.

    Raises:
      UserError: devices that share parameters would belong to different slices.
    """
    by_slice = sorted(devices, key=slice_of)[: data * fsdp]
    grid = np.empty(len(by_slice), object)
    grid[:] = by_slice
    grid = grid.reshape(data, fsdp)
    if any(slice_of(row[0]) != slice_of(row[-1]) for row in grid):
        raise UserError(
            f"config key mesh.fsdp: {fsdp} devices that share parameters would lie in different slices, between which "
            "the network is slow; use a number that divides the devices of a slice"
        )
    return grid


def slice_of(device: Device) -> int:
    """Returns the number of a TPU device's slice; 0 for other devices."""
    return getattr(device, "slice_index", 0) or 0


def _check_divisible(config: PretrainConfig | FinetuneConfig, devices: int) -> None:
    """Raises UserError unless batch, micro-batches and bank rows can be split evenly over the devices."""
    batch, parts = config.batch_size, config.micro_batches
    bank = config.context.bank_length if isinstance(config, PretrainConfig) else 0
    multiple = f"not a multiple of the {devices} devices"
    for key, value in (("batch_size", batch), ("context.bank_length", bank)):
        if value % devices:
            raise UserError(f"config key {key}: {value} is {multiple}; change it or mesh.data")
    if batch // parts % devices:
        raise UserError(f"config key micro_batches: {parts} parts of batch_size {batch} are each {multiple}")
    rows = math.gcd(batch, bank)
    if rows % devices:
        raise UserError(f"config key context.bank_length: gcd({bank}, batch_size {batch}) = {rows} rows are {multiple}")


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays with a leading batch axis."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(mesh: Mesh, state: State) -> State:
    """Returns the shardings of a TrainState: bank rows over the batch axes, parameters and optimiser over "fsdp".

    Args:
      mesh: from `build_mesh`.
      state: a tree of arrays or shapes, with the memory bank under `bank`: [slots, rows, ...] arrays and scalars.

    Returns:
      The same tree, of shardings.
    """
    rows = NamedSharding(mesh, PartitionSpec(None, BATCH))

    def place(path: KeyPath, x: jax.ShapeDtypeStruct) -> NamedSharding:
        if keystr(path[:1], simple=True) == "bank":
            return rows if x.ndim else replicated(mesh)
        return NamedSharding(mesh, parameter_spec(x.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, state)


def parameter_spec(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Splits the longest axis that the "fsdp" devices divide; small arrays are not split."""
    parts = mesh.shape["fsdp"]
    if parts == 1 or math.prod(shape) < MIN_SHARDED:
        return PartitionSpec()
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if not axes:
        return PartitionSpec()
    longest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(["fsdp" if axis == longest else None for axis in range(longest + 1)]))


def to_global(mesh: Mesh, local: Shaped[np.ndarray, " b *item"]) -> Shaped[jax.Array, " B *item"]:
    """Joins the parts of a batch that the processes hold into the global batch, B = b * processes."""
    return jax.make_array_from_process_local_data(batch_sharding(mesh), local)
