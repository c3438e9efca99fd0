"""Reads compiled XLA programs: which collectives they run, how often, and with how many bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypedDict

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
BITS = {"pred": 8, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "bf16": 16, "f16": 16, "s32": 32, "u32": 32, "f32": 32}
BITS |= {"s64": 64, "u64": 64, "f64": 64}

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_SHAPE = re.compile(r"\b(" + "|".join(BITS) + r")\[([\d,]*)\]")
_OPERATION = re.compile(r"=\s+(.*?)\s(" + "|".join(COLLECTIVES) + r")(-start)?\(")
_CHAIN = re.compile(r'\bchain_id="(\d+)"')
LOOP = re.compile(r"\bwhile\(.*?condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONSTANT = re.compile(r"= s32\[\][^ ]* constant\((\d+)\)")
CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")


class Collective(TypedDict):
    """How often a collective runs per step, and the bytes of its results."""

    count: int
    bytes: int


class Run(NamedTuple):
    """A collective of a program.

    Attributes:
      name: such as "all-gather".
      chain: number that its pieces share if the TPU compiler spreads it over several computations; else "".
      times: how often it runs.
      line, computation: where it is, or the piece of it that runs least often.
    """

    name: str
    chain: str
    times: int
    line: str
    computation: str


def collectives(text: str) -> dict[str, Collective]:
    """Counts the collectives of a compiled program, per device and run: {"all-reduce": {"count", "bytes"}, ...}.

    Bytes are those of each collective's result: for a reduce-scatter the part that a device keeps, for an all-gather
    the whole that it ends up with. An operation inside a loop counts once per trip.

    Args:
      text: `compiled.as_text()`.
    """
    found: dict[str, Collective] = {}
    for run in collective_runs(split(text)):
        operation = _OPERATION.search(run.line)
        assert operation is not None
        size = _result_bytes(operation[1], operation[3] is not None and run.name != "all-reduce")
        entry = found.setdefault(run.name, Collective(count=0, bytes=0))
        entry["count"] += run.times
        entry["bytes"] += run.times * size
    return found


def collective_runs(computations: Mapping[str, Sequence[str]]) -> list[Run]:
    """Finds the collectives of a program, each once.

    The TPU compiler may split a collective into pieces that run beside other work, in loops as well. The pieces that
    start and end it run once each time it runs, so the piece that runs least often says how often that is.

    Args:
      computations: from `split`.
    """
    runs: dict[tuple[str, str], Run] = {}  # by operation and place

    def visit(name: str, times: int) -> None:
        for number, line in enumerate(computations.get(name, ())):
            operation = _OPERATION.search(line)
            if operation:
                chain = chain_of(line)
                key = operation[2], chain or f"{name}:{number}"
                run = Run(operation[2], chain, times, line, name)
                known = runs.get(key)
                if chain and known:
                    runs[key] = min(known, run, key=lambda piece: piece.times)
                else:
                    runs[key] = run._replace(times=times + (known.times if known else 0))
            loop = LOOP.search(line)
            if loop:
                visit(loop[2], times * trips(line, computations.get(loop[1], ())))
            elif not operation:
                for called in CALLED.findall(line):
                    visit(called, times)

    visit("ENTRY", 1)
    return list(runs.values())


def chain_of(line: str) -> str:
    """Returns the number of the chain that a collective is a piece of; "" if it stands alone."""
    chain = _CHAIN.search(line)
    return chain[1] if chain else ""


def trips(loop: str, condition: Iterable[str]) -> int:
    """Returns how often a loop runs: XLA's annotation, else the bound in its condition.

    The TPU compiler leaves no annotation. The loops of a step are scans, which count from 0 by 1.
    """
    noted = _TRIPS.search(loop)
    bounds = [int(n) for line in condition for n in _CONSTANT.findall(line)]
    return int(noted[1]) if noted else max(bounds, default=1)


def split(text: str) -> dict[str, list[str]]:
    """Splits a program into {computation: its lines}; the entry computation is called ENTRY."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        start = _COMPUTATION.match(line)
        if start:
            lines = computations.setdefault("ENTRY" if start[1] else start[2], [])
        else:
            lines.append(line)
    return computations


def _result_bytes(shapes: str, paired: bool) -> int:
    """Returns the bytes of the results; in a tuple (operand, result, ...), the result is the largest."""
    sizes = [
        BITS[dtype] // 8 * math.prod(int(n) for n in dims.split(",") if n) for dtype, dims in _SHAPE.findall(shapes)
    ]
    if not sizes:
        return 0
    return max(sizes) if paired else sum(sizes)
