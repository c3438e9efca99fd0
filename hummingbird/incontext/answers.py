"""What a prompt answers: labels, how sure it is of them, and which patches decided."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped


class Confidence(NamedTuple):
    """How sure a prediction is, for each pixel of the image.

    Attributes:
      share: 0-1; share of the neighbours' votes that the winning class got. For values: how far the neighbours agree, 1
        minus their variance over that of all labels in the prompt.
      similarity: cosine similarity, -1 to 1, of the patch to the nearest patch of the prompt; 1 minus this is the
        distance. Low where the prompt shows nothing alike.
    """

    share: Float32[np.ndarray, "H W"]
    similarity: Float32[np.ndarray, "H W"]


class Prediction(NamedTuple):
    """The prediction for an image, at its own size.

    Attributes:
      labels: class ids as the prompt's labels have them, or values, float32.
      confidence: how sure they are.
    """

    labels: Shaped[np.ndarray, "H W *C"]
    confidence: Confidence


class Predictions(NamedTuple):
    """The predictions for several images."""

    labels: list[Shaped[np.ndarray, "_ _ *C"]]
    confidence: list[Confidence]


class Box(NamedTuple):
    """A rectangle of an image in pixels, which may end between two."""

    top: float
    left: float
    bottom: float
    right: float


class Neighbour(NamedTuple):
    """A patch of the prompt that took part in a decision.

    Attributes:
      id: of its image in the prompt.
      box: where it lies in that image.
      weight: share of the decision, 0-1; those of all neighbours sum to 1.
      similarity: cosine similarity to the patch in question.
      label: its local label: {class id: share of its annotated pixels}, or {channel: mean value}.
    """

    id: str
    box: Box
    weight: float
    similarity: float
    label: dict[int, float]
