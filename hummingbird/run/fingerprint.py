"""Checksums of arrays that do not depend on how the arrays are laid out over devices.

Each 32-bit word is mixed with its position by a bijection, and the results are added modulo 2^32; this is done with two
mixes. Sums can be taken shard by shard in any order, and a change of any single element is certain to change them.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import UInt32

from hummingbird.errors import UserError
from hummingbird.run.files import Json

Words = TypeVar("Words", Array, np.ndarray)
_MIXES = ((0x9E3779B1, 0x85EBCA6B), (0xC2B2AE35, 0x27D4EB2F))


def array_checksums(arrays: Mapping[str, Array | np.ndarray]) -> dict[str, str]:
    """Returns {name: 16 hex digits} for arrays on the host (NumPy) or on devices (JAX; one small transfer for all).

    Args:
      arrays: {name: array}, of any shapes; elements of 1, 2 or 4 bytes, on the host also of 8.

    Example:
      >>> array_checksums({"x": np.arange(3, dtype=np.float32)})
      {'x': '4a9c3c87f4bbf5fb'}
    """
    return start_checksums(arrays)()


def start_checksums(arrays: Mapping[str, Array | np.ndarray]) -> Callable[[], dict[str, str]]:
    """Starts `array_checksums` and returns a function that waits for the result, in any thread.

    Arrays on devices may be donated once this has returned, since their sums are already queued. Sums over shards are
    collectives, so all processes of a run must call this in the same order; waiting is local.
    """
    on_device = {name: x for name, x in arrays.items() if isinstance(x, Array)}
    # Sums over shards are collectives. Many of them at once deadlock on CPU devices, which share a pool of threads.
    one_by_one = jax.default_backend() == "cpu" and jax.device_count() > 1
    started: dict[str, tuple[Array, Array]] = {}
    for name, x in on_device.items():
        started[name] = _device_sums(x)
        if one_by_one:
            jax.block_until_ready(started[name])
    on_host = {name: _sums(_host_words(x), np) for name, x in arrays.items() if isinstance(x, np.ndarray)}
    names = list(arrays)

    def finish() -> dict[str, str]:
        sums = {**jax.device_get(started), **on_host}
        return {name: "".join(f"{int(s) & 0xFFFFFFFF:08x}" for s in sums[name]) for name in names}

    return finish


def fingerprint(arrays: Mapping[str, Array | np.ndarray]) -> str:
    """Returns one checksum over names, dtypes, shapes and contents; arrays that are equal to the bit have the same."""
    checksums = array_checksums(arrays)
    return combine({name: (str(x.dtype), tuple(x.shape), checksums[name]) for name, x in arrays.items()})


def with_settings(arrays: Mapping[str, Array | np.ndarray], settings: Mapping[str, Json]) -> str:
    """Returns one checksum over arrays and over the settings of what is computed with them."""
    text = json.dumps([fingerprint(arrays), settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def combine(entries: Mapping[str, tuple[str, tuple[int, ...], str]]) -> str:
    """Returns the fingerprint of {name: (dtype, shape, checksum)}."""
    lines = [f"{name} {dtype} {list(shape)} {checksum}" for name, (dtype, shape, checksum) in sorted(entries.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


# One array at a time: a program for a whole state takes as long to compile as its train step, and arrays of the same
# shape share this one.
@jax.jit
def _device_sums(x: Array) -> tuple[Array, Array]:
    return _sums(_device_words(x), jnp)


def _sums(words: Words, xp: types.ModuleType) -> tuple[Words, Words]:
    """Returns the two sums of uint32 words. `xp` is their module, `numpy` or `jax.numpy`."""
    index = xp.zeros(words.shape, np.uint32)
    for axis, size in enumerate(words.shape):
        along = xp.arange(size, dtype=np.uint32).reshape([-1 if a == axis else 1 for a in range(words.ndim)])
        index = index * np.uint32(size & 0xFFFFFFFF) + along
    first, second = (_mix(words, index, np.uint32(a), np.uint32(b)) for a, b in _MIXES)
    return xp.asarray(first.sum(dtype=np.uint32)), xp.asarray(second.sum(dtype=np.uint32))


def _mix(words: Words, index: Words, a: np.uint32, b: np.uint32) -> Words:
    """Mixes words with their positions; for a fixed position, a bijection of the word."""
    h = (words ^ ((index + np.uint32(1)) * a)) * b
    h = h ^ (h >> np.uint32(15))
    h = h * a
    return h ^ (h >> np.uint32(13))


def _host_words(x: np.ndarray) -> UInt32[np.ndarray, " *words"]:
    """Returns the bits of `x`, one word per element; elements of 64 bits give two along an extra last axis."""
    if x.dtype == np.bool_:
        return x.astype(np.uint32)
    x = np.ascontiguousarray(x)
    if x.dtype.itemsize == 8:
        return x.reshape(*x.shape, 1).view(np.uint32)
    return x.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[x.dtype.itemsize]).astype(np.uint32)


def _device_words(x: Array) -> UInt32[Array, " *words"]:
    """Returns the bits of `x`, one word per element."""
    if x.dtype == np.bool_:
        return x.astype(np.uint32)
    if x.dtype.itemsize == 8:
        raise UserError(f"arrays of type {x.dtype} are not supported on devices; unset JAX_ENABLE_X64")
    kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    return jax.lax.bitcast_convert_type(x, kind).astype(jnp.uint32)
