"""Devices are arranged slice by slice, whatever order they come in."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.devices import mesh
from hummingbird.errors import UserError
from hummingbird.train.program import crossings
from tests import tiny


class Core(NamedTuple):
    id: int
    slice_index: int
    device_kind: str = "TPU v4"


CORES = [Core(id=i, slice_index=i % 2) for i in range(8)]  # in turn of two slices


def test_data_spans_slices_and_fsdp_stays_within_one():
    grid = mesh.arrange(CORES, data=4, fsdp=2)
    assert [[core.slice_index for core in row] for row in grid] == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert [core.id for core in grid.flat] == [0, 2, 4, 6, 1, 3, 5, 7]


def test_parameters_that_two_slices_would_share_are_refused():
    with pytest.raises(UserError, match=r"mesh.fsdp: 8 devices that share parameters would lie in different slices"):
        mesh.arrange(CORES, data=1, fsdp=8)


def test_devices_without_slices_keep_their_order():
    devices = jax.devices()
    np.testing.assert_array_equal(mesh.arrange(devices, 4, 2).ravel(), np.asarray(devices))


def test_what_crosses_slices_is_stated():
    state = tiny.program(1).state
    keys = state.bank.keys.size
    said = crossings(state.replace(online={"w": jax.ShapeDtypeStruct((250_000,), "float32")}), 2, jnp.bfloat16)
    assert said == f"{keys * 6 / 1e6:,.0f} MB of the bank are gathered and 1 MB of gradients are summed"
