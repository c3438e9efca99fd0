"""The type of parameter trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

import numpy as np
from jax import Array
from typing_extensions import TypeAliasType  # `type` statements need Python 3.12

# A Flax tree of arrays: {"projector": {"hidden": {"kernel": array}}}. Arrays are NumPy's where they come from a file.
# Union, because `|` cannot join a class and a name that is defined by this very line.
Params = TypeAliasType("Params", Mapping[str, Union[Array, np.ndarray, "Params"]])
