"""Training and encoding for ScaNN: a tree of leaves and asymmetric-hashing codes, on a sample, with all cores.

ScaNN's own training draws anew each time unless it runs on one thread, wants a float32 copy of every key, and ends the
process when a key is NaN. Here the same quantities are computed by matrix products: the same index every time, in
chunks, from keys of any type. The searcher that reads them is ScaNN's (`hummingbird.retrieval.index.scann`).
"""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from hummingbird.retrieval.encode import track

CHUNK = 4096  # keys encoded at a time; in the cache of a core
CODES = 16  # centres of a block: a code is four bits, which vector shuffles look up
CODEBOOK_SAMPLE = 8192  # residuals that the sixteen centres of each block are trained on
TREE_ITERATIONS, CODE_ITERATIONS, ROUNDS = 10, 8, 2


class Quantiser(NamedTuple):
    """What keys are encoded with.

    Attributes:
      leaves: float32 [L, D], unit centres of the tree's leaves.
      codebooks: float32 [blocks, 16, width], centres of the residuals' blocks (the last may be padded with zeros).
      threshold: of anisotropic quantisation.
    """

    leaves: np.ndarray
    codebooks: np.ndarray
    threshold: float


def train(sample: np.ndarray, leaves: int, width: int, threshold: float) -> Quantiser:
    """Leaves and codebooks from a sample of keys.

    Args:
      sample: float32 [n, D], L2-normalised, n >= leaves, in random order.
      leaves: partitions of the tree.
      width: dimensions per hashed block.
      threshold: T of anisotropic quantisation, see `anisotropy`.
    """
    centres = train_leaves(sample, leaves)
    part = sample[:CODEBOOK_SAMPLE]
    residuals = blocks(on_cpu(part - centres[nearest_leaf(part, centres)]), width)
    return Quantiser(centres, np.asarray(train_codebooks(residuals)), threshold)


def train_leaves(sample: np.ndarray, leaves: int, iterations: int = TREE_ITERATIONS) -> np.ndarray:
    """Spherical k-means: unit centres float32 [leaves, D] of unit rows [n, D], from the first rows of the sample.

    ScaNN ranks leaves by the inner product of query and centre. Among means of different length that favours leaves
    with keys all alike over those near the query; among unit centres it is the angle, as it is for keys. A leaf that
    loses all keys moves to the worst-served one.
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


def nearest_leaf(keys: np.ndarray, leaves: np.ndarray) -> np.ndarray:
    """The leaf nearest to each key by angle: float32 [n, D], [L, D] -> int32 [n]."""
    return (keys @ leaves.T).argmax(axis=1).astype(np.int32)


def encode(keys: np.ndarray, quantiser: Quantiser, leaf: np.ndarray, codes: np.ndarray, text: str = "") -> None:
    """Writes the leaf, int32 [n], and the codes, uint8 [n, blocks], of keys [n, D] into the two given arrays.

    Args:
      text: shown beside a progress bar; empty: none.
    """
    size = min(CHUNK, len(keys))
    extra = anisotropy(quantiser.threshold, keys.shape[1]) - 1
    leaves, codebooks = on_cpu(quantiser.leaves), on_cpu(quantiser.codebooks)

    def one_chunk(start: int) -> None:
        start = min(start, len(keys) - size)  # the last chunk overlaps, so that one shape is compiled
        chunk = slice(start, start + size)
        leaf[chunk], codes[chunk] = encode_keys(on_cpu(keys[chunk]), leaves, codebooks, extra)

    one_chunk(0)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = range(size, len(keys), size)
        for _ in track(pool.map(one_chunk, chunks), len(chunks), text, bool(text)):
            pass


def blocks(keys: Any, width: int) -> jax.Array:
    """[n, D] cut into blocks of `width` dimensions, [blocks, width, n], the last padded with zeros."""
    return jnp.pad(keys, ((0, 0), (0, -keys.shape[1] % width))).T.reshape(-1, width, len(keys))


def anisotropy(threshold: float, dim: int) -> float:
    """How much an error along a unit key costs, relative to one across it (Guo et al. 2020, Theorem 3.3).

    With weight 1 on inner products above T: (D - 1) T^2 / (1 - T^2); at least 1, which is plain quantisation.
    """
    square = min(threshold**2, 0.999)
    return max(1.0, (dim - 1) * square / (1 - square))


def on_cpu(array: np.ndarray) -> jax.Array:
    """The array on the host's own JAX device, wherever the encoder runs."""
    return jax.device_put(array, jax.local_devices(backend="cpu")[0])


@jax.jit
def train_codebooks(residuals: jax.Array) -> jax.Array:
    """k-means of each block: float32 [blocks, width, n] -> [blocks, 16, width]."""

    def one_block(points: jax.Array) -> jax.Array:
        def step(_: int, centres: jax.Array) -> jax.Array:
            distance = 0.5 * (centres**2).sum(1)[:, None] - centres @ points  # [16, n]
            member = (distance.argmin(axis=0) == jnp.arange(CODES)[:, None]).astype(jnp.float32)
            counts = member.sum(axis=1, keepdims=True)
            return jnp.where(counts > 0, member @ points.T / jnp.maximum(counts, 1), centres)

        first = points[:, jnp.arange(CODES) * (points.shape[1] // CODES)].T
        return jax.lax.fori_loop(0, CODE_ITERATIONS, step, first)

    return jax.lax.map(one_block, residuals)


@jax.jit
def encode_keys(keys: jax.Array, leaves: jax.Array, codebooks: jax.Array, extra: float) -> tuple[jax.Array, jax.Array]:
    """Leaf int32 [n] and codes uint8 [n, blocks] of keys [n, D]."""
    keys, width = keys.astype(jnp.float32), codebooks.shape[2]
    leaf = jnp.dot(keys, leaves.T, precision="highest").argmax(axis=1).astype(jnp.int32)
    return leaf, encode_blocks(blocks(keys - leaves[leaf], width), blocks(keys, width), codebooks, extra).T


def encode_blocks(residuals: jax.Array, keys: jax.Array, codebooks: jax.Array, extra: float) -> jax.Array:
    """Codes that minimise |e|^2 + extra <e, key>^2 for the error e, by coordinate descent over blocks.

    Args:
      residuals, keys: float32 [blocks, width, n]; what is encoded, and the unit keys whose direction matters.
      codebooks: float32 [blocks, 16, width].
      extra: weight of the error along the key beyond that of the error as a whole.

    Returns:
      uint8 [blocks, n].
    """

    def one_block(along: jax.Array, block: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        residual, key, centres, share = block  # share: what this block adds to `along`, the error along the key
        rest = along - share
        # With nothing chosen the error is the residual. Written out, so that XLA makes one vector loop over n of it.
        uncoded = rest + dot(key, residual)
        best, code, along = jnp.full_like(rest, jnp.inf), jnp.zeros(rest.shape, jnp.int32), rest
        for c in range(CODES):
            new = uncoded - dot(centres[c], key)
            cost = dot(centres[c], centres[c]) - 2 * dot(centres[c], residual) + extra * new * new
            better = cost < best
            best, code, along = jnp.minimum(cost, best), jnp.where(better, c, code), jnp.where(better, new, along)
        return along, (code.astype(jnp.uint8), along - rest)

    # The first round knows nothing of the blocks to come: it takes their errors to be 0.
    none = jnp.zeros((residuals.shape[0], residuals.shape[2]), jnp.float32)

    def one_round(_: int, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        along, share, _codes = state
        along, (codes, share) = jax.lax.scan(one_block, along, (residuals, keys, codebooks, share))
        return along, share, codes

    return jax.lax.fori_loop(0, ROUNDS, one_round, (none[0], none, none.astype(jnp.uint8)))[2]


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Inner product over the first axis, as single products and sums."""
    return sum((a[d] * b[d] for d in range(1, len(a))), a[0] * b[0])
