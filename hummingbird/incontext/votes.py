"""From neighbours to predictions and explanations (Eq. 1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int32

from hummingbird.errors import UserError
from hummingbird.incontext.answers import Box, Confidence, Neighbour, Prediction
from hummingbird.incontext.encoded import Encoded
from hummingbird.incontext.labels import Kind
from hummingbird.incontext.nearest import Nearest, search
from hummingbird.incontext.snapshot import Snapshot
from hummingbird.retrieval.decode import attention_weights
from hummingbird.tasks import BankLabels
from hummingbird.tasks.upsampling import interpolation, upsample, upsampled_winners


def predict(now: Snapshot, kind: Kind, encoded: Encoded, nearest: Nearest, k: int, beta: float) -> Prediction:
    """Predicts the labels of an image from the neighbours of its patches."""
    rows, columns = encoded.shown
    (height, width), canvas = encoded.size, encoded.canvas
    similarity = nearest.similarity[:, :k]
    weights = attention_weights(similarity, beta)
    votes = now.labels.vote(now.keys(nearest.numbers[:, :k]), weights)
    votes = np.ascontiguousarray(votes.reshape(*encoded.grid, -1)[:rows, :columns])
    if now.task.has_classes:
        found, share = upsampled_winners(votes, *canvas)
    else:
        found = now.task.predict(votes, *canvas)
        agreeing = agreement(now.labels, now.keys(nearest.numbers[:, :k]), weights).reshape(encoded.grid)
        share = upsample(agreeing[:rows, :columns], *canvas)
    best = upsample(similarity[:, 0].reshape(encoded.grid)[:rows, :columns], *canvas)
    return Prediction(kind.from_task(found[:height, :width]), Confidence(share[:height, :width], best[:height, :width]))


def agreement(
    labels: BankLabels, keys: Int32[np.ndarray, "Q k"], weights: Float[np.ndarray, "Q k"]
) -> Float32[np.ndarray, " Q"]:
    """Returns 1 minus the variance of each query's neighbours over that of all labels, at least 0."""
    values = labels.columns()["label_values"].astype(np.float64)
    spread = values.var(axis=0).sum()
    if spread == 0:
        return np.ones(len(keys), np.float32)
    near = np.where(keys[..., None] >= 0, values[keys], 0.0)
    mean = np.einsum("qk,qkc->qc", weights, near)
    variance = np.einsum("qk,qkc->q", weights, (near - mean[:, None]) ** 2)
    return np.clip(1 - variance / spread, 0, 1).astype(np.float32)


def explain(now: Snapshot, kind: Kind, encoded: Encoded, y: int, x: int, k: int, beta: float) -> list[Neighbour]:
    """Returns the neighbours that decided the label of a pixel; see `Prompt.explain`."""
    height, width = encoded.size
    if not (0 <= y < height and 0 <= x < width):
        raise UserError(f"pixel ({y}, {x}) lies outside of the image of {height}x{width} pixels")
    (rows, columns), canvas = encoded.shown, encoded.canvas
    down, across = interpolation(rows, canvas[0])[y], interpolation(columns, canvas[1])[x]
    near = [(i, j) for i in np.flatnonzero(down) for j in np.flatnonzero(across)]
    queries = np.array([i * encoded.grid[1] + j for i, j in near])
    found = search(now, encoded.features[queries], min(k, len(now)))
    shares = np.array([down[i] * across[j] for i, j in near])
    weights = attention_weights(found.similarity, beta) * (shares / shares.sum())[:, None]
    sums: dict[int, tuple[float, float]] = {}
    flat = found.numbers.ravel().tolist(), weights.ravel().tolist(), found.similarity.ravel().tolist()
    for number, weight, alike in zip(*flat, strict=True):
        before = sums.get(number, (0.0, -1.0))
        sums[number] = before[0] + weight, max(before[1], alike)
    order = sorted(sums, key=lambda number: -sums[number][0])
    return [neighbour(now, kind, number, *sums[number]) for number in order]


def neighbour(now: Snapshot, kind: Kind, number: int, weight: float, similarity: float) -> Neighbour:
    """Describes a key."""
    segment, patch = now.place(number)
    cells = segment.encoded.cells
    row, column = divmod(patch, len(cells.columns) - 1)
    edges = (cells.rows[row], cells.columns[column], cells.rows[row + 1], cells.columns[column + 1])
    one = now.labels.vote(now.keys(np.array([[number]], np.int32)), np.ones((1, 1)))[0]
    ids = kind.from_task(np.arange(len(one))) if now.task.has_classes else np.arange(len(one))
    label = {int(i): float(v) for i, v in zip(ids, one, strict=True) if v or not now.task.has_classes}
    return Neighbour(segment.id, Box(*map(float, edges)), weight, similarity, label)
