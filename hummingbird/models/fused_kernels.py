"""The two Pallas kernels of `fused_attention`, forward and backward, and the sizes of their blocks.

Forward, a block of queries stays on the chip while all keys and values pass by (FlashAttention, Dao et al. 2022).
Backward, a block of keys stays while all queries pass by: scores are computed again from the log of the normaliser, the
gradient of the values adds up on the chip and that of the queries in HBM. Since keys have no gradient, four products
suffice, as many as the streaming version needs.

HBM traffic in bytes, for T queries and M keys of width D, values of width E, and b bytes a number:

    forward   (T / queries) M (D + E) b  +  T (D b + 4 E)
    backward  (M / keys) T ((D + E) b + 8 D)  +  M (D + 2 E) b

where `queries` and `keys` are the sides of the block that stays. XLA cannot see into a kernel: each call carries these
numbers as its cost estimate, and `devices.hlo` reads them there.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, Ref, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.lax import DotDimensionNumbers

MIB = 2**20
VMEM = 16 * MIB  # of a TPU core up to v4; later ones have 128 MiB, of which XLA lets a kernel have 16 unless it asks
TILE = 128  # lanes of a register: blocks are multiples of it
LARGEST = 1024  # side of a block; from there on the traffic takes a fraction of the products' time on every TPU
INTENSITY = 240  # operations per byte of HBM at which TPUs are balanced: 224 (v4), 240 (v5e); 166 (v5p), 560 (v6e)
SPILLED = 3  # arrays of scores, float32, that the compiler keeps in vector memory at a time (measured: 2.9)
ROW_BY_ROW = (((1,), (1,)), ((), ()))  # A B^T
ROW_BY_COLUMN = (((1,), (0,)), ((), ()))  # A B
COLUMN_BY_COLUMN = (((0,), (0,)), ((), ()))  # A^T B


class Block(NamedTuple):
    """Numbers of queries and of keys that are on the chip together."""

    queries: int
    keys: int


class Sizes(NamedTuple):
    """What the kernels work on: T queries and M keys of width D, values of width E, bytes per number, `wide` or not."""

    queries: int
    keys: int
    width: int
    values: int
    bytes: int
    wide: bool = False

    def temporaries(self, block: Block) -> int:
        """Returns the bytes of vector memory that the compiler needs beside the blocks: scores, and wide operands."""
        converted = (block.queries + block.keys) * (self.width + self.values) if self.wide and self.bytes < 4 else 0
        return 4 * SPILLED * block.queries * block.keys + 6 * converted

    def padded(self, block: Block) -> Sizes:
        """Returns the sizes with queries and keys rounded up to whole blocks."""
        return self._replace(
            queries=pl.cdiv(self.queries, block.queries) * block.queries,
            keys=pl.cdiv(self.keys, block.keys) * block.keys,
        )


class Settings(NamedTuple):
    """How the kernels run.

    Attributes:
      beta: temperature.
      length: number of entries that count.
      vmem: bytes of vector memory that a kernel may use.
      wide: convert operands of products to float32 first, as v3 needs, whose units round them to bfloat16 themselves.
      interpret: run anywhere, slowly, instead of compiling for a TPU.
    """

    beta: float
    length: int
    vmem: int
    wide: bool
    interpret: bool


# ---------------------------------------------------------------- forward
def forward_traffic(sizes: Sizes, block: Block) -> int:
    """Returns the bytes that the forward kernel moves to and from HBM."""
    n = sizes.padded(block)
    streamed = n.queries // block.queries * n.keys * (n.width + n.values) * n.bytes
    return streamed + n.queries * (n.width * n.bytes + 4 * n.values + 4 * TILE)


def forward_block(sizes: Sizes, vmem: int) -> Block:
    """Chooses the block with the least traffic that fits into vector memory."""

    def need(block: Block) -> int:
        moving = 2 * block.keys * (sizes.width + sizes.values) * sizes.bytes
        staying = block.queries * (sizes.width * sizes.bytes + 4 * sizes.values + 4 * TILE)
        return moving + staying + sizes.temporaries(block)

    return _best(sizes, vmem, need, forward_traffic)


def forward(settings: Settings, q: Array, keys: Array, values: Array) -> tuple[Array, Array, Array, Array]:
    """Returns the output [T, Dv] and the largest score, the sum of weights and that of weighted scores, [T] each."""
    sizes = _sizes(settings, q, keys, values)
    block = forward_block(sizes, settings.vmem)
    n = sizes.padded(block)
    masked = settings.length < n.keys
    output, running = pl.pallas_call(
        functools.partial(
            _forward_kernel, beta=settings.beta, wide=settings.wide, length=settings.length if masked else None
        ),
        grid=(n.queries // block.queries, n.keys // block.keys),
        in_specs=[
            pl.BlockSpec((block.queries, n.width), lambda i, j: (i, 0), pipeline_mode=pl.Buffered(1)),
            pl.BlockSpec((block.keys, n.width), lambda i, j: (j, 0)),
            pl.BlockSpec((block.keys, n.values), lambda i, j: (j, 0)),
        ],
        out_specs=[
            pl.BlockSpec((block.queries, n.values), lambda i, j: (i, 0), pipeline_mode=pl.Buffered(1)),
            pl.BlockSpec((block.queries, 3), lambda i, j: (i, 0), pipeline_mode=pl.Buffered(1)),
        ],
        out_shape=[_float32(n.queries, n.values), _float32(n.queries, 3)],
        compiler_params=_compiler_params(("parallel", "arbitrary"), settings.vmem),
        cost_estimate=pl.CostEstimate(
            flops=2 * n.queries * n.keys * (n.width + n.values),
            transcendentals=n.queries * n.keys,
            bytes_accessed=forward_traffic(sizes, block),
        ),
        interpret=settings.interpret,
    )(_pad(q, n.queries), _pad(keys, n.keys), _pad(values, n.keys))
    top, total, weighted = running[: sizes.queries].T
    return output[: sizes.queries], top, total, weighted


def _forward_kernel(
    q: Ref, k: Ref, v: Ref, output: Ref, running: Ref, *, beta: float, wide: bool, length: int | None
) -> None:
    """Adds one block of keys to the online softmax of one block of queries."""
    j = pl.program_id(1)

    @pl.when(j == 0)
    def _start() -> None:
        output[...] = jnp.zeros(output.shape, output.dtype)
        running[:, 0:1] = jnp.full((running.shape[0], 1), -jnp.inf, jnp.float32)
        running[:, 1:3] = jnp.zeros((running.shape[0], 2), jnp.float32)

    scores = _product(q[...], k[...], ROW_BY_ROW, wide) * (1 / beta)
    if length is not None:
        position = j * k.shape[0] + lax.broadcasted_iota(jnp.int32, scores.shape, 1)
        scores = jnp.where(position < length, scores, -jnp.inf)
    before = running[:, 0:1]
    top = jnp.maximum(before, scores.max(axis=1, keepdims=True))
    p, scale = jnp.exp(scores - top), jnp.exp(before - top)
    finite = scores if length is None else jnp.where(p > 0, scores, 0.0)
    running[:, 0:1] = top
    running[:, 1:2] = running[:, 1:2] * scale + p.sum(axis=1, keepdims=True)
    running[:, 2:3] = running[:, 2:3] * scale + (p * finite).sum(axis=1, keepdims=True)
    output[...] = output[...] * scale + _product(p.astype(v.dtype), v[...], ROW_BY_COLUMN, wide)

    @pl.when(j == pl.num_programs(1) - 1)
    def _end() -> None:
        output[...] = output[...] / running[:, 1:2]


# ---------------------------------------------------------------- backward
def backward_traffic(sizes: Sizes, block: Block) -> int:
    """Returns the bytes that the backward kernel moves to and from HBM, for all blocks of keys."""
    n = sizes.padded(block)
    streamed = n.queries * ((n.width + n.values) * n.bytes + 8 * n.width + 4 * TILE)
    return n.keys // block.keys * streamed + n.keys * (n.width + 2 * n.values) * n.bytes


def backward_block(sizes: Sizes, vmem: int) -> Block:
    """Chooses the block with the least traffic that fits into vector memory."""

    def need(block: Block) -> int:
        moving = 2 * block.queries * ((sizes.width + sizes.values) * sizes.bytes + 8 * sizes.width + 4 * TILE)
        staying = block.keys * ((sizes.width + 2 * sizes.values) * sizes.bytes + 4 * sizes.values)
        return moving + staying + sizes.temporaries(block)

    return _best(sizes, vmem, need, backward_traffic)


def backward(
    settings: Settings, q: Array, keys: Array, values: Array, d_output: Array, log_total: Array, offset: Array
) -> tuple[Array, Array]:
    """Returns the gradients of the queries, float32, and of the values."""
    sizes = _sizes(settings, q, keys, values)
    block = backward_block(sizes, settings.vmem)
    n = sizes.padded(block)
    count = n.keys // block.keys
    query = lambda width: pl.BlockSpec((block.queries, width), lambda i: (i, 0))
    stays = lambda width: pl.BlockSpec((block.keys, width), lambda i: (0, 0), pipeline_mode=pl.Buffered(1))
    kernel = pl.pallas_call(
        functools.partial(_backward_kernel, beta=settings.beta, wide=settings.wide),
        grid=(n.queries // block.queries,),
        in_specs=[stays(n.width), stays(n.values), query(n.width), query(n.values), query(2), query(n.width)],
        out_specs=[query(n.width), stays(n.values)],
        out_shape=[_float32(n.queries, n.width), jax.ShapeDtypeStruct((block.keys, n.values), values.dtype)],
        scratch_shapes=[pltpu.VMEM((block.keys, n.values), jnp.float32)],
        input_output_aliases={5: 0},
        compiler_params=_compiler_params(("arbitrary",), settings.vmem),
        cost_estimate=pl.CostEstimate(
            flops=4 * n.queries * block.keys * (n.width + n.values),
            transcendentals=n.queries * block.keys,
            bytes_accessed=backward_traffic(sizes, block) // count,
        ),
        interpret=settings.interpret,
    )
    counts = jnp.arange(len(keys))[:, None] < settings.length
    if settings.length < len(keys):  # entries that do not count drop out of d_q with their keys
        keys = jnp.where(counts, keys, 0)
    keys, values = (_pad(x, n.keys).reshape(count, block.keys, -1) for x in (keys, values))
    saved = jnp.stack([log_total, offset], axis=1)
    q, d_output, saved = (_pad(x, n.queries) for x in (q, d_output, saved))

    def step(d_q: Array, part: tuple[Array, Array]) -> tuple[Array, Array]:
        d_q, d_v = kernel(*part, q, d_output, saved, d_q)
        return d_q, d_v

    d_q, d_values = lax.scan(step, jnp.zeros((n.queries, n.width), jnp.float32), (keys, values))
    d_values = d_values.reshape(n.keys, n.values)[: sizes.keys]
    return d_q[: sizes.queries], d_values if settings.length >= sizes.keys else jnp.where(counts, d_values, 0)


def _backward_kernel(
    k: Ref,
    v: Ref,
    q: Ref,
    d_output: Ref,
    saved: Ref,
    d_q_before: Ref,
    d_q: Ref,
    d_v: Ref,
    total: Ref,
    *,
    beta: float,
    wide: bool,
) -> None:
    """Adds one block of queries to the gradient of one block of values, and that block to the queries' gradient."""
    i = pl.program_id(0)

    @pl.when(i == 0)
    def _start() -> None:
        total[...] = jnp.zeros(total.shape, total.dtype)

    p = jnp.exp(_product(q[...], k[...], ROW_BY_ROW, wide) * (1 / beta) - saved[:, 0:1])
    total[...] += _product(p.astype(v.dtype), d_output[...], COLUMN_BY_COLUMN, wide)
    d_p = _product(d_output[...], v[...], ROW_BY_ROW, wide)
    d_scores = p * (d_p - saved[:, 1:2]) * (1 / beta)
    d_q[...] = d_q_before[...] + _product(d_scores.astype(k.dtype), k[...], ROW_BY_COLUMN, wide)

    @pl.when(i == pl.num_programs(0) - 1)
    def _end() -> None:
        d_v[...] = total[...].astype(d_v.dtype)


# ---------------------------------------------------------------- both
def _sizes(settings: Settings, q: Array, keys: Array, values: Array) -> Sizes:
    return Sizes(len(q), len(keys), keys.shape[1], values.shape[1], q.dtype.itemsize, settings.wide)


def _product(a: Array, b: Array, axes: DotDimensionNumbers, wide: bool) -> Array:
    if wide:
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def _float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _pad(x: Array, rows: int) -> Array:
    return x if len(x) == rows else jnp.pad(x, ((0, rows - len(x)), (0, 0)))


def _compiler_params(semantics: tuple[Literal["parallel", "arbitrary"], ...], vmem: int) -> pltpu.CompilerParams:
    return pltpu.CompilerParams(dimension_semantics=semantics, vmem_limit_bytes=vmem)


def _best(sizes: Sizes, vmem: int, need: Callable[[Block], int], traffic: Callable[[Sizes, Block], int]) -> Block:
    """Returns the block of least traffic among those that need at most `vmem` bytes, else the smallest."""
    sides = [range(TILE, min(LARGEST, pl.cdiv(n, TILE) * TILE) + 1, TILE) for n in (sizes.queries, sizes.keys)]
    blocks = [Block(*sides) for sides in itertools.product(*sides)]
    fitting = [block for block in blocks if need(block) <= vmem * 7 // 8] or blocks[:1]

    def cost(block: Block) -> tuple[float, bool, int]:
        n = sizes.padded(block)
        operations = 2 * n.queries * n.keys * (n.width + n.values)
        # Of blocks that cost the same, the smallest that keeps the units busy: code, and compile time, grow with it.
        return traffic(sizes, block) + operations / INTENSITY, min(block) < 256, block.queries * block.keys

    return min(fitting, key=cost)
