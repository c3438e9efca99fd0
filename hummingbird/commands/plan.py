"""`hummingbird plan`: compiles what a run runs, for TPUs or GPUs, on a machine without them.

libtpu compiles ahead of time on any Linux CPU, so the plan describes what the pod would run: bytes per device, flops,
and every collective with its bytes. For GPUs it compiles on the machine's own, else for a CPU, which needs more memory.
The roofline is an estimate from the chips' published peaks, not a measurement.
"""

from __future__ import annotations

import time
from typing import Literal, NotRequired, TypedDict

import jax
import jax.numpy as jnp
from jax.stages import Compiled

from hummingbird.config import PretrainConfig
from hummingbird.devices import chips, flops, hlo, traffic
from hummingbird.devices import topology as topologies
from hummingbird.devices.chips import GIB, Chip
from hummingbird.errors import first_line
from hummingbird.train import program as programs

# Of a batch of 4,096 with 153,600 bank entries on 128 TPU v3 cores: 21 and 53 hours for 300 epochs of ImageNet-1k,
# which are 93,836 steps (App. C.2).
PAPER_SECONDS = {"vit_b16": 0.81, "vit_l16": 2.03}


class Roofline(TypedDict):
    """The least time of a step.

    Attributes:
      seconds: at the peak of "compute", "memory" and "network".
      bound: the largest of the three.
    """

    seconds: dict[str, float]
    bound: str


class Memory(TypedDict):
    """Device memory of a compiled program, per device."""

    argument_bytes: int
    temporary_bytes: int
    total_bytes: int


class Analysis(Memory):
    """What a compiled program needs, per device.

    Attributes:
      fits: whether `total_bytes` fit in `memory_bytes`; None if the chip is unknown.
      memory_bytes: of the device; None if unknown.
      flops: operations per step.
      hbm_bytes_at_least: memory traffic per step if each operation reads and writes its arrays once, loops included.
      collectives: per step, {name: count and bytes}.
      collective_bytes: their sum.
      roofline: if the chip is known.
    """

    fits: bool | None
    memory_bytes: int | None
    flops: float
    hbm_bytes_at_least: int
    collectives: dict[str, hlo.Collective]
    collective_bytes: int
    roofline: NotRequired[Roofline]


class Setup(TypedDict):
    """What is compiled.

    Attributes:
      topology: as given; "local" for the devices of this machine.
      device_kind, devices, mesh: the devices, and how they are arranged.
      encoder, batch_size, bank_length, parameters: of the run.
      compile_seconds: time that XLA took.
    """

    topology: str
    device_kind: str
    devices: int
    mesh: dict[str, int]
    encoder: str
    batch_size: int
    bank_length: int
    parameters: int
    compile_seconds: float


class Compiles(Setup, Analysis):
    """A step that compiles; it may still need more memory than the chip has (see `fits`).

    Attributes:
      fill: memory of filling the bank before step 0; None without a bank.
      peak_bytes: the larger total of fill and step, by which `fits` is decided.
      peak: which of them it is.
    """

    fill: Memory | None
    peak_bytes: int
    peak: Literal["fill", "step"]


class TooLarge(Setup):
    """A program that XLA cannot fit into memory; `error` is its reason."""

    fits: Literal[False]
    error: str


def plan(config: PretrainConfig, topology: str | None) -> Compiles | TooLarge:
    """Compiles the train step of a pretraining config, and the step that fills the bank beforehand.

    Args:
      config: of the run.
      topology: see `topology.find`.

    Raises:
      UserError: unknown topology, libtpu missing, or devices that do not divide the batch.
    """
    target = topologies.find(topology)
    # A plan needs no data: the number of images only sets the length of the schedule.
    program = programs.build_program(config, examples=1000 * config.batch_size, devices=target.devices)
    start_time = time.perf_counter()
    compiled, error = compile_step(program.step.lower(program.state, program.batch))
    fill = None
    if compiled and config.context.bank_length:
        number = jax.ShapeDtypeStruct((), jnp.int32)
        fill, error = compile_step(program.fill.lower(program.state, program.first_views, number))
        error = error and f"filling the bank: {error}"
    setup = Setup(
        topology=topology or "local",
        device_kind=target.kind,
        devices=program.mesh.size,
        mesh=dict(program.mesh.shape),
        encoder=config.encoder.name,
        batch_size=config.batch_size,
        bank_length=config.context.bank_length,
        parameters=sum(x.size for x in jax.tree.leaves(program.state.online)),
        compile_seconds=round(time.perf_counter() - start_time, 1),
    )
    if compiled is None or error:
        return {**setup, "fits": False, "error": error}
    operations = flops.count(program.step, program.state, program.batch) / program.mesh.size
    step = analyse(compiled, target.kind, operations)
    if target.memory is not None:
        step["memory_bytes"] = target.memory
    return with_fill(setup, step, fill and memory_of(fill))


def with_fill(setup: Setup, step: Analysis, fill: Memory | None) -> Compiles:
    """Adds the memory of filling the bank to the plan of a step."""
    largest = fill if fill and fill["total_bytes"] > step["total_bytes"] else step
    fits = None if step["memory_bytes"] is None else largest["total_bytes"] <= step["memory_bytes"]
    peak: Literal["fill", "step"] = "fill" if largest is fill else "step"
    return {**setup, **step, "fits": fits, "fill": fill, "peak_bytes": largest["total_bytes"], "peak": peak}


def compile_step(lowered: jax.stages.Lowered) -> tuple[Compiled | None, str]:
    """Compiles a program; returns None and the reason if it does not fit into the device's memory."""
    try:
        return lowered.compile(), ""
    except jax.errors.JaxRuntimeError as failure:
        if "RESOURCE_EXHAUSTED" not in str(failure):
            raise
        return None, first_line(failure)


def memory_of(compiled: Compiled) -> Memory:
    """Reads the memory of a compiled program, per device."""
    memory = compiled.memory_analysis()
    assert memory is not None  # None where a backend has no such analysis; TPU, GPU and CPU have
    # Donated arguments are written in place: their outputs need no memory of their own.
    argument, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    output = memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = argument + temporary + output + memory.generated_code_size_in_bytes
    return Memory(argument_bytes=argument, temporary_bytes=temporary, total_bytes=total)


def analyse(compiled: Compiled, kind: str, operations: float) -> Analysis:
    """Reads memory, flops, collectives and roofline of a compiled program, per device.

    Args:
      compiled: from `jax.jit(...).lower(...).compile()`.
      kind: `device_kind` of its devices.
      operations: flops of a step on one device, since XLA's own count takes the body of a loop once.
    """
    memory = memory_of(compiled)
    text = compiled.as_text() or ""
    collectives, through_memory = hlo.collectives(text), traffic.hbm_bytes(text)
    moved = sum(entry["bytes"] for entry in collectives.values())
    chip = chips.find(kind)
    analysis = Analysis(
        fits=None if chip is None else memory["total_bytes"] <= chip.memory,
        **memory,
        memory_bytes=None if chip is None else int(chip.memory),
        flops=operations,
        hbm_bytes_at_least=through_memory,
        collectives=collectives,
        collective_bytes=moved,
    )
    if chip is not None:
        analysis["roofline"] = roofline(chip, operations, through_memory, moved)
    return analysis


def roofline(chip: Chip, operations: float, memory_bytes: float, network_bytes: float) -> Roofline:
    """Returns the least time of a step if computing, reading memory and communicating overlap perfectly.

    Args:
      chip: published peaks.
      operations: flops per step and device.
      memory_bytes, network_bytes: traffic per step and device.
    """
    seconds = {
        "compute": operations / chip.flops,
        "memory": memory_bytes / chip.bandwidth,
        "network": network_bytes / chip.network,
    }
    bound = max(seconds, key=lambda name: seconds[name])
    return {"seconds": {name: round(value, 5) for name, value in seconds.items()}, "bound": bound}


def _fill_row(plan: Compiles) -> list[str]:
    fill = plan["fill"]
    if fill is None:
        return []
    larger = "; this is the peak of the run" if plan["peak"] == "fill" else ""
    return [
        f"  filling bank  temporary {fill['temporary_bytes'] / GIB:.2f} GiB, total "
        f"{fill['total_bytes'] / GIB:.2f} GiB{larger}"
    ]


def table(plan: Compiles | TooLarge) -> str:
    """Formats a plan for people."""
    if "error" in plan:
        return f"{plan['topology']}: does not fit ({plan['error']})"
    gib = lambda n: f"{n / GIB:.2f} GiB"
    bank = f", bank {plan['bank_length']:,}" if plan["bank_length"] else ""
    verdict = {True: "fits", False: "DOES NOT FIT", None: "device memory unknown"}[plan["fits"]]
    rows = [
        f"{plan['encoder']}, batch {plan['batch_size']:,}{bank} on {plan['devices']} x "
        f"{plan['device_kind']} ({plan['topology']}): {verdict}",
        f"  per device    arguments {gib(plan['argument_bytes'])}, temporary {gib(plan['temporary_bytes'])}, "
        f"total {gib(plan['total_bytes'])}" + (f" of {gib(plan['memory_bytes'])}" if plan["memory_bytes"] else ""),
        *_fill_row(plan),
        f"  per step      {plan['flops'] / 1e12:.2f} Tflop, HBM >= {plan['hbm_bytes_at_least'] / 1e9:.1f} GB, "
        f"collectives {plan['collective_bytes'] / 1e6:.1f} MB",
    ]
    for name, entry in sorted(plan["collectives"].items()):
        rows.append(f"    {name:20s}{entry['count']:6d} x{entry['bytes'] / 1e6:12.2f} MB")
    if "roofline" in plan:
        times = ", ".join(f"{name} {1e3 * s:.0f} ms" for name, s in plan["roofline"]["seconds"].items())
        rows.append(f"  roofline      {times}; bound by {plan['roofline']['bound']} (published peaks, perfect overlap)")
    if (seconds := PAPER_SECONDS.get(plan["encoder"])) and plan["batch_size"] == 4096:
        rows.append(f"  the paper     {1e3 * seconds:.0f} ms per step on 128 TPU v3 cores (App. C.2)")
    rows.append(f"  compiled in   {plan['compile_seconds']} s")
    return "\n".join(rows)
