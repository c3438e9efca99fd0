"""The maxima of the device index in one GPU kernel: products of a tile of keys and queries, and their block maxima.

XLA writes the products of a chunk to memory and reads them again for the maxima; here one number in BLOCK is written.
Written in Pallas for Triton.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, Ref, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Float, Float32, Int32

from hummingbird.devices import chips
from hummingbird.devices.mesh import Device

BLOCK = 64  # keys of which the largest score is kept


class Tile(NamedTuple):
    """What one program of the kernel works on: queries, blocks of keys and dimensions at a time."""

    queries: int = 256
    blocks: int = 2
    depth: int = 64
    warps: int = 8
    stages: int = 3


TILE = Tile()


def runs_on(device: Device, keys: Float[Array, "devices chunks chunk D"]) -> bool:
    """Says whether the kernel takes these keys on this device: bfloat16 on an NVIDIA GPU, Ampere or later."""
    if chips.cuda_capability(device) < 8:
        return False
    _, _, chunk, dim = keys.shape
    return keys.dtype == jnp.bfloat16 and dim % 16 == 0 and chunk % (BLOCK * TILE.blocks) == 0


def block_maxima(
    queries: Float[Array, "Q D"],
    keys: Float[Array, "chunks chunk D"],
    count: int | Int32[Array, ""],
    tile: Tile = TILE,
    interpret: bool = False,
) -> Float32[Array, "Q blocks"]:
    """Returns the largest score of every BLOCK keys; -inf where there is none.

    Args:
      queries: bfloat16.
      keys: bfloat16, chunks as `device_search.put_chunk` writes them.
      count: keys that are there; the rest is padding at the end.
      tile: sizes; `depth` is lowered to a power of two that divides D.
      interpret: run anywhere, slowly.
    """
    chunks, chunk, dim = keys.shape
    per = chunk // BLOCK
    side = min(tile.queries, max(16, 1 << (len(queries) - 1).bit_length()))
    rows = pl.cdiv(len(queries), side) * side
    padded = jnp.pad(queries, ((0, rows - len(queries)), (0, 0)))
    tiles = per // tile.blocks  # of a chunk
    depth = min(tile.depth, dim & -dim)
    found = pl.pallas_call(
        functools.partial(_kernel, depth=depth),
        # Programs that follow each other share a tile of keys.
        grid=(rows // side, chunks * tiles),
        in_specs=[
            pl.BlockSpec((1,), lambda i, j: (0,)),
            pl.BlockSpec((side, dim), lambda i, j: (i, 0)),
            pl.BlockSpec((None, BLOCK, tile.blocks, dim), lambda i, j: (j // tiles, 0, j % tiles, 0)),
        ],
        out_specs=pl.BlockSpec((side, tile.blocks), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct((rows, chunks * per), jnp.float32),
        compiler_params=plgpu.CompilerParams(num_warps=tile.warps, num_stages=tile.stages),
        interpret=interpret,
    )(jnp.full(1, count, jnp.int32), padded, keys.reshape(chunks, BLOCK, per, dim))
    return found[: len(queries)]


def _kernel(count: Ref, queries: Ref, keys: Ref, maxima: Ref, *, depth: int) -> None:
    block, blocks, dim = keys.shape
    side = queries.shape[0]

    first = pl.program_id(1) * blocks * block

    @pl.when(first >= count[0])
    def _padding() -> None:
        maxima[...] = jnp.full((side, blocks), -jnp.inf, jnp.float32)

    @pl.when(first < count[0])
    def _keys() -> None:
        def step(i: Array, total: Array) -> Array:
            part = pl.ds(i * depth, depth)
            columns = keys[:, :, part].reshape(block * blocks, depth)
            return total + jnp.dot(queries[:, part], columns.T, preferred_element_type=jnp.float32)

        scores = lax.fori_loop(0, dim // depth, step, jnp.zeros((side, block * blocks), jnp.float32))
        within, of = (lax.broadcasted_iota(jnp.int32, (block, blocks), axis) for axis in (0, 1))
        there = (first + of * block + within < count[0]).reshape(1, block * blocks)
        maxima[...] = jnp.where(there, scores, -jnp.inf).reshape(side, block, blocks).max(axis=1)
