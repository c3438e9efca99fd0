"""Views of text and sound for SimCLR's gradients (App. A.2 and B of the FUNGI paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

DELETED, MOST = 0.1, 10  # share and largest number of words
NOISE, SHIFT = 0.1, 10  # of the noise's amplitude; time steps


def delete_words(rng: np.random.Generator, words: Sequence[str]) -> list[str]:
    """Deletes a tenth of the words of a text, at least one and at most ten; a single word stays.

    Example:
      >>> len(delete_words(np.random.default_rng(0), "the quick brown fox".split()))
      3
    """
    if len(words) < 2:
        return list(words)
    count = min(MOST, max(1, round(DELETED * len(words))))
    gone = set(rng.permutation(len(words))[:count].tolist())
    return [word for i, word in enumerate(words) if i not in gone]


def noise_and_shift(rng: np.random.Generator, spectrogram: Float[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
    """Adds noise, c + x1 x2 / 10 with x1 uniform in each bin and x2 for all of them, and shifts by up to ten steps.

    The public code adds the noise before it divides by about twice the standard deviation; here it is as printed.

    Args:
      rng: NumPy generator.
      spectrogram: time, frequency; normalised as the encoder takes it.
    """
    noise = rng.random(spectrogram.shape) * rng.random() * NOISE
    shift = int(rng.integers(-SHIFT, SHIFT + 1))
    return np.roll((spectrogram + noise).astype(np.float32), shift, axis=0)
