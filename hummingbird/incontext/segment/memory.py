"""Temporal memory: for a bounded time, confident predictions of past frames vote beside the annotated images."""

from __future__ import annotations

import collections

import numpy as np

from hummingbird.incontext.answers import Prediction
from hummingbird.incontext.encoded import Encoded
from hummingbird.incontext.prompt import Prompt


class Memory:
    """What a prompt remembers of a video; leaves the prompt as it was when the block ends.

    Args:
      prompt: the annotated images; frames join it.
      length: frames for which a prediction stays; 0: none joins.
      every: frames between predictions that join.
      confidence: smallest share of votes of the pixels that count; the others of a frame are void.
    """

    def __init__(self, prompt: Prompt, length: int, every: int, confidence: float):
        self._prompt, self._length, self._every, self._confidence = prompt, length, every, confidence
        self._held: collections.deque[tuple[int, str]] = collections.deque()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *error: object) -> None:
        for _, name in self._held:
            self._prompt.remove(name)
        self._held.clear()

    def add(self, number: int, frame: Encoded, found: Prediction) -> None:
        """Remembers a frame, if it is its turn and any pixel is certain, and forgets those that are too old."""
        while self._held and number - self._held[0][0] >= self._length:
            self._prompt.remove(self._held.popleft()[1])
        if not self._length or number % self._every:
            return
        sure = found.confidence.share >= self._confidence
        if sure.any():
            label = np.where(sure, found.labels, self._unknown)
            self._held.append((number, self._prompt.add(frame, label, f"frame {number}")))

    @property
    def _unknown(self) -> float:
        return self._prompt.settings.void if self._prompt.classes else 0.0
