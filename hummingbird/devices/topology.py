"""Devices to compile for: this machine's, or some that it does not have."""

from __future__ import annotations

import contextlib
import os
import re
from typing import NamedTuple

import jax

from hummingbird.devices.chips import GB
from hummingbird.devices.mesh import Device
from hummingbird.errors import UserError, first_line

GPUS = re.compile(r"gpu:([1-9]\d*)x([1-9]\d*)GB", re.IGNORECASE)
# Share of a GPU's memory that training takes, unless this variable says otherwise; JAX's own default is 0.75.
SHARE = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")


class Topology(NamedTuple):
    """What a program is compiled for.

    Attributes:
      devices: of JAX, perhaps only described.
      kind: name of the chip.
      memory: bytes of a device that a program may use, if they do not follow from the kind.
    """

    devices: list[Device]
    kind: str
    memory: int | None = None


def find(name: str | None) -> Topology:
    """Finds the devices of a topology.

    Args:
      name: "v3:8x8", "v4:4x4x4", "v5e:16x16" and so on, "2*v5e:16x16" for two slices, "gpu:8x80GB" for 8 GPUs of 80 GB
        each; None: this machine's.

    Raises:
      UserError: an unknown topology, or libtpu is missing.
    """
    if not name:
        return Topology(list(jax.devices()), jax.devices()[0].device_kind)
    gpus = GPUS.fullmatch(name)
    if gpus:
        return _gpus(int(gpus[1]), int(gpus[2]))
    devices = tpus(name)
    return Topology(devices, devices[0].device_kind)


def _gpus(count: int, gigabytes: int) -> Topology:
    """Returns GPUs of this machine; without enough of them, as many CPU devices.

    XLA compiles for a GPU only where there is one. Compiled for a CPU, a program needs more memory: activations and
    their gradients that a GPU keeps in bfloat16 are kept in float32.
    """
    with contextlib.suppress(RuntimeError):  # JAX has found its devices already
        jax.config.update("jax_num_cpu_devices", count)
    memory = int(float(os.environ.get(*SHARE)) * gigabytes * GB)
    local = jax.devices()
    if local[0].platform == "gpu" and len(local) >= count:
        return Topology(list(local[:count]), local[0].device_kind, memory)
    cpus = jax.devices("cpu")
    if len(cpus) < count:
        raise UserError(f"--topology: {count} GPUs, but this process has {len(cpus)} CPU devices to compile for")
    return Topology(list(cpus[:count]), f"GPU of {gigabytes} GB (bound by compiling for a CPU)", memory)


def claim_gpus() -> None:
    """Lets this process have nearly all memory of its GPUs, which only works before JAX has found them."""
    os.environ.setdefault(*SHARE)


def tpus(name: str) -> list[Device]:
    """Lists the devices of a TPU topology, as libtpu describes them without hardware.

    Raises:
      UserError: libtpu is missing or does not know the topology.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # plans may run side by side: none takes a TPU
    from jax.experimental import topologies

    slices, _, slice_name = name.rpartition("*")
    try:
        several = {"num_slices": int(slices)} if slices else {}
        description = topologies.get_topology_desc(platform="tpu", topology_name=slice_name, **several)
    except Exception as error:  # libtpu raises errors of many types
        reason = first_line(error)
        if "not installed" in reason or "libtpu" in reason.lower():
            hint = "it needs libtpu, which compiles without a TPU: pip install '.[tpu]'"
        else:
            hint = "use for example v3:8x8, v4:4x4x4, v5e:16x16 or gpu:8x80GB"
        raise UserError(f"--topology={name} cannot be described; {hint} ({reason})") from error
    return list(description.devices)
