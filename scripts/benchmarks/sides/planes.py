"""Argmax of upsampled votes with one set of candidates for the whole image: one plane of pixels for each of them."""

from __future__ import annotations

import cv2
import numpy as np


def upsampled_argmax(votes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Upsamples votes [h, w, C] class by class, those that can win somewhere; returns class ids [height, width]."""
    padded = np.pad(votes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    corners = np.stack([padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]])
    least, most = corners.min(axis=0).max(axis=-1), corners.max(axis=0)
    classes = np.flatnonzero(((most >= least[..., None]) & (most > 0)).any(axis=(0, 1)))
    best = cv2.resize(votes[..., classes[0]], (width, height), interpolation=cv2.INTER_LINEAR)
    prediction = np.full((height, width), classes[0], np.int32)
    for c in classes[1:]:
        plane = cv2.resize(votes[..., c], (width, height), interpolation=cv2.INTER_LINEAR)
        np.copyto(prediction, np.int32(c), where=plane > best)
        np.maximum(best, plane, out=best)
    return prediction
