"""Floating-point operations of a function, counted on its jaxpr: exact for matrix products, also inside loops.

XLA's own count takes the body of a loop once, however often it runs, so it is of no use for a step that streams over a
memory bank.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
from jax.core import ShapedArray
from jax.extend import core
from jaxtyping import PyTree


def count(function: Callable[..., PyTree], *arguments: PyTree) -> float:
    """Counts the operations of all matrix products and convolutions of one call, over all devices.

    A multiply-add is two operations.

    Args:
      function: traced, not run.
      arguments: trees of arrays or of `jax.ShapeDtypeStruct`s.

    Example:
      >>> count(lambda a, b: a @ b, jax.ShapeDtypeStruct((3, 5), "float32"), jax.ShapeDtypeStruct((5, 7), "float32"))
      210.0
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: core.Jaxpr) -> float:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: core.JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return 2.0 * math.prod(_shape(equation.outvars[0])) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = _shape(equation.invars[1]), params["dimension_numbers"]
        per_output = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
        return 2.0 * math.prod(_shape(equation.outvars[0])) * per_output
    if name == "scan":
        return params["length"] * _of_jaxpr(params["jaxpr"].jaxpr)
    if name == "pallas_call":  # its jaxpr is for one block
        blocks = math.prod(int(n) for n in params["grid_mapping"].grid)
        return blocks * _of_jaxpr(params["jaxpr"])
    if name == "shard_map":  # its jaxpr is for one device and its part of the arrays
        return params["mesh"].size * _of_jaxpr(params["jaxpr"])
    if name == "cond":
        return max((_of_jaxpr(branch.jaxpr) for branch in params["branches"]), default=0.0)
    inner = (value for value in params.values() if isinstance(value, core.Jaxpr | core.ClosedJaxpr))
    return sum(_of_jaxpr(value.jaxpr if isinstance(value, core.ClosedJaxpr) else value) for value in inner)


def _shape(variable: core.Var | core.Literal) -> tuple[int, ...]:
    assert isinstance(variable.aval, ShapedArray)
    return variable.aval.shape
