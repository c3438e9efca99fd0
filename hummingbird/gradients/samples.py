"""Gradient features of texts and sounds: KL and SimCLR (App. A.2 and B.3 of the FUNGI paper)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, PyTree

from hummingbird.errors import UserError
from hummingbird.gradients.door import SAMPLES, Door, padded
from hummingbird.gradients.losses import KL_DIM, unit
from hummingbird.models.audio import Ssast
from hummingbird.models.params import AnyArray
from hummingbird.weights.sequences import SequenceModel

Item = TypeVar("Item")
AT_A_TIME = 64  # samples whose views are in memory at a time


class Contrast(NamedTuple):
    """SimCLR's views.

    Attributes:
      views: of a sample, contrasted with each other.
      drawn: training samples that the negatives are views of.
      each: views of each of these.
      head_dim: outputs of the head.
    """

    views: int
    drawn: int
    each: int
    head_dim: int


TEXT = Contrast(12, 256, 2, 256)  # Table 19
AUDIO = Contrast(16, 64, 2, 768)  # Table 12
OBJECTIVES = ("kl", "simclr")


@dataclasses.dataclass(frozen=True)
class Reader(Generic[Item]):
    """How samples of one kind become inputs of a network.

    Attributes:
      load: what a sample is called (a text itself, the path of a sound) -> item.
      batch: items -> tree of arrays [B, ...].
      view: (rng, item) -> another item, for SimCLR.
      contrast: how many views.
    """

    load: Callable[[str], Item]
    batch: Callable[[Sequence[Item]], PyTree[AnyArray]]
    view: Callable[[np.random.Generator, Item], Item]
    contrast: Contrast

    def views(self, items: Sequence[Item], seeds: Sequence[int], seed: int, count: int) -> PyTree[AnyArray]:
        """Returns `count` views of each item, [B, V, ...]; they depend on its own number and `seed` alone."""
        found: list[Item] = []
        for item, own in zip(items, seeds, strict=True):
            rng = np.random.default_rng(np.random.SeedSequence([seed, own, zlib.crc32(b"simclr")]))
            found += [self.view(rng, item) for _ in range(count)]
        return jax.tree.map(lambda x: x.reshape(len(items), count, *x.shape[1:]), self.batch(found))


@dataclasses.dataclass(frozen=True, eq=False)
class SampleFeatures(Generic[Item]):
    """Features of texts or sounds, beside the network's own embedding.

    Attributes:
      model: gives embeddings; gradients are taken at its last attention's output projection.
      reader: makes inputs of samples.
      doors: of the objectives, in the order in which their parts are wanted.
      seed: draws views.
    """

    model: SequenceModel
    reader: Reader[Item]
    doors: tuple[Door, ...]
    seed: int

    def __call__(self, samples: Sequence[str], numbers: Sequence[int]) -> Float32[np.ndarray, "B F"]:
        """Computes features.

        Args:
          samples: texts, or paths of sounds.
          numbers: of the samples, by which their views are drawn.

        Returns:
          For each sample the L2-normalised projected gradients, then the embedding, normalised beside gradients.
        """
        found: list[np.ndarray] = []
        for start in range(0, len(samples), AT_A_TIME):
            part = [self.reader.load(sample) for sample in samples[start : start + AT_A_TIME]]
            own = list(numbers[start : start + AT_A_TIME])
            # A few rows more, so that one program serves all sets, whatever their size.
            fill = [0] * max(0, SAMPLES - len(part))
            part, own = [*part, *(part[i] for i in fill)], [*own, *(own[i] for i in fill)]
            plain = self.reader.batch(part)
            embedding = self.embeddings(plain)
            gradients: list[np.ndarray] = []
            for door in self.doors:
                if door.objective == "kl":
                    inputs = jax.tree.map(lambda x: x[:, None], plain)
                else:
                    inputs = self.reader.views(part, own, self.seed, self.reader.contrast.views)
                gradients.append(door(inputs)[:, : -embedding.shape[1]])
            embedding = np.asarray(unit(jnp.asarray(embedding))) if gradients else embedding
            found.append(np.concatenate([*gradients, embedding], axis=1))
        return np.concatenate(found)[: len(samples)]

    def embeddings(self, inputs: PyTree[AnyArray]) -> Float32[np.ndarray, "B D"]:
        """Returns embeddings of inputs [B, ...]: the first token or, of sounds, the mean of both class tokens."""
        count = jax.tree.leaves(inputs)[0].shape[0]
        parts = (
            jax.tree.map(lambda x, rows=slice(start, start + SAMPLES): padded(x[rows], SAMPLES), inputs)
            for start in range(0, count, SAMPLES)
        )
        return np.concatenate([np.asarray(self.encode(self.model.params, part)) for part in parts])[:count]

    @functools.cached_property
    def encode(self) -> Callable[..., jax.Array]:
        """The compiled encoder."""
        network = self.model.network
        return jax.jit(network.embedding if isinstance(network, Ssast) else network)


def build_features(
    model: SequenceModel,
    reader: Reader[Item],
    objectives: Sequence[str],
    train: Sequence[str],
    *,
    dim: int | None = None,
    seed: int = 0,
) -> SampleFeatures[Item]:
    """Builds the features of a data set: with negatives that are drawn from its training samples once.

    A training sample's own views may be among its negatives, as in the paper.

    Args:
      model: an encoder.
      reader: makes inputs of samples.
      objectives: some of "kl" and "simclr"; none: the embedding alone.
      train: training samples, of which only those drawn are read.
      dim: outputs of the projection; None: the embedding's width.
      seed: draws heads, projection, negatives and views.

    Raises:
      UserError: an unknown objective.
    """
    wrong = [name for name in objectives if name not in OBJECTIVES]
    if wrong:
        raise UserError(f"config key features.gradients: {wrong[0]} is for images; use {' and '.join(OBJECTIVES)}")
    contrast = reader.contrast
    negatives = None
    if "simclr" in objectives:
        order = np.random.default_rng([seed, len(train)]).permutation(len(train))
        rows = [int(row) for row in order[: contrast.drawn]]
        views = reader.views([reader.load(train[row]) for row in rows], rows, seed, contrast.each)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), views)
        negatives = embed_all(model, flat)
    heads = {"kl": KL_DIM, "simclr": contrast.head_dim}
    doors = tuple(
        Door(
            model.network,
            model.params,
            model.network.layer,
            name,
            negatives if name == "simclr" else None,
            dim,
            seed,
            heads[name],
        )
        for name in objectives
    )
    return SampleFeatures(model, reader, doors, seed)


def embed_all(model: SequenceModel, inputs: PyTree[AnyArray]) -> Float32[np.ndarray, "N D"]:
    """Returns the embeddings that gradients are taken of."""
    run = jax.jit(model.network)
    count = jax.tree.leaves(inputs)[0].shape[0]
    parts = [slice(start, start + SAMPLES) for start in range(0, count, SAMPLES)]
    found = [run(model.params, jax.tree.map(lambda x, p=p: padded(x[p], SAMPLES), inputs)) for p in parts]
    return np.concatenate([np.asarray(x) for x in found])[:count]
