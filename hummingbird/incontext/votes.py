"""From neighbours to predictions and explanations (Eq. 1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from hummingbird.errors import UserError
from hummingbird.incontext.answers import Box, Confidence, Neighbour, Prediction
from hummingbird.incontext.encoded import Encoded
from hummingbird.incontext.labels import Kind
from hummingbird.incontext.snapshot import Snapshot
from hummingbird.retrieval.decode import attention_weights
from hummingbird.tasks.upsampling import interpolation, upsample


def predict(now: Snapshot, kind: Kind, encoded: Encoded, k: int, beta: float) -> Prediction:
    """Predicts the labels of an image."""
    rows, columns = encoded.shown
    ids, similarity = now.search(encoded.features, min(k, len(now)))
    votes = now.labels.vote(ids, attention_weights(similarity, beta)).reshape(*encoded.grid, -1)
    votes = np.ascontiguousarray(votes[:rows, :columns])
    (height, width), canvas = encoded.size, encoded.canvas
    found = now.task.predict(votes, *canvas)[:height, :width]
    share = (
        shares(votes, found, canvas) if kind.classes or now.task.has_classes else np.ones((height, width), np.float32)
    )
    nearest = similarity[:, 0].reshape(encoded.grid)[:rows, :columns]
    return Prediction(kind.from_task(found), Confidence(share, upsample(nearest, *canvas)[:height, :width]))


def shares(
    votes: Float32[np.ndarray, "h w C"], found: np.ndarray, canvas: tuple[int, int]
) -> Float32[np.ndarray, "H W"]:
    """Returns the upsampled share of the predicted class at each pixel."""
    height, width = found.shape
    down, across = interpolation(votes.shape[0], canvas[0])[:height], interpolation(votes.shape[1], canvas[1])[:width]
    best = np.zeros((height, width), np.float32)
    for number in np.unique(found):
        plane = down @ votes[..., number] @ across.T
        np.copyto(best, plane, where=found == number)
    return best


def explain(now: Snapshot, kind: Kind, encoded: Encoded, y: int, x: int, k: int, beta: float) -> list[Neighbour]:
    """Returns the neighbours that decided the label of a pixel; see `Prompt.explain`."""
    height, width = encoded.size
    if not (0 <= y < height and 0 <= x < width):
        raise UserError(f"pixel ({y}, {x}) lies outside of the image of {height}x{width} pixels")
    (rows, columns), canvas = encoded.shown, encoded.canvas
    down, across = interpolation(rows, canvas[0])[y], interpolation(columns, canvas[1])[x]
    near = [(i, j) for i in np.flatnonzero(down) for j in np.flatnonzero(across)]
    queries = np.array([i * encoded.grid[1] + j for i, j in near])
    ids, similarity = now.search(encoded.features[queries], min(k, len(now)))
    shares = np.array([down[i] * across[j] for i, j in near])
    weights = attention_weights(similarity, beta) * (shares / shares.sum())[:, None]
    found: dict[int, tuple[float, float]] = {}
    flat = ids.ravel().tolist(), weights.ravel().tolist(), similarity.ravel().tolist()
    for key, weight, alike in zip(*flat, strict=True):
        if key >= 0:
            before = found.get(key, (0.0, -1.0))
            found[key] = before[0] + weight, max(before[1], alike)
    order = sorted(found, key=lambda key: -found[key][0])
    return [neighbour(now, kind, key, *found[key]) for key in order]


def neighbour(now: Snapshot, kind: Kind, key: int, weight: float, similarity: float) -> Neighbour:
    """Describes a key."""
    segment, patch = now.place(key)
    cells = segment.encoded.cells
    row, column = divmod(patch, len(cells.columns) - 1)
    edges = (cells.rows[row], cells.columns[column], cells.rows[row + 1], cells.columns[column + 1])
    one = now.labels.vote(np.array([[key]]), np.ones((1, 1)))[0]
    ids = kind.from_task(np.arange(len(one))) if now.task.has_classes else np.arange(len(one))
    label = {int(i): float(v) for i, v in zip(ids, one, strict=True) if v or not now.task.has_classes}
    return Neighbour(segment.id, Box(*map(float, edges)), weight, similarity, label)
