"""Which images few-shot classifiers are trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from hummingbird.errors import UserError


def draw_shots(
    labels: Int32[np.ndarray, " N"], names: Sequence[str], shots: int, draw: str, seed: int
) -> Int[np.ndarray, " n"]:
    """Draws the same number of images of each class.

    Args:
      labels: class ids.
      names: class names by id, for errors.
      shots: images of each class.
      draw: "random", or "first": the first ones in the order of the data set, as in FUNGI's code.
      seed: decides random draws.

    Returns:
      Rows, by class.

    Raises:
      UserError: a class with fewer images.

    Example:
      >>> draw_shots(np.array([0, 1, 0, 1, 0], np.int32), ["a", "b"], 2, "first", seed=0)
      array([0, 2, 1, 3])
    """
    check_shots(labels, names, shots)
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(labels)]))
    rows = [np.flatnonzero(labels == label) for label in range(len(names))]
    return np.concatenate([(of if draw == "first" else rng.permutation(of))[:shots] for of in rows])


def check_shots(labels: Int32[np.ndarray, " N"], names: Sequence[str], shots: int, samples: str = "images") -> None:
    """Raises UserError that names a class with too few `samples` for `draw_shots`."""
    counts = np.bincount(labels, minlength=len(names))
    scarce = np.flatnonzero(counts < shots)
    if len(scarce):
        more = f" (and {len(scarce) - 1} more classes)" if len(scarce) > 1 else ""
        raise UserError(
            f"config key images.shots: {shots} {samples} of each class are needed, and class "
            f"{names[scarce[0]]!r}{more} has {counts[scarce[0]]} to train on; lower images.shots"
        )
