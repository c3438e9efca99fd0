"""`hummingbird plan`: compiles the real train step of a config for a TPU topology, on a machine without TPUs.

libtpu compiles ahead of time on any Linux CPU. What comes back is what the pod would run: bytes per device, flops, and
every collective with its bytes. The roofline is an estimate from the chips' published peaks, not a measurement.
"""

from __future__ import annotations

import os
import time
from typing import Any

import jax

from hummingbird import train
from hummingbird.config import PretrainConfig
from hummingbird.devices import chips, flops, hlo
from hummingbird.devices.chips import GIB
from hummingbird.errors import UserError


def plan(config: PretrainConfig, topology: str | None) -> dict[str, Any]:
    """Compiles the train step of a pretraining config.

    Args:
      config: resolved config of kind "pretrain".
      topology: like "v3:8x8", "v4:4x4x4", "v5e:16x16"; None: the local devices.

    Returns:
      JSON-able: topology, device_kind, devices, fits, bytes per device, flops, collectives, compile_seconds, roofline.

    Raises:
      UserError: unknown topology, libtpu missing, or devices that do not divide the batch.
    """
    devices = topology_devices(topology) if topology else jax.devices()
    kind = devices[0].device_kind
    # A plan needs no data: the number of images only sets the length of the schedule.
    program = train.build_program(config, examples=1000 * config.batch_size, devices=devices)
    views, labels = train.batch_shapes(config)
    started = time.perf_counter()
    lowered = program.step.lower(program.state, views, labels)
    try:
        compiled = lowered.compile()
        too_large = None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        compiled, too_large = None, str(error).splitlines()[0]
    seconds = time.perf_counter() - started
    result: dict[str, Any] = {
        "topology": topology or "local",
        "device_kind": kind,
        "devices": program.mesh.size,
        "mesh": dict(program.mesh.shape),
        "encoder": config.encoder.name,
        "batch_size": config.batch_size,
        "bank_length": config.context.bank_length,
        "parameters": sum(x.size for x in jax.tree.leaves(program.state.online)),
        "compile_seconds": round(seconds, 1),
    }
    if compiled is None:
        return {**result, "fits": False, "error": too_large}
    operations = flops.count(program.step, program.state, views, labels) / program.mesh.size
    return {**result, **analyse(compiled, kind, operations)}


def analyse(compiled: Any, kind: str, operations: float) -> dict[str, Any]:
    """Memory, flops, collectives and roofline of a compiled program, per device.

    Args:
      compiled: of `jax.jit(...).lower(...).compile()`.
      kind: `device_kind` of its devices.
      operations: flops of a step on one device; XLA's own count takes the body of a loop once.
    """
    memory = compiled.memory_analysis()
    # Donated arguments are written in place: their outputs take no room of their own.
    argument = memory.argument_size_in_bytes
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = argument + memory.temp_size_in_bytes + output + memory.generated_code_size_in_bytes
    cost = compiled.cost_analysis() or {}
    collectives = hlo.collectives(compiled.as_text())
    moved = sum(entry["bytes"] for entry in collectives.values())
    chip = chips.find(kind)
    found = {
        "fits": None if chip is None else total <= chip.memory,
        "argument_bytes": argument,
        "temporary_bytes": memory.temp_size_in_bytes,
        "total_bytes": total,
        "memory_bytes": None if chip is None else int(chip.memory),
        "flops": operations,
        "hbm_bytes_at_least": cost.get("bytes accessed"),  # XLA takes the body of a loop once
        "collectives": collectives,
        "collective_bytes": moved,
    }
    if chip is not None:
        bounds = {
            "compute": operations / chip.flops,
            "memory": (found["hbm_bytes_at_least"] or 0) / chip.bandwidth,
            "network": moved / chip.network,
        }
        bound = max(bounds, key=lambda name: bounds[name])
        found["roofline"] = {"seconds": {k: round(v, 5) for k, v in bounds.items()}, "bound": bound}
    return found


def topology_devices(topology: str) -> list[Any]:
    """The devices of a TPU topology, described by libtpu without hardware."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server to ask
    from jax.experimental import topologies

    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:  # libtpu's own errors are of many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "not installed" in reason or "libtpu" in reason.lower():
            hint = "it needs libtpu, which compiles without a TPU: pip install '.[tpu]'"
        else:
            hint = "use for example v3:8x8, v4:4x4x4 or v5e:16x16"
        raise UserError(f"--topology={topology} cannot be described; {hint} ({reason})") from error
    return list(description.devices)


def table(result: dict[str, Any]) -> str:
    """The plan as lines for people."""
    if "error" in result:
        return f"{result['topology']}: does not fit ({result['error']})"
    gib = lambda n: f"{n / GIB:.2f} GiB"
    verdict = {True: "fits", False: "DOES NOT FIT", None: "device memory unknown"}[result["fits"]]
    rows = [
        f"{result['encoder']}, batch {result['batch_size']:,}, bank {result['bank_length']:,} on {result['devices']} x "
        f"{result['device_kind']} ({result['topology']}): {verdict}",
        f"  per device    arguments {gib(result['argument_bytes'])}, temporary {gib(result['temporary_bytes'])}, "
        f"total {gib(result['total_bytes'])}"
        + (f" of {gib(result['memory_bytes'])}" if result["memory_bytes"] else ""),
        f"  per step      {result['flops'] / 1e12:.2f} Tflop, "
        f"HBM >= {(result['hbm_bytes_at_least'] or 0) / 1e9:.1f} GB, "
        f"collectives {result['collective_bytes'] / 1e6:.1f} MB",
    ]
    for name, entry in sorted(result["collectives"].items()):
        rows.append(f"    {name:20s}{entry['count']:6d} x{entry['bytes'] / 1e6:12.2f} MB")
    if "roofline" in result:
        times = ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in result["roofline"]["seconds"].items())
        rows.append(
            f"  roofline      {times}; bound by {result['roofline']['bound']} (published peaks, no overlap lost)"
        )
    rows.append(f"  compiled in   {result['compile_seconds']} s")
    return "\n".join(rows)
