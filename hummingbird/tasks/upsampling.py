"""Bilinear upsampling of patch grids to pixels: half-pixel centres (align_corners=False), repeated edges."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, Int, Int32


def upsample(grid: Float32[np.ndarray, "h w"], height: int, width: int) -> Float32[np.ndarray, "{height} {width}"]:
    """Resizes a grid to `height` x `width` pixels.

    Example:
      >>> upsample(np.array([[0.0, 1.0]], np.float32), 1, 4)
      array([[0.  , 0.25, 0.75, 1.  ]], dtype=float32)
    """
    rows, columns = grid.shape
    return interpolation(rows, height) @ grid @ interpolation(columns, width).T


def interpolation(source: int, target: int) -> Float32[np.ndarray, "{target} {source}"]:
    """Returns the bilinear weights along one axis; rows sum to 1."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, source - 1)
    weights = np.zeros((target, source))
    weights[np.arange(target), low] += 1 - (position - low)
    weights[np.arange(target), high] += position - low
    return weights.astype(np.float32)


def upsampled_argmax(
    votes: Float32[np.ndarray, "h w C"], height: int, width: int
) -> Int32[np.ndarray, "{height} {width}"]:
    """Returns the argmax over classes of the upsampled votes, without ever holding [height, width, C].

    A class whose votes are nowhere within reach of the winner's is left out: inside the square between four patch
    centres the winner has at least max_c min_corners votes_c, and class c at most max_corners votes_c.

    Returns:
      Class ids; the lowest class on ties.
    """
    classes = contenders(votes)
    best = cv2.resize(votes[..., classes[0]], (width, height), interpolation=cv2.INTER_LINEAR)
    prediction = np.full((height, width), classes[0], np.int32)
    for c in classes[1:]:
        plane = cv2.resize(votes[..., c], (width, height), interpolation=cv2.INTER_LINEAR)
        np.copyto(prediction, np.int32(c), where=plane > best)
        np.maximum(best, plane, out=best)
    return prediction


def contenders(votes: Float32[np.ndarray, "h w C"]) -> Int[np.ndarray, " n"]:
    """Returns the classes that can win somewhere after bilinear upsampling, ascending."""
    padded = np.pad(votes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    corners = (padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])
    least = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3])).max(axis=-1)
    most = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    # A class that ties with the winner everywhere may be dropped only if it has no vote at all.
    reach = (most >= least[..., None]) & (most > 0)
    found = np.flatnonzero(reach.any(axis=(0, 1)))
    return found if len(found) else np.zeros(1, int)
