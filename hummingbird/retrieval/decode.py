"""From neighbours to predictions: attention over labels (Eq. 1) and bilinear upsampling."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from hummingbird.errors import UserError


def cross_attend(q: Any, keys: Any, values: Any, beta: float) -> np.ndarray:
    """Cross-attention CA(q, k, v) of Eq. 1: softmax over j of cos(q, k_j) / beta, times v_j.

    Args:
      q: queries [Q, D]; not looked at (None is fine) where `keys` holds scores.
      keys: keys of each query [Q, k, D], of all queries [M, D] (then values are [M, C]), or cosine similarities
        [Q, k] (then values are [Q, k, C]), -inf for neighbours that are not there.
      values: [Q, k, C] or [M, C].
      beta: temperature, above 0.

    Returns:
      [Q, C] in the wider of float32 and the inputs' type.
    """
    keys, values = np.asarray(keys), np.asarray(values)
    dtype = np.result_type(np.float32, keys.dtype, values.dtype)
    if keys.ndim == 3:
        similarity = np.einsum("qd,qkd->qk", _unit(q, dtype), _unit(keys, dtype))
    elif values.ndim == 2:
        similarity = _unit(q, dtype) @ _unit(keys, dtype).T
    else:
        similarity = keys.astype(dtype)
    weights = attention_weights(similarity, beta)
    return np.einsum("qk,qkc->qc" if values.ndim == 3 else "qk,kc->qc", weights, values).astype(dtype)


def attention_weights(similarity: np.ndarray, beta: float) -> np.ndarray:
    """Softmax over the last axis of similarity / beta, float64 [Q, k]; -inf gets weight 0.

    UserError if a query has no neighbour at all.
    """
    logits = np.asarray(similarity, np.float64) / beta
    top = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        raise UserError("a query patch has no neighbour in the memory bank: raise retrieval.scann.leaves_to_search")
    weights = np.exp(logits - top)
    return weights / weights.sum(axis=-1, keepdims=True)


def _unit(x: Any, dtype: np.dtype) -> np.ndarray:
    x = np.asarray(x, dtype)
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norm == 0, 1, norm)


# ---------------------------------------------------------------- upsampling
def upsample(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize with half-pixel centres (align_corners=False) and repeated edges.

    Args:
      grid: float32 [h, w]. height, width: size wanted, pixels.

    Returns:
      float32 [height, width].
    """
    rows, columns = grid.shape
    return interpolation(rows, height) @ grid @ interpolation(columns, width).T


def interpolation(source: int, target: int) -> np.ndarray:
    """Bilinear weights along one axis, float32 [target, source]; rows sum to 1."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, source - 1)
    weights = np.zeros((target, source))
    weights[np.arange(target), low] += 1 - (position - low)
    weights[np.arange(target), high] += position - low
    return weights.astype(np.float32)


def upsampled_argmax(votes: np.ndarray, height: int, width: int) -> np.ndarray:
    """argmax over classes of the upsampled votes, without ever holding [height, width, C].

    A class whose votes are nowhere within reach of the winner's is left out: inside the square between four patch
    centres the winner has at least max_c min_corners votes_c, and class c at most max_corners votes_c.

    Args:
      votes: float32 [h, w, C].

    Returns:
      int32 [height, width]; the lowest class on ties.
    """
    classes = contenders(votes)
    best = cv2.resize(votes[..., classes[0]], (width, height), interpolation=cv2.INTER_LINEAR)
    prediction = np.full((height, width), classes[0], np.int32)
    for c in classes[1:]:
        plane = cv2.resize(votes[..., c], (width, height), interpolation=cv2.INTER_LINEAR)
        np.copyto(prediction, np.int32(c), where=plane > best)
        np.maximum(best, plane, out=best)
    return prediction


def contenders(votes: np.ndarray) -> np.ndarray:
    """Classes that can win somewhere after bilinear upsampling of votes [h, w, C], ascending."""
    padded = np.pad(votes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    corners = (padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])
    least = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3])).max(axis=-1)
    most = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    # A class that ties with the winner everywhere may be dropped only if it has no vote at all.
    reach = (most >= least[..., None]) & (most > 0)
    found = np.flatnonzero(reach.any(axis=(0, 1)))
    return found if len(found) else np.zeros(1, int)
