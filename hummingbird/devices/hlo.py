"""Reads compiled XLA programs: which collectives they run, how often, and with how many bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TypedDict

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


def collectives(text: str) -> dict[str, Collective]:
    """Counts the collectives of a compiled program, per device and run: {"all-reduce": {"count", "bytes"}, ...}.

    Bytes are those of each collective's result: for a reduce-scatter the part that a device keeps, for an all-gather
    the whole that it ends up with. An operation inside a loop counts once per trip.

    Args:
      text: `compiled.as_text()`.
    """
    computations = split(text)
    runs: dict[tuple[str, str], tuple[int, int]] = {}  # {(operation, place): (times, bytes of one result)}

    def visit(name: str, times: int) -> None:
        for number, line in enumerate(computations.get(name, ())):
            operation = _OPERATION.search(line)
            if operation:
                # The TPU compiler may spread one operation over several computations; they share a chain.
                chain = _CHAIN.search(line)
                key = operation[2], chain[1] if chain else f"{name}:{number}"
                size = _result_bytes(operation[1], operation[3] is not None and operation[2] != "all-reduce")
                runs[key] = max(runs.get(key, (0, 0)), (times, size))
            loop = LOOP.search(line)
            if loop:
                visit(loop[2], times * trips(line, computations.get(loop[1], ())))
            elif not operation:
                for called in CALLED.findall(line):
                    visit(called, times)

    visit("ENTRY", 1)
    found = {name: Collective(count=0, bytes=0) for name, _ in runs}
    for (name, _), (times, size) in runs.items():
        found[name]["count"] += times
        found[name]["bytes"] += times * size
    return found


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
