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
from jax import Array
from jaxtyping import Float, Float32, PyTree

from hummingbird.errors import UserError
from hummingbird.gradients.door import SAMPLES, Door, in_batches
from hummingbird.gradients.losses import KL_DIM, unit
from hummingbird.models.audio import Ssast
from hummingbird.models.params import AnyArray, Params
from hummingbird.weights.sequences import SequenceModel

Item = TypeVar("Item")


class Contrast(NamedTuple):
    """SimCLR's views.

    Attributes:
      views: number of views of a sample, which are contrasted with each other.
      drawn: number of training samples that give negatives.
      each: number of views of each of these.
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
      load: sample, which is a text or the path of a sound -> item.
      batch: items -> tree of arrays [B, ...].
      view: (rng, item) -> a random view of it, for SimCLR.
      contrast: numbers of views.
    """

    load: Callable[[str], Item]
    batch: Callable[[Sequence[Item]], PyTree[AnyArray]]
    view: Callable[[np.random.Generator, Item], Item]
    contrast: Contrast

    def views(self, items: Sequence[Item], seeds: Sequence[int], seed: int, count: int) -> PyTree[AnyArray]:
        """Returns `count` views of each item, [B, V, ...], drawn by `seed` and the item's own seed."""
        found: list[Item] = []
        for item, own in zip(items, seeds, strict=True):
            rng = np.random.default_rng(np.random.SeedSequence([seed, own, zlib.crc32(b"simclr")]))
            found += [self.view(rng, item) for _ in range(count)]
        return jax.tree.map(lambda x: x.reshape(len(items), count, *x.shape[1:]), self.batch(found))


@dataclasses.dataclass(frozen=True, eq=False)
class SampleFeatures(Generic[Item]):
    """Features of texts or sounds, beside the network's own embedding.

    Attributes:
      model: the encoder; gradients are taken at its last attention's output projection.
      reader: turns samples into inputs.
      doors: one for each objective, in the order of their parts.
      seed: draws views.
    """

    model: SequenceModel
    reader: Reader[Item]
    doors: tuple[Door, ...]
    seed: int

    def __call__(self, samples: Sequence[str], numbers: Sequence[int]) -> Float32[np.ndarray, "B F"]:
        """Computes the features of some samples; their views are in memory together.

        Args:
          samples: texts, or paths of sounds.
          numbers: seeds of the samples, for their views.

        Returns:
          For each sample the L2-normalised projected gradients, then the embedding (L2-normalised unless it is alone).
        """
        # Few samples are repeated up to one batch, so that one compiled program serves all.
        short = max(0, SAMPLES - len(samples))
        items = [self.reader.load(sample) for sample in samples]
        items, own = items + items[:1] * short, [*numbers, *[numbers[0]] * short]
        plain = self.reader.batch(items)
        embedding = in_batches(self.encode, self.model.params, plain, SAMPLES)
        gradients: list[np.ndarray] = []
        for door in self.doors:
            if door.objective == "kl":
                inputs = jax.tree.map(lambda x: x[:, None], plain)
            else:
                inputs = self.reader.views(items, own, self.seed, self.reader.contrast.views)
            gradients.append(door(inputs)[:, : -embedding.shape[1]])
        embedding = np.asarray(unit(jnp.asarray(embedding))) if gradients else embedding
        return np.concatenate([*gradients, embedding], axis=1)[: len(samples)]

    @functools.cached_property
    def encode(self) -> Callable[[Params, PyTree[AnyArray]], Float[Array, "B D"]]:
        """The compiled encoder: the first token of a text, the mean of both class tokens of a sound."""
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
    """Builds the features of a data set, and draws SimCLR's negatives from its training samples.

    A training sample's own views may be among its negatives, as in the paper.

    Args:
      model: an encoder.
      reader: turns samples into inputs.
      objectives: "kl", "simclr" or both; none: the embedding alone.
      train: training samples; only those drawn for negatives are read.
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
        # Losses are of the first token, also for sounds.
        negatives = in_batches(jax.jit(model.network), model.params, flat, SAMPLES)
    heads = {"kl": KL_DIM, "simclr": contrast.head_dim}
    doors = tuple(
        Door(
            model.network,
            model.params,
            model.network.layer,
            objective=name,
            negatives=negatives if name == "simclr" else None,
            dim=dim,
            seed=seed,
            head_dim=heads[name],
        )
        for name in objectives
    )
    return SampleFeatures(model, reader, doors, seed)
