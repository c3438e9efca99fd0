"""How tokens attend to the bank: over all entries (Eq. 1) or over the nearest ones, on one device or on a mesh.

What attending to the 30 nearest alone costs and changes: a step of the paper's ViT-B at 153,600 entries takes 15.1
instead of 32.8 Tflop a v3 core (`hummingbird plan`, 9.1 without a bank). On features of photographs by a small trained
encoder the 30 nearest of 4,096 entries hold 75% of the weight (of 16,384: 53%), c is 0.8% (1.4%) away from that of all
entries, vhat 4.6% (8.1%), and the cosine between the gradients that reach a token is 0.9998 (0.9995)
(`scripts/bench pretrain --parts=neighbours`). On a CPU finding the nearest takes most of what it saves.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from hummingbird.devices.mesh import BATCH
from hummingbird.models.context import Attended, BankAttention, attend, grouped

TOKENS_AT_A_TIME = 1024  # whose nearest keys and values are gathered together


def attend_nearest(
    q: Array, keys: Array, values: Array, beta: float, chunk: int, neighbours: int, approximate: bool = False
) -> Attended:
    """CA of Eq. 1 over the `neighbours` nearest entries of each query; ours, the paper attends to all.

    The search streams over the bank as `attend` does, but only the scores do: values are read, and get gradients, at
    the nearest entries alone. Memory is O(T k + chunk (T + D)).

    Args:
      q: [T, D] unit rows. keys: [S, R, D] unit rows. values: [S, R, Dv].
      beta: temperature. chunk: entries at a time.
      neighbours: k, at most S * R.
      approximate: on TPU, find the nearest by `jax.lax.approx_max_k`, which misses one in twenty; exactly elsewhere.
    """
    keys = jax.lax.stop_gradient(keys)
    ids = nearest(jax.lax.stop_gradient(q), keys, chunk, neighbours, approximate)
    flat_keys, flat_values = (x.reshape(-1, x.shape[-1]) for x in (keys, values))

    # Recomputed going backward: what is gathered is k times as large as the tokens.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def read(token: tuple[Array, Array]) -> Attended:
        row, found = token  # [D], [k]
        scores = (
            jnp.einsum("d,kd->k", row, jnp.take(flat_keys, found, axis=0), preferred_element_type=jnp.float32) / beta
        )
        p = jax.nn.softmax(scores)
        chosen = jnp.take(flat_values, found, axis=0)  # [k, Dv]
        output = jnp.einsum("k,kd->d", p.astype(values.dtype), chosen, preferred_element_type=jnp.float32)
        entropy = -jnp.sum(p * jnp.log(jnp.maximum(p, 1e-30)))
        return Attended(output, scores.max() * beta, p.max(), entropy)

    return jax.lax.map(read, (q, ids), batch_size=min(TOKENS_AT_A_TIME, len(q)))


def nearest(q: Array, keys: Array, chunk: int, k: int, approximate: bool) -> Array:
    """Numbers [T, k] of the nearest of keys [S, R, D], counted slot by slot, best first."""
    groups = grouped(keys, chunk)
    entries = groups.shape[1] * groups.shape[2]
    kept = min(k, entries)

    def step(best: tuple[Array, Array], group: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        index, part = group
        scores = jnp.einsum("td,grd->tgr", q, part, preferred_element_type=jnp.float32).reshape(len(q), entries)
        score, column = _largest(scores, kept, approximate)
        scores = jnp.concatenate([best[0], score], axis=1)
        numbers = jnp.concatenate([best[1], index * entries + column], axis=1)
        score, place = jax.lax.top_k(scores, k)
        return (score, jnp.take_along_axis(numbers, place, axis=1)), None

    none = (jnp.full((len(q), k), -jnp.inf, jnp.float32), jnp.zeros((len(q), k), jnp.int32))
    (_, ids), _ = jax.lax.scan(step, none, (jnp.arange(len(groups)), groups))
    return ids


def _largest(scores: Array, k: int, approximate: bool) -> tuple[Array, Array]:
    exact = functools.partial(jax.lax.top_k, k=k)
    if not approximate:
        return exact(scores)
    # On other devices approx_max_k sorts everything: slower than top_k, and not approximate.
    return jax.lax.platform_dependent(scores, tpu=functools.partial(jax.lax.approx_max_k, k=k), default=exact)


def on_mesh(attention: BankAttention, mesh: Mesh) -> BankAttention:
    """`attention` of every device's own tokens over the whole bank.

    Keys and values come with their rows split over the devices, and are fetched once, before the first chunk: a chunk
    at a time would be fetched twice, going forward and backward. The gradient of the values is summed and split again
    once, after the last.
    """
    tokens, rows, whole = PartitionSpec(BATCH), PartitionSpec(None, BATCH), PartitionSpec()

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(tokens, whole, rows), out_specs=tokens, check_vma=False)
    def local(q: Array, keys: Array, values: Array) -> Attended:
        return attention(q, keys, jax.lax.all_gather(values, BATCH, axis=1, tiled=True))

    return local


def build_bank_attention(context: Any, mesh: Mesh | None = None) -> BankAttention:
    """The attention of a config's `context` group; `mesh`: of a run on several devices."""
    how: dict[str, Any] = {"beta": context.temperature, "chunk": context.chunk}
    attention: BankAttention = functools.partial(attend, **how)
    if context.neighbours:
        attention = functools.partial(
            attend_nearest, **how, neighbours=context.neighbours, approximate=context.search == "approximate"
        )
    return attention if mesh is None or mesh.size == 1 else on_mesh(attention, mesh)
