"""The support index: plain patch features of the prompt, among which every token of an image finds its negatives."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from hummingbird.gradients.presets import Preset

MORE = 4  # times as many neighbours are looked up again for tokens that found too few of other images


class Search(Protocol):
    """Nearest neighbours by inner product, such as any index of `hummingbird.retrieval`."""

    def search(
        self, queries: Float[np.ndarray, "Q D"], k: int
    ) -> tuple[Int32[np.ndarray, "Q k"], Float32[np.ndarray, "Q k"]]:
        """Returns rows and similarities, best first; -1 where there are fewer than k."""
        ...


class ExactSearch:
    """Exact search for a handful of images.

    Args:
      keys: L2-normalised.
    """

    def __init__(self, keys: Float32[np.ndarray, "M D"]):
        self.keys = keys

    def search(
        self, queries: Float[np.ndarray, "Q D"], k: int
    ) -> tuple[Int32[np.ndarray, "Q k"], Float32[np.ndarray, "Q k"]]:
        """Finds the k nearest keys of each query, best first; -1 where there are fewer than k."""
        scores = np.asarray(queries, np.float32) @ self.keys.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        ids, found = np.full((len(scores), k), -1, np.int32), np.full((len(scores), k), -np.inf, np.float32)
        ids[:, : order.shape[1]] = order
        found[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
        return ids, found


@dataclasses.dataclass(frozen=True)
class Support:
    """Patches of the prompt.

    Attributes:
      index: over the keys.
      keys: L2-normalised features.
      norms: of the features.
      image: number of the image that each is of.
      fingerprint: of all that it was built from.
    """

    index: Search
    keys: Float[np.ndarray, "M D"]
    norms: Float32[np.ndarray, " M"]
    image: Int[np.ndarray, " M"]
    fingerprint: str

    def nearest(
        self, tokens: Float32[np.ndarray, "T D"], k: int, excluded: Sequence[int | None]
    ) -> Int32[np.ndarray, "T k"]:
        """Finds the k nearest patches of each token.

        Args:
          tokens: L2-normalised; those of the n images of `excluded` follow each other, equally many of each.
          k: patches.
          excluded: number of the prompt image whose patches do not count; None: all count.

        Returns:
          Rows of the support; where there are fewer than k, the last one again.
        """
        own = np.repeat([-1 if i is None else i for i in excluded], len(tokens) // len(excluded))
        ids = np.full((len(tokens), k), -1, np.int32)
        left, wide = np.arange(len(tokens)), k if (own < 0).all() else k + k
        while len(left):
            wide = min(wide, len(self.keys))
            found, _ = self.index.search(tokens[left], wide)
            good = (found >= 0) & (self.image[found] != own[left, None])
            enough = good.sum(axis=1) >= min(k, wide)
            order = np.argsort(~good, axis=1, kind="stable")[:, :k]
            ids[left, : order.shape[1]] = np.where(
                np.take_along_axis(good, order, 1), np.take_along_axis(found, order, 1), -1
            )
            if wide == len(self.keys):
                break
            left, wide = left[~enough], wide * MORE
        return fill(ids)

    def rows(self, ids: Int32[np.ndarray, "*n"], unit: bool) -> Float32[np.ndarray, "*n D"]:
        """Returns features, L2-normalised if `unit`."""
        keys = np.asarray(self.keys[ids], np.float32)
        return keys if unit else keys * self.norms[ids][..., None]


def fill(ids: Int32[np.ndarray, "T k"]) -> Int32[np.ndarray, "T k"]:
    """Replaces -1 by the entry before it, and a whole row of them by zeros.

    Example:
      >>> fill(np.array([[4, 2, -1], [-1, -1, -1]], np.int32)).tolist()
      [[4, 2, 2], [0, 0, 0]]
    """
    for column in range(ids.shape[1]):
        before = ids[:, column - 1] if column else np.zeros(len(ids), np.int32)
        ids[:, column] = np.where(ids[:, column] < 0, before, ids[:, column])
    return ids


def interleaved(rows: Float32[np.ndarray, "T k D"]) -> Float32[np.ndarray, "T k D"]:
    """Reads the neighbours of each token as if they were stored channel by channel, as the public code does.

    The numbers of the k neighbours lie one after the other; vector n of the result takes numbers n, n + k, n + 2 k, ...

    Example:
      >>> interleaved(np.arange(6, dtype=np.float32).reshape(1, 2, 3)).tolist()
      [[[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]]
    """
    tokens, count, width = rows.shape
    return np.ascontiguousarray(rows.reshape(tokens, width, count).swapaxes(1, 2))


def choose(preset: Preset, tokens: int, seed: int, number: int) -> tuple[Int[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Chooses the negatives of an image among all neighbours of its tokens, by random numbers of its own.

    Args:
      preset: says how many.
      tokens: of the image.
      seed: of all images.
      number: of this image.

    Returns:
      Their places among the [tokens * used] neighbours, and which of them count: exactly half of the neighbours, or
      all places, of which each counts with probability 1/2.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, number, zlib.crc32(b"negatives")]))
    count = tokens * preset.used
    if preset.kept == "coin":
        return np.arange(count), rng.random(count) < 0.5
    return np.sort(rng.permutation(count)[: max(1, count // 2)]), np.ones(max(1, count // 2), bool)
