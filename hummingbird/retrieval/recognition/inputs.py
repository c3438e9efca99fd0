"""Images of a split as encoder inputs, and how they become features: in memory or through a cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import overload

import jax
import numpy as np
from jaxtyping import UInt8

from hummingbird.config import EvaluateConfig
from hummingbird.data.labelled import Labelled
from hummingbird.encoder import Encoder, arithmetic
from hummingbird.errors import UserError
from hummingbird.gradients.image_losses import DEFAULT
from hummingbird.retrieval.processes import gather_columns
from hummingbird.retrieval.progress import Clock, track
from hummingbird.retrieval.recognition.cache import cached, in_memory
from hummingbird.retrieval.recognition.embed import Batch, Embedded, Inputs, Prepared, embed
from hummingbird.retrieval.recognition.pooled import choose
from hummingbird.retrieval.recognition.prepare import Preparation
from hummingbird.retrieval.recognition.vectors import Gradients, Pooled
from hummingbird.run.files import Json


class LabelledInputs:
    """Labelled images, prepared for the encoder; `whole`: with the images as they were before."""

    def __init__(self, images: Labelled, preparation: Preparation, whole: bool = False):
        self._images, self._preparation, self._whole = images, preparation, whole
        self.fingerprint = images.fingerprint

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """Returns what to call image `index` in messages."""
        return self._images.name(index)

    def __getitem__(self, index: int) -> Prepared:
        item = self._images[index]
        whole = self._preparation.whole(item["image"], self.name(index)) if self._whole else None
        return Prepared(self._preparation(item["image"], self.name(index)), item["label"], whole)


class Wholes(Sequence[UInt8[np.ndarray, "_ _ 3"]]):
    """Labelled images as they are before they are prepared, read one by one."""

    def __init__(self, images: Labelled, preparation: Preparation):
        self._images, self._preparation = images, preparation

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> UInt8[np.ndarray, "_ _ 3"]: ...
    @overload
    def __getitem__(self, index: slice) -> list[UInt8[np.ndarray, "_ _ 3"]]: ...
    def __getitem__(self, index: int | slice) -> UInt8[np.ndarray, "_ _ 3"] | list[UInt8[np.ndarray, "_ _ 3"]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._preparation.whole(self._images[index]["image"], self._images.name(index))


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How images become features.

    Attributes:
      encoder: gives the features.
      preparation: of the images.
      pooling: key of `pooled.POOLING`.
      vectors: what is made of the images.
      batch_size: images encoded at a time.
      cache: folder that keeps features; "": none.
      progress: show progress bars.
      clock: takes the time.
      fitted_on: fingerprint of the images that negatives are drawn from; "": none.
    """

    encoder: Encoder
    preparation: Preparation
    pooling: str
    vectors: Pooled | Gradients
    batch_size: int
    cache: str
    progress: bool
    clock: Clock
    fitted_on: str = ""

    def embedded(self, inputs: Inputs, text: str, name: str) -> Embedded:
        """Encodes all images of a set, of which each process encodes a part.

        Args:
          inputs: the images.
          text: what to call them in a progress bar.
          name: what to call the time, `encode_NAME`.
        """

        def encode(rows: Sequence[int]) -> Iterator[Batch]:
            batches = embed(self.vectors, inputs, rows, self.batch_size)
            return track(batches, -(-len(rows) // self.batch_size), text, self.progress, "batches")

        with self.clock(f"encode_{name}"):
            if self.cache:
                own = cached(self.cache, len(inputs), self.identity(inputs), encode)
            else:
                own = in_memory(len(inputs), encode)
            if jax.process_count() > 1:
                columns = {} if own is None else {key: np.asarray(column) for key, column in own._asdict().items()}
                own = Embedded(**gather_columns(columns))
        assert own is not None, "an empty set is refused before"
        return own

    @property
    def parts(self) -> int:
        """Vectors of equal length that a feature consists of: patches, or one."""
        return (self.preparation.size // self.preparation.patch) ** 2 if self.pooling == "patches" else 1

    @property
    def whole(self) -> bool:
        """Whether images are needed as they were before they were prepared, too."""
        return isinstance(self.vectors, Gradients) and self.vectors.needs_whole

    def fitted(self, train: Labelled) -> Encoding:
        """Returns the encoding of a data set: with the negatives that simclr draws from its training images."""
        if not isinstance(self.vectors, Gradients):
            return self
        names = [train.name(i) for i in range(len(train))]
        with self.clock("negatives"):
            vectors = self.vectors.with_negatives(Wholes(train, self.preparation), names)
        return dataclasses.replace(self, vectors=vectors, fitted_on=train.fingerprint)

    def identity(self, inputs: Inputs) -> dict[str, Json]:
        """Returns all that the features depend on; UserError if the encoder has no fingerprint."""
        fingerprint = getattr(self.encoder, "fingerprint", None)
        if not fingerprint:
            raise UserError(
                "images.cache: the encoder has no `fingerprint`, so its features could be mistaken for another one's"
            )
        return {
            "encoder": fingerprint,
            **arithmetic(self.encoder),
            "images": inputs.fingerprint,
            "pooling": self.pooling,
            "preparation": dataclasses.asdict(self.preparation),
            **self.gradients,
        }

    @property
    def gradients(self) -> dict[str, Json]:
        """The choices that gradients depend on; {} without."""
        if not isinstance(self.vectors, Gradients):
            return {}
        vectors = self.vectors
        return {
            "gradients": list(vectors.objectives),
            "projection": vectors.projection,
            "rank": vectors.rank if vectors.projection == "tensor" else None,
            "dim": vectors.dim,
            "gradients_seed": vectors.seed,
            "negatives": self.fitted_on if vectors.negatives is not None else None,
            **({"variant": dataclasses.asdict(vectors.variant)} if vectors.variant != DEFAULT else {}),
        }


def build_encoding(encoder: Encoder, config: EvaluateConfig, clock: Clock) -> Encoding:
    """Builds the encoding of an evaluation from `input_size`, `batch_size`, `data.*`, `images.*` and `features.*`."""
    patch = int(encoder.patch_size)
    size = max(1, round(config.input_size / patch)) * patch
    images, data = config.images, config.data
    upright = data.exif == "upright"
    preparation = Preparation(images.crop, size, patch, images.crop_fraction, upright, data.lenient)
    pooling = choose(images.pooling, encoder)
    features = config.features
    vectors = Pooled(encoder, pooling)
    if features.gradients:
        chosen = (features.projection, features.rank, features.dim)
        vectors = Gradients(encoder, pooling, features.gradients, *chosen, config.seed, size, variant=features.variant)
    return Encoding(encoder, preparation, pooling, vectors, config.batch_size, images.cache, config.progress, clock)
