"""How tokens attend to the bank: over all entries (Eq. 1) or over the nearest ones.

What attending to the 30 nearest entries costs and changes: a step of the paper's ViT-B at 153,600 entries takes 15.1
Tflop per v3 core instead of 32.8 (`hummingbird plan`; 9.1 without a bank). On features of photographs from a small
trained encoder, the 30 nearest of 4,096 entries hold 75% of the weight (of 16,384: 53%), c differs by 0.8% (1.4%) from
attention to all entries, vhat by 4.6% (8.1%), and the gradients that reach a token have a cosine of 0.9998 (0.9995)
(`scripts/bench pretrain --parts=neighbours`). On a CPU the search takes most of the time that it saves.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from hummingbird.config.pretrain import Context
from hummingbird.devices.mesh import Device
from hummingbird.errors import UserError
from hummingbird.models.bounded_attention import LOWEST, attend_bounded
from hummingbird.models.chunks import in_chunks
from hummingbird.models.context import Attended, BankAttention, attend
from hummingbird.models.fused_attention import attend_fused

TOKENS_AT_A_TIME = 1024  # tokens whose nearest keys and values are gathered together


def attend_nearest(
    q: Float[Array, "T D"],
    keys: Float[Array, "S R D"],
    values: Float[Array, "S R Dv"],
    beta: float,
    chunk: int,
    neighbours: int,
    approximate: bool = False,
) -> Attended:
    """Attends from each query to its nearest entries only (Eq. 1 over k entries). Ours: the paper attends to all.

    The search streams over the bank like `attend`, but values are read, and receive gradients, at the nearest entries
    alone. Memory is O(T k + chunk (T + D)).

    Args:
      q: queries, unit rows.
      keys: unit rows; no gradient.
      values: one for each key.
      beta: temperature.
      chunk: number of entries in memory at a time.
      neighbours: k, at most S R.
      approximate: search with `jax.lax.approx_max_k` on TPU, which misses one entry in twenty; exact elsewhere.
    """
    keys = jax.lax.stop_gradient(keys)
    ids = nearest(jax.lax.stop_gradient(q), keys, chunk, neighbours, approximate)
    flat_keys, flat_values = (x.reshape(-1, x.shape[-1]) for x in (keys, values))
    flat_values = flat_values.astype(jnp.float32)  # so that the gradients of many tokens are summed in float32

    # Recomputed in the backward pass: the gathered arrays are k times as large as the tokens.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def read(token: tuple[Array, Array]) -> Attended:
        row, found = token  # [D], [k]
        scores = (
            jnp.einsum("d,kd->k", row, jnp.take(flat_keys, found, axis=0), preferred_element_type=jnp.float32) / beta
        )
        p = jax.nn.softmax(scores)
        chosen = jnp.take(flat_values, found, axis=0).astype(values.dtype)  # [k, Dv]
        output = jnp.einsum("k,kd->d", p.astype(values.dtype), chosen, preferred_element_type=jnp.float32)
        entropy = -jnp.sum(p * jnp.log(jnp.maximum(p, 1e-30)))
        return Attended(output, scores.max() * beta, p.max(), entropy)

    return jax.lax.map(read, (q, ids), batch_size=min(TOKENS_AT_A_TIME, len(q)))


def nearest(
    q: Float[Array, "T D"], keys: Float[Array, "S R D"], chunk: int, k: int, approximate: bool
) -> Int[Array, "T k"]:
    """Returns the positions of the nearest keys in slot-major order, best first."""
    groups = in_chunks(keys, chunk)
    entries, total = groups.shape[1] * groups.shape[2], keys.shape[0] * keys.shape[1]
    kept = min(k, entries)

    def step(best: tuple[Array, Array], group: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        index, part = group
        scores = jnp.einsum("td,grd->tgr", q, part, preferred_element_type=jnp.float32).reshape(len(q), entries)
        if len(groups) * entries > total:
            scores = jnp.where(index * entries + jnp.arange(entries) < total, scores, -jnp.inf)
        score, column = _largest(scores, kept, approximate)
        scores = jnp.concatenate([best[0], score], axis=1)
        numbers = jnp.concatenate([best[1], index * entries + column], axis=1)
        score, place = jax.lax.top_k(scores, k)
        return (score, jnp.take_along_axis(numbers, place, axis=1)), None

    none = (jnp.full((len(q), k), -jnp.inf, jnp.float32), jnp.zeros((len(q), k), jnp.int32))
    (_, ids), _ = jax.lax.scan(step, none, (jnp.arange(len(groups)), groups))
    return ids


def _largest(scores: Array, k: int, approximate: bool) -> tuple[Array, Array]:
    """Returns the k largest scores of each row, best first, and their columns."""
    exact = functools.partial(jax.lax.top_k, k=k)
    if not approximate:
        values, columns = exact(scores)  # a list under a trace
        return values, columns
    # On other devices approx_max_k sorts everything: it is slower than top_k and not approximate.
    return jax.lax.platform_dependent(scores, tpu=functools.partial(jax.lax.approx_max_k, k=k), default=exact)


MIB = 2**20
# Vector memory that the fused kernel may use, by `device_kind`: the TPUs for which it compiles up to D = 1280, as
# `hummingbird plan --topology=T` shows. On v3, whose units take float32 operands only, it has to be chosen by hand.
FUSED = {"TPU v4": 16 * MIB, "TPU v5 lite": 32 * MIB, "TPU v5": 32 * MIB, "TPU v6 lite": 32 * MIB}


# Scores of one chunk that XLA keeps on the chip. Compiled for v5e it keeps 49 MiB (6,272 tokens, 2,048 entries), and
# streaming moves less through HBM than the kernel does; 98 MiB on v4 are too many (configs/pretrain/README.md).
ON_CHIP = 64 * MIB


def attend_automatically(
    q: Float[Array, "T D"],
    keys: Float[Array, "S R D"],
    values: Float[Array, "S R Dv"],
    beta: float,
    chunk: int,
    vmem: int,
) -> Attended:
    """Attends with the fused kernel, or by streaming where the scores of a chunk stay on the chip without it."""
    if 4 * len(q) * min(chunk, keys.shape[0] * keys.shape[1]) <= ON_CHIP:
        return attend(q, keys, values, beta, chunk)
    return attend_fused(q, keys, values, beta, vmem=vmem)


def build_bank_attention(context: Context, device: Device | None = None) -> BankAttention:
    """Builds the attention over the bank from a config's `context` group.

    Args:
      context: reads `temperature`, `chunk`, `attention`, `neighbours` and `search`.
      device: one of those that will attend; None: the first of this machine.

    Raises:
      UserError: the fused kernel does not run on this device, or the temperature is too low for `bounded`.
    """
    beta, chunk = context.temperature, context.chunk
    if context.neighbours:
        approximate = context.search == "approximate"
        return functools.partial(
            attend_nearest, beta=beta, chunk=chunk, neighbours=context.neighbours, approximate=approximate
        )
    device = device or jax.devices()[0]
    kind, choice = device.device_kind, context.attention
    if choice == "fused":
        return _fused(beta, kind)
    if choice == "bounded" and beta < LOWEST:
        raise UserError(
            f"config key context.attention: bounded needs a context.temperature of at least {LOWEST}; use auto or "
            "streaming"
        )
    if choice == "bounded" or (choice == "auto" and device.platform == "gpu" and beta >= LOWEST):
        return functools.partial(attend_bounded, beta=beta, chunk=chunk)
    if choice == "auto" and kind in FUSED:
        return functools.partial(attend_automatically, beta=beta, chunk=chunk, vmem=FUSED[kind])
    return functools.partial(attend, beta=beta, chunk=chunk)


def _fused(beta: float, kind: str) -> BankAttention:
    if kind == "cpu":
        return functools.partial(attend_fused, beta=beta, interpret=True)
    if not kind.startswith("TPU"):
        raise UserError(f"config key context.attention: the fused kernel is for TPUs, not for {kind}; use auto")
    wide = kind in ("TPU v2", "TPU v3")
    return functools.partial(attend_fused, beta=beta, vmem=FUSED.get(kind, 16 * MIB), wide=wide)
