"""Types of arrays and of parameter trees, and typed access to what is in them."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Union

import jax.numpy as jnp
import numpy as np
from jax import Array
from typing_extensions import TypeAliasType  # `type` statements need Python 3.12

if TYPE_CHECKING:
    import hummingbird.models.params

# A Flax tree of arrays: {"projector": {"hidden": {"kernel": array}}}. Arrays are NumPy's where they come from a file.
# The alias refers to itself by its full name, which run-time checkers resolve from any module. Union, because `|`
# cannot join a class and a string.
Params = TypeAliasType("Params", Mapping[str, Union[Array, np.ndarray, "hummingbird.models.params.Params"]])

AnyArray = Array | np.ndarray  # what the functions for notebooks and tests take


def subtree(params: Params, *names: str) -> Params:
    """Returns the tree at `names`, one name a level.

    Raises:
      KeyError: there is no such tree.
    """
    for name in names:
        inner = params[name]
        if not isinstance(inner, Mapping):
            raise KeyError(name)
        params = inner
    return params


def leaf(params: Params, *names: str) -> Array:
    """Returns the array at `names`, one name a level.

    Raises:
      KeyError: there is no such array.

    Example:
      >>> leaf({"norm": {"scale": np.ones(3)}}, "norm", "scale").shape
      (3,)
    """
    found = subtree(params, *names[:-1])[names[-1]]
    if isinstance(found, Mapping):
        raise KeyError(names[-1])
    return jnp.asarray(found)
