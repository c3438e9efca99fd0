"""Attention over the bank as one kernel (Eq. 1): scores stay in the chip's vector memory and never reach HBM.

`attend_fused` computes what `context.attend` computes, in the same precision. Written in Pallas for TPUs; elsewhere JAX
interprets it, which is slow and meant for tests. `fused_kernels` has the kernels and what they read and write.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from hummingbird.models import fused_kernels
from hummingbird.models.context import Attended
from hummingbird.models.fused_kernels import VMEM, Settings


def attend_fused(
    q: Float[Array, "T D"],
    keys: Float[Array, "S R D"],
    values: Float[Array, "S R Dv"],
    beta: float,
    length: int | None = None,
    vmem: int = VMEM,
    wide: bool = False,
    interpret: bool = False,
) -> Attended:
    """Attends from unit queries to all entries of the bank (Eq. 1), as `context.attend` does.

    Args:
      q: queries, unit rows.
      keys: unit rows; no gradient.
      values: one for each key.
      beta: temperature.
      length: number of entries that count, in slot-major order; None: all.
      vmem, wide: as in `fused_kernels.Settings`.
      interpret: run anywhere, slowly, instead of compiling for a TPU.
    """
    keys, values = (x.reshape(-1, x.shape[-1]) for x in (keys.astype(q.dtype), values))
    settings = Settings(beta, len(keys) if length is None else length, vmem, wide, interpret)
    # The type checker cannot see through custom_vjp, hence the annotation.
    read: tuple[Array, Array, Array, Array] = _fused(settings, q, lax.stop_gradient(keys), values)
    return Attended(*read)


_Saved = tuple[Array, Array, Array, Array, Array]  # q, keys, values, output, log of the normaliser


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(settings: Settings, q: Array, keys: Array, values: Array) -> tuple[Array, Array, Array, Array]:
    return _fused_forward(settings, q, keys, values)[0]


def _fused_forward(
    settings: Settings, q: Array, keys: Array, values: Array
) -> tuple[tuple[Array, Array, Array, Array], _Saved]:
    output, top, total, weighted = fused_kernels.forward(settings, q, keys, values)
    log_total = top + jnp.log(total)
    return (output, top * settings.beta, 1 / total, log_total - weighted / total), (q, keys, values, output, log_total)


def _fused_backward(
    settings: Settings, saved: _Saved, cotangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array, Array]:
    q, keys, values, output, log_total = saved
    d_output = cotangents[0]  # see `Attended`: the other outputs have no gradient
    offset = jnp.sum(d_output * output, axis=-1)
    d_q, d_values = fused_kernels.backward(settings, q, keys, values, d_output.astype(values.dtype), log_total, offset)
    return d_q.astype(q.dtype), jnp.zeros_like(keys), d_values


_fused.defvjp(_fused_forward, _fused_backward)
