"""The sheet of a training run's pictures: each row has an image's views, pooling attention and nearest bank entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from hummingbird.tasks.drawing import Picture, Tile, overlay_heat, resize, sheet

SIDE = 160  # of a tile, pixels


class Row(NamedTuple):
    """One image.

    Attributes:
      title: its name on the sheet.
      views: as the network got them, in [0, 1].
      masks: attention weights of each view, summing to 1; drawn over the view if N is a square.
      neighbours: similarity of each bank entry and, where known, a small picture of its image and the image's number.
    """

    title: str
    views: Float[np.ndarray, "V S S 3"]
    masks: Float[np.ndarray, "V N"]
    neighbours: Sequence[tuple[float, tuple[UInt8[np.ndarray, "t t 3"], int] | None]]


def draw(title: str, rows: Sequence[Row]) -> Picture:
    """Draws the sheet."""
    count = len(rows[0].views)
    heads = {2 * i: f"view {i + 1}" for i in range(count)} | {2 * i + 1: "pooling attention" for i in range(count)}
    notes = []
    if _side(rows[0].masks[0]):
        notes.append("Attention: the brighter, the more; the caption gives its peak relative to an even spread.")
    if rows[0].neighbours:
        heads[2 * count] = "nearest to the mean token of view 1 in the memory bank"
        text = "Neighbours: cosine similarity and image number; the picture is the crop that made the entry"
        unknown = any(known is None for row in rows for _, known in row.neighbours)
        notes.append(text + ("; grey: written before the last restart, image unknown." if unknown else "."))
    return sheet([_tiles(row) for row in rows], SIDE, title, heads, notes, gap_before=2 * count)


def _tiles(row: Row) -> list[Tile]:
    pictures = [np.round(255 * np.clip(view, 0, 1)).astype(np.uint8) for view in row.views]
    tiles: list[Tile] = []
    for i, pair in enumerate(zip(pictures, row.masks, strict=True)):
        tiles += [Tile(pair[0], "" if i else row.title), _attention(*pair)]
    for similarity, known in row.neighbours:
        if known is None:
            tiles.append(Tile(None, f"{similarity:.3f}", "unknown"))
        else:
            tiles.append(Tile(known[0], f"{similarity:.3f}   image {known[1]}"))
    return tiles


def _attention(view: Picture, mask: Float[np.ndarray, " N"]) -> Tile:
    """Draws attention over a view, with its peak."""
    side = _side(mask)
    if not side:
        return Tile(None, "", "no map: a [CLS] token")
    heat = overlay_heat(resize(view, SIDE, SIDE), mask.reshape(side, side))
    return Tile(heat, f"peak {mask.max() * mask.size:.1f} x even")


def _side(mask: Float[np.ndarray, " N"]) -> int:
    """Returns the tokens along a side of the map; 0 if the mask is no map, as with [CLS] pooling."""
    side = round(mask.size**0.5)
    return side if side * side == mask.size and side > 1 else 0
