"""Devices as a mesh, and which array is split over which of its axes.

Two axes: "data" splits the batch and the bank; "fsdp" splits the batch, the bank and, unlike "data", parameters and
optimiser state too. The result of a step does not depend on either, up to rounding.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hummingbird.config import PretrainConfig
from hummingbird.errors import UserError

BATCH = ("data", "fsdp")  # the axes that images and bank rows are split over
MIN_SHARDED = 2**14  # smaller arrays are cheaper to keep whole than to gather


def build_mesh(config: PretrainConfig, devices: list[Any] | None = None) -> Mesh:
    """The mesh of a pretraining config over `devices` (default: all).

    Raises:
      UserError: the devices cannot be laid out so, or do not divide the batch or the bank.
    """
    devices = jax.devices() if devices is None else devices
    count, fsdp = len(devices), config.mesh.fsdp
    data = config.mesh.data if config.mesh.data > 0 else count // fsdp
    if data * fsdp > count or (config.mesh.data <= 0 and count % fsdp):
        raise UserError(f"config keys mesh.data={config.mesh.data}, mesh.fsdp={fsdp}: do not fit {count} devices")
    if jax.process_count() > 1 and data * fsdp != count:
        raise UserError(f"config keys mesh.data={config.mesh.data}, mesh.fsdp={fsdp}: must use all {count} devices")
    used = data * fsdp
    for key, value in (("batch_size", config.batch_size), ("context.bank_length", config.context.bank_length)):
        if value % used:
            raise UserError(
                f"config key {key}: {value} is not a multiple of the {used} devices; change it or mesh.data"
            )
    if config.batch_size // config.micro_batches % used:
        raise UserError(
            f"config key micro_batches: {config.micro_batches} parts of batch_size {config.batch_size} are not a "
            f"multiple of the {used} devices each"
        )
    rows = math.gcd(config.batch_size, config.context.bank_length)
    if rows % used:
        raise UserError(
            f"config key context.bank_length: gcd({config.context.bank_length}, batch_size {config.batch_size}) = "
            f"{rows} rows are not a multiple of the {used} devices"
        )
    grid = np.asarray(devices[:used]).reshape(data, fsdp)
    return Mesh(grid, BATCH, axis_types=(AxisType.Auto, AxisType.Auto))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays with a leading batch axis."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """Of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """A tree like the TrainState `state` (arrays or shapes): bank rows over the batch axes, the rest over "fsdp"."""
    whole = jax.tree.map(lambda x: NamedSharding(mesh, _fsdp_spec(x.shape, mesh.shape["fsdp"])), state)
    rows = NamedSharding(mesh, PartitionSpec(None, BATCH))
    return whole.replace(bank=whole.bank.replace(keys=rows, labels=rows, cursor=replicated(mesh)))


def _fsdp_spec(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """Splits the longest axis that `parts` divides; small arrays stay whole."""
    if parts == 1 or math.prod(shape) < MIN_SHARDED:
        return PartitionSpec()
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if not axes:
        return PartitionSpec()
    longest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(["fsdp" if axis == longest else None for axis in range(longest + 1)]))


def to_global(mesh: Mesh, local: np.ndarray) -> jax.Array:
    """The global batch from each process's own part [B / processes, ...]."""
    return jax.make_array_from_process_local_data(batch_sharding(mesh), local)
