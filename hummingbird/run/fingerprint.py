"""Checksums of arrays that do not depend on how they are laid out over devices.

Each 32-bit word is mixed with its position by a bijection and the results are added modulo 2^32, with two different
mixes: a sum can be taken shard by shard in any order, and a change of any single element changes it with certainty.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_MIXES = ((0x9E3779B1, 0x85EBCA6B), (0xC2B2AE35, 0x27D4EB2F))


def array_checksums(arrays: Mapping[str, Array | np.ndarray]) -> dict[str, str]:
    """{name: 16 hex digits} of arrays on the host (NumPy) or on devices (JAX; one small transfer for all)."""
    return start_checksums(arrays)()


def start_checksums(arrays: Mapping[str, Array | np.ndarray]) -> Callable[[], dict[str, str]]:
    """Starts the sums of `array_checksums`; the function returned waits for them, in any thread.

    Afterwards arrays on devices may be donated: their sums are in the queue of the devices. The start is where
    processes of a run meet (sums over shards); the waiting is not.
    """
    on_device = {name: x for name, x in arrays.items() if isinstance(x, jax.Array)}
    started = _device_sums(on_device) if on_device else {}
    ours = {name: _sums(x, np) for name, x in arrays.items() if name not in on_device}
    names = list(arrays)

    def finish() -> dict[str, str]:
        sums = {**jax.device_get(started), **ours}
        return {name: "".join(f"{int(s) & 0xFFFFFFFF:08x}" for s in sums[name]) for name in names}

    return finish


def fingerprint(arrays: Mapping[str, Array | np.ndarray]) -> str:
    """One checksum over names, dtypes, shapes and contents: equal to the bit, equal fingerprint."""
    checksums = array_checksums(arrays)
    return combine({name: (str(x.dtype), tuple(x.shape), checksums[name]) for name, x in arrays.items()})


def with_settings(arrays: Mapping[str, Array | np.ndarray], settings: Mapping[str, Any]) -> str:
    """One checksum over arrays and over plain settings (JSON): what is computed with the arrays, and how."""
    text = json.dumps([fingerprint(arrays), settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def combine(entries: Mapping[str, tuple[str, tuple[int, ...], str]]) -> str:
    """The fingerprint of {name: (dtype, shape, checksum)}."""
    lines = [f"{name} {dtype} {list(shape)} {checksum}" for name, (dtype, shape, checksum) in sorted(entries.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@functools.partial(jax.jit)
def _device_sums(arrays: dict[str, Array]) -> dict[str, tuple[Array, Array]]:
    return {name: _sums(x, jnp) for name, x in arrays.items()}


def _sums(x, xp):  # x: array of NumPy or JAX, xp: its module -> two uint32 sums
    words = _words(x, xp)
    index = xp.zeros(words.shape, np.uint32)
    for axis, size in enumerate(words.shape):
        along = xp.arange(size, dtype=np.uint32).reshape([-1 if a == axis else 1 for a in range(words.ndim)])
        index = index * np.uint32(size & 0xFFFFFFFF) + along
    return tuple(_mix(words, index, *(np.uint32(m) for m in mix)).sum(dtype=np.uint32) for mix in _MIXES)


def _mix(words, index, a, b):
    h = (words ^ ((index + np.uint32(1)) * a)) * b
    h = h ^ (h >> np.uint32(15))
    h = h * a
    return h ^ (h >> np.uint32(13))


def _words(x, xp):
    """The bits of x as uint32, one word per element; 64-bit elements (host only) give two along a last axis."""
    if x.dtype == np.bool_:
        return x.astype(np.uint32)
    size = x.dtype.itemsize
    if xp is np:
        x = np.ascontiguousarray(x)
        if size == 8:
            return x.reshape(*x.shape, 1).view(np.uint32)
        return x.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[size]).astype(np.uint32)
    kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[size]
    return jax.lax.bitcast_convert_type(x, kind).astype(jnp.uint32)
