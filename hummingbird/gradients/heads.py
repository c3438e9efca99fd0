"""Random linear heads: frozen, never trained, the same for every image of a data set (Sec. 3 of the FUNGI paper)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import zlib
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Key

from hummingbird.run.fingerprint import fingerprint


class Head(NamedTuple):
    """A linear layer, f -> f W + b.

    Attributes:
      kernel: W [D, K].
      bias: b [K].
    """

    kernel: Float[Array | np.ndarray, "D K"]
    bias: Float[Array | np.ndarray, " K"]


def named_key(seed: int, name: str) -> Key[Array, ""]:
    """Returns a random key for a purpose: a function of the seed and the name alone."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def build_head(name: str, seed: int, width: int, dim: int) -> Head:
    """Draws a head as PyTorch initialises linear layers: kernel and bias uniform in [-1 / sqrt(D), 1 / sqrt(D)].

    The bias matters: of unit-norm features, about half of the squared norm of the KL gradient comes from it.

    Args:
      name: what the head is for, such as "kl"; heads of other names are independent of it.
      seed: of all heads.
      width: D, of the features.
      dim: K, of the outputs.

    Example:
      >>> head = build_head("kl", seed=0, width=4, dim=3)
      >>> head.kernel.shape, head.bias.shape
      ((4, 3), (3,))
    """
    first, second = jax.random.split(named_key(seed, f"gradients head {name}"))
    bound = width**-0.5
    kernel = jax.random.uniform(first, (width, dim), minval=-bound, maxval=bound)
    return Head(np.asarray(kernel), np.asarray(jax.random.uniform(second, (dim,), minval=-bound, maxval=bound)))


def checksum(heads: dict[str, Head]) -> str:
    """Returns one checksum over heads and their names."""
    arrays = {f"{name}.{part}": x for name, head in heads.items() for part, x in head._asdict().items()}
    return fingerprint(arrays)
