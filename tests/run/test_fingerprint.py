"""Checksums detect every change and do not depend on where an array is stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hummingbird.run.fingerprint import array_checksums, fingerprint


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool", "float16"])
def test_host_and_devices_agree(dtype):
    x = jnp.arange(96).reshape(8, 12).astype(dtype)
    mesh = Mesh(np.asarray(jax.devices()[:8]).reshape(4, 2), ("a", "b"))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("a", "b")))
    sums = [array_checksums({"x": y})["x"] for y in (np.asarray(x), x, spread)]
    assert len(set(sums)) == 1


def test_flipped_bits_and_swaps_change_the_checksum():
    x = np.random.default_rng(0).normal(size=50).astype(np.float32)
    whole = array_checksums({"x": x})["x"]
    for bit in range(0, 50 * 32, 7):
        broken = x.copy()
        broken.view(np.uint32)[bit // 32] ^= np.uint32(1 << (bit % 32))
        assert array_checksums({"x": broken})["x"] != whole
    swapped = x.copy()
    swapped[[3, 9]] = swapped[[9, 3]]
    assert array_checksums({"x": swapped})["x"] != whole


def test_fingerprint_covers_names_dtypes_and_shapes():
    zeros = np.zeros(4, np.float32)
    prints = {
        fingerprint({"a": zeros}),
        fingerprint({"b": zeros}),
        fingerprint({"a": zeros.astype(np.int32)}),
        fingerprint({"a": zeros.reshape(2, 2)}),
    }
    assert len(prints) == 4


def test_all_bits_of_64_bit_host_arrays_count():
    x = np.arange(4, dtype=np.int64)
    assert array_checksums({"x": x})["x"] != array_checksums({"x": x + (1 << 40)})["x"]
