"""Images of a split as encoder inputs, and how they become features: in memory or through a cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jaxtyping import UInt8

from hummingbird.config import EvaluateConfig
from hummingbird.data.labelled import Labelled
from hummingbird.encoder import Encoder, arithmetic
from hummingbird.errors import UserError
from hummingbird.recognition.cache import cached, in_memory
from hummingbird.recognition.embed import Batch, Embedded, Inputs, embed
from hummingbird.recognition.pooled import choose
from hummingbird.recognition.prepare import Preparation
from hummingbird.retrieval.processes import gather_columns
from hummingbird.retrieval.progress import Clock, track
from hummingbird.run.files import Json


class LabelledInputs:
    """Labelled images, prepared for the encoder."""

    def __init__(self, images: Labelled, preparation: Preparation):
        self._images, self._preparation = images, preparation
        self.fingerprint = images.fingerprint

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """Returns what to call image `index` in messages."""
        return self._images.name(index)

    def __getitem__(self, index: int) -> tuple[UInt8[np.ndarray, "h w 3"], int]:
        item = self._images[index]
        return self._preparation(item["image"], self.name(index)), item["label"]


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How images become features.

    Attributes:
      encoder: gives the features.
      preparation: of the images.
      pooling: key of `pooled.POOLING`.
      batch_size: images encoded at a time.
      cache: folder that keeps features; "": none.
      progress: show progress bars.
      clock: takes the time.
    """

    encoder: Encoder
    preparation: Preparation
    pooling: str
    batch_size: int
    cache: str
    progress: bool
    clock: Clock

    def embedded(self, inputs: Inputs, text: str, name: str) -> Embedded:
        """Encodes all images of a set, of which each process encodes a part.

        Args:
          inputs: the images.
          text: what to call them in a progress bar.
          name: what to call the time, `encode_NAME`.
        """

        def encode(rows: Sequence[int]) -> Iterator[Batch]:
            batches = embed(self.encoder, self.pooling, inputs, rows, self.batch_size)
            return track(batches, -(-len(rows) // self.batch_size), text, self.progress)

        with self.clock(f"encode_{name}"):
            if self.cache:
                own = cached(self.cache, len(inputs), self.identity(inputs), encode)
            else:
                own = in_memory(len(inputs), encode)
            if jax.process_count() > 1:
                own = Embedded(**gather_columns({key: np.asarray(column) for key, column in own._asdict().items()}))
        return own

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
        }


def build_encoding(encoder: Encoder, config: EvaluateConfig, clock: Clock) -> Encoding:
    """Builds the encoding of an evaluation; reads `input_size`, `batch_size`, `progress`, `data.*` and `images.*`."""
    patch = int(encoder.patch_size)
    size = max(1, round(config.input_size / patch)) * patch
    images, data = config.images, config.data
    upright = data.exif == "upright"
    preparation = Preparation(images.crop, size, patch, images.crop_fraction, upright, data.lenient)
    pooling = choose(images.pooling, encoder)
    return Encoding(encoder, preparation, pooling, config.batch_size, images.cache, config.progress, clock)
