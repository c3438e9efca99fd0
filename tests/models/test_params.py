"""The type of parameter trees is checked all the way down."""

import numpy as np
import pytest
from beartype.door import is_bearable

from hummingbird.models.params import Params


@pytest.mark.parametrize(
    ("tree", "accepted"),
    [({}, True), ({"a": {"b": np.ones(2)}}, True), ({"a": {"b": 2}}, False), ({1: np.ones(2)}, False)],
)
def test_a_parameter_tree_holds_arrays_and_trees(tree, accepted):
    assert is_bearable(tree, Params) == accepted
