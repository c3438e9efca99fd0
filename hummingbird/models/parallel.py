"""Networks on a mesh: each device encodes its own images, and gradients cross devices once a step.

All that a step does per image runs in one `jax.shard_map`. What devices hold in parts is gathered when it begins: keys
and values of the bank, and parameters split over "fsdp". What follows, the loop over micro-batches included, needs no
communication, forward or backward, until the gradients are summed at its end: once for each parameter, in float32.
Left to XLA's partitioner, each micro-batch would sum the gradients of all parameters.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import Array
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import keystr
from jax.typing import DTypeLike

from hummingbird.devices.mesh import BATCH, parameter_spec
from hummingbird.models.context import ContextBank
from hummingbird.models.network import Network

Outputs = TypeVar("Outputs")


def on_mesh(encode: Callable[..., Outputs], mesh: Mesh) -> Callable[..., Outputs]:
    """Runs `encode(networks, key, *batch)` on a mesh; returns a function of the same arguments.

    Args:
      encode: maps networks, a PRNG key and trees of arrays [B, ...] to a tree of arrays [B, ...], each image on its
        own. It is called with a device's own images.
      mesh: devices of the run.
    """
    if mesh.size == 1:
        return encode

    def run(networks: list[Network], key: Array, *batch: Any) -> Outputs:
        specs = [_specs(network, mesh) for network in networks]

        @functools.partial(
            jax.shard_map,
            mesh=mesh,
            in_specs=(specs, PartitionSpec(), PartitionSpec(BATCH)),
            out_specs=PartitionSpec(BATCH),
            check_vma=False,
        )
        def local(networks: list[Network], key: Array, batch: Any) -> Outputs:
            keys = _gather_rows(networks[0].keys)  # of the one bank that all attend to
            whole = [_whole(*pair, keys) for pair in zip(networks, specs, strict=True)]
            return encode(whole, key, *batch)

        return local(networks, key, batch)

    return run


def _specs(network: Network, mesh: Mesh) -> Network:
    """Returns the same tree, of how each array is split over the devices."""
    rows: Any = PartitionSpec(None, BATCH)
    whole: Any = PartitionSpec()

    def parameter(x: Array) -> PartitionSpec:
        return parameter_spec(x.shape, mesh)

    params: Any = jax.tree.map(parameter, network.params)
    bank = ContextBank(rows, rows, whole, None if network.bank.values is None else rows)
    return dataclasses.replace(network, params=params, stats=whole, bank=bank, keys=rows, values=rows)


def _whole(network: Network, specs: Network, keys: Array) -> Network:
    """Gathers the parameters and the values of the bank; `keys` are gathered already.

    Kernels of the encoder cross devices in the type to which its layers convert them; all else in float32.
    """

    def parameter(path: tuple[Any, ...], x: Array, spec: PartitionSpec) -> Array:
        if "fsdp" not in spec:
            return x
        names = keystr(path, simple=True, separator=".").split(".")
        kernel = names[0] == "encoder" and names[-1] == "kernel"
        return _gather(x, spec.index("fsdp"), network.model.dtype if kernel else x.dtype)

    params: Any = jax.tree_util.tree_map_with_path(parameter, network.params, specs.params)
    return dataclasses.replace(network, keys=keys, values=_gather_rows(network.values), params=params)


def _gather_rows(x: Array) -> Array:
    """Joins the rows of a bank, [slots, rows, D]; the sum of their gradients is split again."""
    return jax.lax.all_gather(x, BATCH, axis=1, tiled=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(x: Array, axis: int, dtype: DTypeLike) -> Array:
    """Joins the parts of a parameter, which cross devices in `dtype`; its gradient crosses them in its own type."""
    return jax.lax.all_gather(x.astype(dtype), "fsdp", axis=axis, tiled=True).astype(x.dtype)


def _gather_forward(x: Array, axis: int, dtype: DTypeLike) -> tuple[Array, None]:
    return _gather(x, axis, dtype), None


def _gather_backward(axis: int, dtype: DTypeLike, saved: None, gradient: Array) -> tuple[Array]:
    return (jax.lax.psum_scatter(gradient, "fsdp", scatter_dimension=axis, tiled=True),)


_gather.defvjp(_gather_forward, _gather_backward)
