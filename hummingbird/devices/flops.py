"""Floating-point operations of a function, counted on its jaxpr: exact for matrix products, also inside loops.

XLA's own count takes the body of a loop once, however often it runs, so it cannot be used for a step that streams over
a memory bank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def count(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of all matrix products and convolutions (a multiply-add is two) of one call, over all devices.

    Args:
      function: traced, not run.
      arguments: arrays or `jax.ShapeDtypeStruct`s.
    """
    return _jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _jaxpr(jaxpr: core.Jaxpr) -> float:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, params["dimension_numbers"]
        per_output = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * per_output
    if name == "scan":
        return params["length"] * _jaxpr(params["jaxpr"].jaxpr)
    if name == "shard_map":  # written for one device, with its part of the arrays
        return params["mesh"].size * _jaxpr(params["jaxpr"])
    if name == "cond":
        return max((_jaxpr(branch.jaxpr) for branch in params["branches"]), default=0.0)
    inner = (value for value in params.values() if isinstance(value, core.Jaxpr | core.ClosedJaxpr))
    return sum(_jaxpr(value.jaxpr if isinstance(value, core.ClosedJaxpr) else value) for value in inner)
