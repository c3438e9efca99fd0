"""Contact sheets: small pictures of images, masks and depth maps side by side."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np

TILE = 224  # pixels on the long side
GAP = 4
BACKGROUND = 255


def colour(label: np.ndarray, classes: int, ignore: int) -> np.ndarray:
    """A mask or depth map [H, W] as uint8 [H, W, 3]: hues that stay apart for neighbouring ids; void is white."""
    if np.issubdtype(label.dtype, np.floating):
        valid = label > 0
        low, high = (label[valid].min(), label[valid].max()) if valid.any() else (0.0, 1.0)
        picture = matplotlib.colormaps["magma_r"]((label - low) / max(high - low, 1e-6))[..., :3]
        return np.where(valid[..., None], np.round(picture * 255), 255).astype(np.uint8)
    # the golden ratio spreads any number of hues; three brightnesses tell apart those that come close
    palette = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, (0.95, 0.7, 0.5)[i % 3]) for i in range(classes)]
    table = np.full((max(classes, ignore) + 1, 3), 255, np.uint8)
    table[:classes] = np.round(np.array(palette).reshape(classes, 3) * 255)
    table[ignore] = 255
    return table[label]


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


def contact(items: Sequence[dict[str, Any]], classes: int = 0, ignore: int = 255) -> np.ndarray:
    """Items of a source, eight in a row; where they have dense labels, those below."""
    columns: list[list[np.ndarray]] = []
    for item in items:
        tiles = [fit(item["image"])]
        if isinstance(item["label"], np.ndarray):
            tiles.append(fit(colour(item["label"], classes, ignore)))
        columns.append(tiles)
    if not columns:
        return np.full((1, 1, 3), BACKGROUND, np.uint8)
    blank = np.full((TILE, TILE, 3), BACKGROUND, np.uint8)
    columns += [[blank] * len(columns[0])] * (-len(columns) % 8 if len(columns) > 8 else 0)
    return np.concatenate([grid(np.array(columns[i : i + 8])) for i in range(0, len(columns), 8)])
