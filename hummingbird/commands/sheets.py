"""Contact sheets: small pictures of images, masks and depth maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from hummingbird.tasks import Task

TILE = 224  # pixels on the long side
GAP = 4
BACKGROUND = 255


def fit(picture: np.ndarray) -> np.ndarray:
    """The picture on a square tile, uint8 [TILE, TILE, 3], scaled to fit."""
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    tile = np.full((TILE, TILE, 3), BACKGROUND, np.uint8)
    top, left = (TILE - small.shape[0]) // 2, (TILE - small.shape[1]) // 2
    tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    return tile


def grid(tiles: np.ndarray) -> np.ndarray:
    """uint8 [columns, rows, H, W, 3] -> one picture."""
    padded = np.pad(tiles, ((0, 0), (0, 0), (GAP, GAP), (GAP, GAP), (0, 0)), constant_values=BACKGROUND)
    columns, rows, height, width, _ = padded.shape
    return padded.transpose(1, 2, 0, 3, 4).reshape(rows * height, columns * width, 3)


def contact(items: Sequence[dict[str, Any]], task: Task | None = None) -> np.ndarray:
    """Items of a source, eight in a row; their labels below, if they are of a task."""
    columns: list[list[np.ndarray]] = []
    for item in items:
        tiles = [fit(item["image"])]
        if task is not None:
            tiles.append(fit(task.paint(item["label"])))
        columns.append(tiles)
    if not columns:
        return np.full((1, 1, 3), BACKGROUND, np.uint8)
    blank = np.full((TILE, TILE, 3), BACKGROUND, np.uint8)
    columns += [[blank] * len(columns[0])] * (-len(columns) % 8 if len(columns) > 8 else 0)
    return np.concatenate([grid(np.array(columns[i : i + 8])) for i in range(0, len(columns), 8)])
