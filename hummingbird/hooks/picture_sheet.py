"""The sheet of a training run's pictures: a row an image: its views, the pooling attention, its nearest in the bank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 160  # side, pixels
GAP = 8
TEXT = 20  # height of a line of text
MARGIN = 12
INK, PALE, PAPER, BLANK = (25, 25, 25), (110, 110, 110), (255, 255, 255), (215, 215, 215)
HEAT = cv2.COLORMAP_INFERNO


class Row(NamedTuple):
    """One image.

    Attributes:
      title: what it is called.
      views: float32 [2, S, S, 3] in [0, 1].
      masks: float32 [2, N], weights that sum to 1; drawn where N is a square, as a map over the views.
      neighbours: similarity, and what is known of the bank entry: a small picture uint8 [t, t, 3] and its number.
    """

    title: str
    views: np.ndarray
    masks: np.ndarray
    neighbours: Sequence[tuple[float, tuple[np.ndarray, int] | None]]


def draw(title: str, rows: Sequence[Row]) -> np.ndarray:
    """The sheet, uint8 [H, W, 3]."""
    count = max(len(row.neighbours) for row in rows)
    columns = 4 + count
    line = TILE + TEXT + GAP
    lefts = [MARGIN + i * (TILE + GAP) + (2 * GAP if i >= 4 else 0) for i in range(columns)]
    top = MARGIN + 2 * TEXT + GAP
    notes = _notes(rows)
    size = (max(lefts) + TILE + MARGIN, top + len(rows) * line + TEXT * len(notes) + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, INK, _font(17))
    heads = {0: "view 1", 1: "pooling attention", 2: "view 2", 3: "pooling attention"}
    if count:
        heads[4] = "nearest to the mean token of view 1 in the memory bank"
    for column, head in heads.items():
        pen.text((lefts[column], MARGIN + TEXT), head, INK, _font(13))
    for i, row in enumerate(rows):
        y = top + i * line
        pictures = [_enlarged(view) for view in row.views]
        tiles = [(pictures[0], row.title), _overlay(pictures[0], row.masks[0])]
        tiles += [(pictures[1], ""), _overlay(pictures[1], row.masks[1])]
        tiles += [_neighbour(*neighbour) for neighbour in row.neighbours]
        for left, (tile, caption) in zip(lefts, tiles, strict=False):
            sheet.paste(Image.fromarray(tile), (left, y))
            pen.text((left, y + TILE + 1), caption, PALE, _font(12))
    for i, note in enumerate(notes):
        pen.text((MARGIN, top + len(rows) * line + i * TEXT), note, PALE, _font(12))
    return np.asarray(sheet)


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    if _side(rows[0].masks) > 1:
        notes.append("Attention: black is none, bright is most; the caption gives its peak, 1 x is an even spread.")
    if rows[0].neighbours:
        text = "Neighbours: cosine similarity and the number of the image whose first view, as cropped, made the entry"
        unknown = any(known is None for row in rows for _, known in row.neighbours)
        notes.append(text + ("; grey: written before this start, its image is not known." if unknown else "."))
    return notes


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _side(masks: np.ndarray) -> int:
    """Tokens along a side of the map that the masks [2, N] are; 0 if they are no map, as with [CLS] pooling."""
    side = round(masks.shape[-1] ** 0.5)
    return side if side * side == masks.shape[-1] and side > 1 else 0


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """A square picture at the size of a tile: pixels stay visible when it grows."""
    if picture.dtype != np.uint8:
        picture = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    how = cv2.INTER_NEAREST if picture.shape[0] <= TILE else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(picture), (TILE, TILE), interpolation=how)


def _overlay(picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, str]:
    """The attention [N] as heat over the picture in grey, and its peak."""
    side = _side(mask[None])
    if not side:
        return np.full_like(picture, BLANK), "no map: a [CLS] token"
    relative = mask.reshape(side, side) * mask.size  # 1 is an even spread
    heat = np.round(255 * relative / max(relative.max(), 2.0)).astype(np.uint8)
    heat = cv2.resize(heat, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    colours = cv2.applyColorMap(heat, HEAT)[..., ::-1].astype(np.float32)
    grey = picture.astype(np.float32).mean(axis=-1, keepdims=True)
    return np.round(0.35 * grey + 0.65 * colours).astype(np.uint8), f"peak {relative.max():.1f} x even"


def _neighbour(similarity: float, known: tuple[np.ndarray, int] | None) -> tuple[np.ndarray, str]:
    if known is None:
        tile = Image.new("RGB", (TILE, TILE), BLANK)
        ImageDraw.Draw(tile).text((TILE / 2, TILE / 2), "not known", PALE, _font(13), anchor="mm")
        return np.asarray(tile), f"{similarity:.3f}"
    picture, index = known
    return _enlarged(picture), f"{similarity:.3f}   image {index}"
