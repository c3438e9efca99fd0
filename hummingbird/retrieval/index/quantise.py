"""Training and encoding for ScaNN: a tree of leaves and asymmetric-hashing codes, trained on a sample.

ScaNN's own training is random unless it runs on one thread, needs a float32 copy of every key, and ends the process
when a key is NaN. Here the same quantities are computed by matrix products, deterministically, in chunks, from keys of
any type. ScaNN still searches (`hummingbird.retrieval.index.scann`).
"""

from __future__ import annotations

import concurrent.futures
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array
from jaxtyping import Float, Float32, Int32, UInt8

from hummingbird.retrieval.index.interface import Keys
from hummingbird.retrieval.progress import track
from hummingbird.retrieval.threads import cpu_count

CHUNK = 4096  # keys encoded at a time; fits a core's cache
CODES = 16  # centres per block: codes of four bits, which vector shuffles look up
CODEBOOK_SAMPLE = 8192  # residuals that the centres of each block are trained on
TREE_ITERATIONS, CODE_ITERATIONS, ROUNDS = 10, 8, 2


class Quantiser(NamedTuple):
    """Tree and codebooks that keys are encoded with.

    Attributes:
      leaves: unit centres of the tree's leaves.
      codebooks: centres of the residuals' blocks; the last block is padded with zeros.
      threshold: T of anisotropic quantisation, see `anisotropy`.
    """

    leaves: Float32[np.ndarray, "L D"]
    codebooks: Float32[np.ndarray, "blocks 16 width"]
    threshold: float


def train(sample: Float32[np.ndarray, "n D"], leaves: int, width: int, threshold: float) -> Quantiser:
    """Trains leaves and codebooks on a sample of keys.

    Args:
      sample: L2-normalised, at least `leaves` rows, in random order.
      leaves: partitions of the tree.
      width: dimensions per hashed block.
      threshold: T of anisotropic quantisation, see `anisotropy`.
    """
    centres = train_leaves(sample, leaves)
    part = sample[:CODEBOOK_SAMPLE]
    residuals = blocks(on_cpu(part - centres[nearest_leaf(part, centres)]), width)
    return Quantiser(centres, np.asarray(train_codebooks(residuals)), threshold)


def train_leaves(
    sample: Float32[np.ndarray, "n D"], leaves: int, iterations: int = TREE_ITERATIONS
) -> Float32[np.ndarray, "{leaves} D"]:
    """Finds unit centres by spherical k-means, starting from the first rows of the sample.

    ScaNN ranks leaves by the inner product of query and centre. With plain means, that prefers leaves of similar keys
    (long means) to leaves near the query; with unit centres it ranks by angle, as for keys. A leaf that loses all its
    keys moves to the key with the worst match.
    """
    centres = sample[:leaves].copy()
    for _ in range(iterations):
        leaf, cosine = np.empty(len(sample), np.int32), np.empty(len(sample), np.float32)
        for start in range(0, len(sample), CHUNK):
            part = slice(start, start + CHUNK)
            scores = sample[part] @ centres.T
            leaf[part] = scores.argmax(axis=1)
            cosine[part] = np.take_along_axis(scores, leaf[part, None], 1)[:, 0]
        ones, rows = np.ones(len(leaf), np.float32), np.arange(len(leaf))
        member = scipy.sparse.csr_matrix((ones, (leaf, rows)), shape=(leaves, len(leaf)))
        centres = np.asarray(member @ sample)
        norms = np.linalg.norm(centres, axis=1)
        empty = np.flatnonzero(norms < 1e-6)
        centres[empty], norms[empty] = sample[np.argsort(cosine, kind="stable")[: len(empty)]], 1
        centres /= norms[:, None]
    return centres


def nearest_leaf(keys: Float32[np.ndarray, "n D"], leaves: Float32[np.ndarray, "L D"]) -> Int32[np.ndarray, " n"]:
    """Returns the leaf nearest to each key by angle."""
    return (keys @ leaves.T).argmax(axis=1).astype(np.int32)


def encode(
    keys: Keys,
    quantiser: Quantiser,
    leaf: Int32[np.ndarray, " M"],
    codes: UInt8[np.ndarray, "M blocks"],
    text: str = "",
) -> None:
    """Encodes keys into two given arrays.

    Args:
      keys: L2-normalised.
      quantiser: tree and codebooks.
      leaf: receives the leaf of each key.
      codes: receives the code of each block.
      text: shown beside a progress bar; empty: none.
    """
    size = min(CHUNK, len(keys))
    extra = anisotropy(quantiser.threshold, keys.shape[1]) - 1
    leaves, codebooks = on_cpu(quantiser.leaves), on_cpu(quantiser.codebooks)

    def encode_chunk(start: int) -> None:
        start = min(start, len(keys) - size)  # the last chunk overlaps, so that only one shape is compiled
        chunk = slice(start, start + size)
        leaf[chunk], codes[chunk] = encode_keys(on_cpu(keys[chunk]), leaves, codebooks, extra)

    encode_chunk(0)  # compiles
    with concurrent.futures.ThreadPoolExecutor(cpu_count()) as pool:
        chunks = range(size, len(keys), size)
        for _ in track(pool.map(encode_chunk, chunks), len(chunks), text, bool(text), "chunks"):
            pass


def blocks(keys: Float[Array, "n D"], width: int) -> Float[Array, "blocks {width} n"]:
    """Cuts keys into blocks of `width` dimensions, the last one padded with zeros."""
    return jnp.pad(keys, ((0, 0), (0, -keys.shape[1] % width))).T.reshape(-1, width, len(keys))


def anisotropy(threshold: float, dim: int) -> float:
    """Returns the cost of an error along a unit key, relative to one across it (Guo et al. 2020, Theorem 3.3).

    With weight 1 on inner products above T: (D - 1) T^2 / (1 - T^2); at least 1, which is plain quantisation.

    Example:
      >>> round(anisotropy(0.2, 385), 6)
      16.0
    """
    square = min(threshold**2, 0.999)
    return max(1.0, (dim - 1) * square / (1 - square))


def on_cpu(array: Float[np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """Puts an array on the host's own JAX device, wherever the encoder runs; JAX_PLATFORMS=cuda leaves it none."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        device = jax.local_devices()[0]
    return jax.device_put(array, device)


@jax.jit
def train_codebooks(residuals: Float32[Array, "blocks width n"]) -> Float32[Array, "blocks 16 width"]:
    """Finds the centres of each block by k-means."""

    def train_block(points: Array) -> Array:
        def step(_: Array, centres: Array) -> Array:
            distance = 0.5 * (centres**2).sum(1)[:, None] - centres @ points  # [16, n]
            member = (distance.argmin(axis=0) == jnp.arange(CODES)[:, None]).astype(jnp.float32)
            counts = member.sum(axis=1, keepdims=True)
            return jnp.where(counts > 0, member @ points.T / jnp.maximum(counts, 1), centres)

        first = points[:, jnp.arange(CODES) * (points.shape[1] // CODES)].T
        return jax.lax.fori_loop(0, CODE_ITERATIONS, step, first)

    return jax.lax.map(train_block, residuals)


@jax.jit
def encode_keys(
    keys: Float[Array, "n D"],
    leaves: Float32[Array, "L D"],
    codebooks: Float32[Array, "blocks 16 width"],
    extra: float | Float32[Array, ""],
) -> tuple[Int32[Array, " n"], UInt8[Array, "n blocks"]]:
    """Returns the leaf and the codes of each key; `extra` as in `encode_blocks`."""
    keys, width = keys.astype(jnp.float32), codebooks.shape[2]
    leaf = jnp.dot(keys, leaves.T, precision="highest").argmax(axis=1).astype(jnp.int32)
    return leaf, encode_blocks(blocks(keys - leaves[leaf], width), blocks(keys, width), codebooks, extra).T


def encode_blocks(
    residuals: Float32[Array, "blocks width n"],
    keys: Float32[Array, "blocks width n"],
    codebooks: Float32[Array, "blocks 16 width"],
    extra: float | Float32[Array, ""],
) -> UInt8[Array, "blocks n"]:
    """Finds codes that minimise |e|^2 + extra <e, key>^2 for the error e, by coordinate descent over blocks.

    Args:
      residuals: what is encoded.
      keys: unit keys; errors along them cost more.
      codebooks: centres of each block.
      extra: weight of the error along the key, beyond its part in |e|^2.
    """

    def encode_block(along: Array, block: tuple[Array, Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        residual, key, centres, share = block  # share: what this block adds to `along`, the error along the key
        rest = along - share
        # With nothing chosen the error is the residual. Written out, so that XLA fuses it into one vector loop over n.
        uncoded = rest + dot(key, residual)
        best, code, along = jnp.full_like(rest, jnp.inf), jnp.zeros(rest.shape, jnp.int32), rest
        for c in range(CODES):
            new = uncoded - dot(centres[c], key)
            cost = dot(centres[c], centres[c]) - 2 * dot(centres[c], residual) + extra * new * new
            better = cost < best
            best, code, along = jnp.minimum(cost, best), jnp.where(better, c, code), jnp.where(better, new, along)
        return along, (code.astype(jnp.uint8), along - rest)

    def encode_round(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        along, share, _codes = state
        along, (codes, share) = jax.lax.scan(encode_block, along, (residuals, keys, codebooks, share))
        return along, share, codes

    # The first round assumes errors of 0 in the blocks that it has not reached yet.
    none = jnp.zeros((residuals.shape[0], residuals.shape[2]), jnp.float32)
    return jax.lax.fori_loop(0, ROUNDS, encode_round, (none[0], none, none.astype(jnp.uint8)))[2]


def dot(a: Array, b: Array) -> Array:
    """Returns the inner product over the first axis, written as single products and sums: [width, ...] -> [...]."""
    return sum((a[d] * b[d] for d in range(1, len(a))), a[0] * b[0])
