"""Memory traffic of compiled XLA programs: the bytes that operations move to and from HBM, loops included.

XLA's own count takes the body of a loop once, however often it runs, and does not see into custom kernels. Here each
operation reads its operands and writes its results once per run, which is the least it can move. Not counted are arrays
in on-chip memory (`S(1)` and the like in a layout), what stays inside a fusion, and the parts of an array that a slice
leaves out or an update leaves alone. A custom kernel counts with the bytes of its cost estimate. A collective that the
TPU compiler splits into pieces, which run beside other fusions, counts once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from hummingbird.devices import hlo

# These move nothing: they name, group or await what others compute.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "domain"}
FREE |= {"partition-id", "replica-id", "add-dependency"}
SLICES = {"dynamic-slice", "slice", "gather"}

_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b(" + "|".join(hlo.BITS) + r")\[([\d,]*)\](?:\{([^{}]*)\})?")
_OPERAND = re.compile(r"%([\w.\-]+)")
_ON_CHIP = re.compile(r"S\([1-9]\d*\)")
_KERNEL = re.compile(r'"cost_estimate":\{[^{}]*"bytes_accessed":"?(\d+)')
_BRANCHES = re.compile(r"(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+))")
_NAME = re.compile(r"[\w.\-]+")


class Instruction(NamedTuple):
    """One line of a program: `%name = shape opcode(operands), attributes`.

    `carries` says that it is a piece of a collective, or may hand the buffers of one through.
    """

    name: str
    shape: str
    opcode: str
    operands: list[str]
    rest: str
    is_root: bool
    carries: bool = False


Computation = dict[str, Instruction]


def hbm_bytes(text: str) -> int:
    """Counts the bytes that one run of a compiled program moves to and from HBM at least, per device.

    Args:
      text: `compiled.as_text()`.
    """
    program = _Program(text)
    return program.of_computation("ENTRY") + program.of_chains()


class _Program:
    """A compiled program, by computation."""

    def __init__(self, text: str):
        self.lines = hlo.split(text)
        self.parsed: dict[str, Computation] = {}

    def computation(self, name: str) -> Computation:
        if name not in self.parsed:
            self.parsed[name] = _parse(self.lines.get(name, ()))
        return self.parsed[name]

    def of_computation(self, name: str) -> int:
        around = self.computation(name)
        return sum(self.of_instruction(x, around) for x in around.values())

    def of_chains(self) -> int:
        """Counts the bytes of collectives that are split into pieces; their pieces count nothing."""
        total = 0
        for run in hlo.collective_runs(self.lines):
            if run.chain:
                around = self.computation(run.computation)
                x = next(
                    x for x in around.values() if x.opcode.startswith(run.name) and hlo.chain_of(x.rest) == run.chain
                )
                total += run.times * _of_operation(x, around)
        return total

    def of_instruction(self, x: Instruction, around: Computation) -> int:
        if x.opcode == "while" and (loop := hlo.LOOP.search(x.rest)):
            return hlo.trips(x.rest, self.lines.get(loop[1], ())) * self.of_computation(loop[2])
        if x.opcode == "conditional":
            named = [name for group in _BRANCHES.findall(x.rest) for name in _NAME.findall(" ".join(group))]
            return max(map(self.of_computation, named), default=0)
        if x.opcode in ("call", "async-start"):
            return sum(map(self.of_computation, hlo.CALLED.findall(x.rest)))
        if x.opcode == "fusion":
            inside = self.called(x)
            read = sum(self.read(y, inside) for y in inside.values() if y.opcode == "parameter")
            return read + min(array_bytes(x.shape), self.written(_root(inside), inside))
        return 0 if hlo.chain_of(x.rest) else _of_operation(x, around)

    def called(self, x: Instruction) -> Computation:
        return self.computation(hlo.CALLED.findall(x.rest)[0])

    def written(self, x: Instruction, inside: Computation) -> int:
        """Returns the bytes that a result of a fusion writes: all of it, or the part that it updates in place."""
        if x.opcode == "tuple":
            return sum(self.written(inside[name], inside) for name in x.operands)
        if x.carries:
            return 0
        if x.opcode == "bitcast":
            return self.written(inside[x.operands[0]], inside)
        if x.opcode == "fusion":
            return self.written(_root(self.called(x)), self.called(x))
        return array_bytes(inside[x.operands[1]].shape if x.opcode == "dynamic-update-slice" else x.shape)

    def read(self, x: Instruction, inside: Computation) -> int:
        """Returns the bytes that a fusion reads of an array: all of it, or the parts that it slices out."""
        whole = array_bytes(x.shape)
        if x.is_root or not whole:
            return whole
        return min(whole, sum(self.read_by(user, x, inside) for user in inside.values() if x.name in user.operands))

    def read_by(self, user: Instruction, x: Instruction, inside: Computation) -> int:
        first = user.operands[0] == x.name
        if user.carries:
            return 0
        if user.opcode in SLICES and first:
            return array_bytes(user.shape, on_chip=True)
        if user.opcode == "dynamic-update-slice" and first:
            return 0
        if user.opcode == "bitcast":
            return self.read(user, inside)
        if user.opcode == "fusion":
            nested = self.called(user)
            numbers = [n for n, name in enumerate(user.operands) if name == x.name]
            return sum(self.read(y, nested) for y in nested.values() if _number(y) in numbers)
        return array_bytes(x.shape)


def _of_operation(x: Instruction, around: Computation) -> int:
    if x.opcode in FREE or x.opcode.endswith(("-done", "-update")):
        return 0
    if x.opcode == "custom-call" and "AllocateBuffer" in x.rest:
        return 0
    if x.opcode == "custom-call" and (kernel := _KERNEL.search(x.rest)):
        return int(kernel[1])
    if x.opcode.endswith("-start"):  # its result is a tuple that holds its operands too
        return array_bytes(x.shape)
    operands = [around[name].shape if name in around else "" for name in x.operands]
    if x.opcode in SLICES:  # reads what it keeps
        return array_bytes(x.shape) + (array_bytes(x.shape, on_chip=True) if array_bytes(operands[0]) else 0)
    if x.opcode == "dynamic-update-slice":  # in place
        return 2 * array_bytes(operands[1])
    return array_bytes(x.shape) + sum(map(array_bytes, operands))


def _root(inside: Computation) -> Instruction:
    return next(x for x in inside.values() if x.is_root)


def _number(x: Instruction) -> int:
    """Returns which parameter of its computation an instruction is; -1 if none."""
    return int(x.rest.removeprefix("parameter(").split(")")[0]) if x.opcode == "parameter" else -1


def array_bytes(shape: str, on_chip: bool = False) -> int:
    """Returns the bytes of the arrays of a shape, those in on-chip memory only if `on_chip`.

    Example:
      >>> array_bytes("(f32[8,128]{1,0:T(8,128)}, bf16[16]{0:T(128)S(1)})")
      4096
    """
    total = 0
    for dtype, dims, layout in _ARRAY.findall(shape):
        if on_chip or not _ON_CHIP.search(layout):
            total += hlo.BITS[dtype] * math.prod(int(n) for n in dims.split(",") if n) // 8
    return total


def _parse(lines: Iterable[str]) -> Computation:
    matches: Iterable[re.Match[str]] = filter(None, map(_INSTRUCTION.match, lines))
    made = [Instruction(m[2], m[3], m[4], _operands(m[5]), f"{m[4]}({m[5]}", bool(m[1])) for m in matches]
    pieces = {x.name for x in made if hlo.chain_of(x.rest)}
    handing = {"parameter", "tuple", "custom-call"} if pieces else set[str]()
    return {x.name: x._replace(carries=x.name in pieces or x.opcode in handing) for x in made}


def _operands(rest: str) -> list[str]:
    """Returns the names between an operation's parentheses."""
    depth = 1
    for at, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return _OPERAND.findall(rest[:at])
    return _OPERAND.findall(rest)
