"""From neighbours to predictions and explanations (Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32

from hummingbird.errors import UserError
from hummingbird.incontext.answers import Box, Confidence, Neighbour, Prediction
from hummingbird.incontext.encoded import Encoded, Frame
from hummingbird.incontext.images import Image
from hummingbird.incontext.labels import Kind
from hummingbird.incontext.nearest import Nearest, search
from hummingbird.incontext.refine import refined_values, refined_winners
from hummingbird.incontext.snapshot import Snapshot
from hummingbird.retrieval.decode import attention_weights
from hummingbird.tasks import BankLabels, Task
from hummingbird.tasks.upsampling import interpolation, upsampled_winners


class Votes(NamedTuple):
    """What the neighbours of N patches say.

    Attributes:
      votes: their weighted labels.
      similarity: of the nearest one.
      agreement: 1 minus their variance over that of all labels; None for classes.
    """

    votes: Float32[np.ndarray, "N C"]
    similarity: Float32[np.ndarray, " N"]
    agreement: Float32[np.ndarray, " N"] | None


def vote(now: Snapshot, nearest: Nearest, k: int, beta: float) -> Votes:
    """Lets the neighbours of patches vote."""
    weights, keys = attention_weights(nearest.similarity[:, :k], beta), now.keys(nearest.numbers[:, :k])
    agreeing = None if now.task.has_classes else agreement(now.labels, keys, weights)
    return Votes(now.labels.vote(keys, weights), nearest.similarity[:, 0], agreeing)


def join(parts: Sequence[Votes]) -> Votes:
    """Joins the votes of patches that follow one another."""
    agreeing = [x.agreement for x in parts if x.agreement is not None]
    return Votes(
        np.concatenate([x.votes for x in parts]),
        np.concatenate([x.similarity for x in parts]),
        np.concatenate(agreeing) if agreeing else None,
    )


def decide(task: Task, kind: Kind, found: Votes, frame: Frame, guide: Image | None) -> Prediction:
    """Turns the votes of the patches of an image into labels of its pixels; refined by the image, if it is given."""

    def maps(values: Float32[np.ndarray, "N ..."]) -> Float32[np.ndarray, "h w *C"]:
        rows, columns = frame.cells.shown
        return np.ascontiguousarray(values.reshape(*frame.cells.grid, *values.shape[1:])[:rows, :columns])

    inside, votes = np.s_[: frame.height, : frame.width], maps(found.votes)
    if found.agreement is None:
        labels, share = (
            upsampled_winners(votes, *frame.canvas) if guide is None else refined_winners(votes, frame.canvas, guide)
        )
    else:
        if guide is None:
            labels = task.predict(votes, *frame.canvas)
        else:  # each pixel is then a patch, for the task to finish
            labels = task.predict(refined_values(votes, frame.canvas, guide), frame.height, frame.width)
        share = resize(maps(found.agreement), frame.canvas)
    similarity = resize(maps(found.similarity), frame.canvas)
    return Prediction(kind.from_task(labels[inside]), Confidence(share[inside], similarity[inside]))


def resize(grid: Float32[np.ndarray, "h w"], canvas: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Upsamples a grid as `hummingbird.tasks.upsampling.upsample` does, but for rounding; several times as fast."""
    return cv2.resize(grid, canvas[::-1], interpolation=cv2.INTER_LINEAR)


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
    frame = encoded.frame
    if not (0 <= y < frame.height and 0 <= x < frame.width):
        raise UserError(f"pixel ({y}, {x}) lies outside of the image of {frame.height}x{frame.width} pixels")
    (rows, columns), canvas = frame.cells.shown, frame.canvas
    down, across = interpolation(rows, canvas[0])[y], interpolation(columns, canvas[1])[x]
    near = [(i, j) for i in np.flatnonzero(down) for j in np.flatnonzero(across)]
    queries = np.array([i * frame.cells.grid[1] + j for i, j in near])
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
    cells = segment.encoded.frame.cells
    row, column = divmod(patch, len(cells.columns) - 1)
    edges = (cells.rows[row], cells.columns[column], cells.rows[row + 1], cells.columns[column + 1])
    one = now.labels.vote(now.keys(np.array([[number]], np.int32)), np.ones((1, 1)))[0]
    ids = kind.from_task(np.arange(len(one))) if now.task.has_classes else np.arange(len(one))
    label = {int(i): float(v) for i, v in zip(ids, one, strict=True) if v or not now.task.has_classes}
    return Neighbour(segment.id, Box(*map(float, edges)), weight, similarity, label)
