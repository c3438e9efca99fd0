"""The two expensive parts of a transformer, dense layers and self-attention, in the form that each device runs fastest.

TPUs get what XLA is written for: `jax.nn.dot_product_attention`. Compiled for v5e and v3, its temporaries for 8 x 12
heads x 1024 tokens in bfloat16 are 0.40 GB, the scores in float32, and 0.61 GB with the gradient; for 16 x 12 x 196
nothing on v5e, 0.02-0.04 GB on v3.

GPUs get cuDNN's flash attention in bfloat16. On an H200, forward and gradient together in ms (`scripts/bench
self_attention`):

    images x tokens x heads x 64    softmax of products    XLA's    cuDNN's
    512 x 64 x 6                    0.47                   0.54     0.52
    256 x 196 x 12                  2.35                   2.85     1.28
    256 x 197 x 12                  2.65                   3.13     1.44
    64 x 1024 x 12                  7.63                   10.2     2.51
    32 x 1025 x 12                  6.20                   7.60     1.92

On CPUs (`scripts/bench encoder`, two cores, AVX-512, ViT-S/16 at 1024 tokens):

- A product over [B, N, D] takes up to 1.5 times as long as the same over [B * N, D].
- bfloat16 products that give bfloat16 are computed in float32 after conversions; those that give float32 run natively,
  in half the time, and are rounded once, after all sums.
- One plain 2-D attention after the other beats a batched product threefold.

.github/NEGATIVE_RESULTS.md lists what did not help.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.lax import DotDimensionNumbers, PrecisionLike
from jax.typing import DTypeLike
from jaxtyping import Float

from hummingbird.devices import chips

# From this many tokens on, XLA's CPU backend runs one plain 2-D attention after the other faster than a batched
# product (measured, 2 cores, 16 x 6 heads x 1024 tokens x 64: 190 ms against 520-700 ms); below, the batched product
# wins (128 x 4 heads x 64 tokens x 32, with gradient: 24 ms against 38 ms).
MAPPED_FROM = 256
FLASH_FROM = 128  # tokens; with 64 cuDNN's is no faster, with 196 twice as fast


# A jitted function is traced once for all layers of the same shapes, not three branches in each: a step of ViT-B is
# traced in half the time (4.2 -> 2.0 s on one core). What is compiled stays the same.
@functools.partial(jax.jit, static_argnames=("dimension_numbers", "precision"))
def dense_product(
    x: Float[Array, "*B D"],
    kernel: Float[Array, "D E"],
    dimension_numbers: DotDimensionNumbers,
    precision: PrecisionLike = None,
) -> Float[Array, "*B E"]:
    """Multiplies x and kernel in the dtype of x; takes the arguments that `flax.linen.Dense` passes.

    On CPUs its gradient is computed in float32, also for bfloat16: XLA takes bfloat16 operands in the forward product
    alone. A backward pass of its own does not help, see .github/NEGATIVE_RESULTS.md.
    """
    product = functools.partial(lax.dot_general, precision=precision)

    def flat(x: Array, kernel: Array) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        out = product(rows, kernel, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        return out.astype(x.dtype).reshape(*x.shape[:-1], kernel.shape[-1])

    def rows(x: Array, kernel: Array) -> Array:
        return product(x.reshape(-1, x.shape[-1]), kernel, (((1,), (0,)), ((), ()))).reshape(*x.shape[:-1], -1)

    def plain(x: Array, kernel: Array) -> Array:
        return product(x, kernel, dimension_numbers)

    # XLA transposes an x of three dimensions for the gradient of its kernel on GPUs: in a ViT-B step on an H200, 10 ms
    # of 94. Products of rows need no such copy; they have not been timed there.
    return lax.platform_dependent(x, kernel, cpu=flat, cuda=rows, default=plain)


Dense = functools.partial(nn.Dense, dot_general=dense_product)


@jax.jit
def self_attention(
    q: Float[Array, "B T heads d"],
    k: Float[Array, "B T heads d"],
    v: Float[Array, "B T heads d"],
    bias: Float[Array, "heads T T"] | None = None,
) -> Float[Array, "B T heads d"]:
    """Computes softmax(q k^T / sqrt(d) + bias) v within each image and head.

    Returns:
      The mixed values in the dtype of v; the softmax is computed in float32.
    """
    few = q.shape[1] < MAPPED_FROM
    paths = {"cpu": _batched if few else _mapped, "default": _batched if few else _fused}
    if q.shape[1] >= FLASH_FROM and cudnn_takes(q, bias):
        paths["cuda"] = _flash
    return lax.platform_dependent(q, k, v, bias, **paths)


def cudnn_takes(q: Float[Array, "B T heads d"], bias: Array | None) -> bool:
    """Says whether this process has a GPU on which cuDNN's flash attention computes this (Ampere or later)."""
    if bias is not None or q.dtype not in (jnp.bfloat16, jnp.float16) or q.shape[-1] % 8 or q.shape[-1] > 128:
        return False
    if jax.default_backend() != "gpu":
        return False
    return chips.cuda_capability(jax.local_devices()[0]) >= 8


def _weights(scores: Array, bias: Array | None, dtype: DTypeLike) -> Array:
    scores = scores.astype(jnp.float32)
    return jax.nn.softmax(scores if bias is None else scores + bias, axis=-1).astype(dtype)


def _batched(q: Array, k: Array, v: Array, bias: Array | None) -> Array:
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))  # [B, heads, N, d]
    scores = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2)  # [B, heads, N, N]
    return (_weights(scores, bias, v.dtype) @ v).transpose(0, 2, 1, 3)


def _mapped(q: Array, k: Array, v: Array, bias: Array | None) -> Array:
    batch, tokens, heads, d = q.shape

    def one(row: tuple[Array, Array, Array, Array]) -> Array:
        q, k, v, head = row  # [N, d] each, and a number
        scores = jnp.matmul(q * d**-0.5, k.T, preferred_element_type=jnp.float32)
        weights = _weights(scores, None if bias is None else bias[head], v.dtype)
        return jnp.matmul(weights, v, preferred_element_type=jnp.float32).astype(v.dtype)

    q, k, v = (x.transpose(0, 2, 1, 3).reshape(batch * heads, tokens, d) for x in (q, k, v))
    out = lax.map(one, (q, k, v, jnp.tile(jnp.arange(heads), batch)))  # [B * heads, N, d]
    return out.reshape(batch, heads, tokens, d).transpose(0, 2, 1, 3)


def _flash(q: Array, k: Array, v: Array, bias: Array | None) -> Array:
    assert bias is None  # see `cudnn_takes`
    batch, tokens = q.shape[:2]
    if tokens % 2 == 0:
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    # Of an odd number of tokens, as with [CLS], cuDNN's has no gradient.
    q, k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (q, k, v))
    lengths = jnp.full(batch, tokens, jnp.int32)
    padded = jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths, implementation="cudnn")
    return padded[:, :tokens]


def _fused(q: Array, k: Array, v: Array, bias: Array | None) -> Array:
    return jax.nn.dot_product_attention(q, k, v, bias=None if bias is None else bias[None])
