"""Bilinear upsampling of patch grids to pixels: half-pixel centres (align_corners=False), repeated edges."""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Integer, Shaped

STRIP_PIXELS = 2**22  # of a large image, worked at a time
CELL_PIXELS = 32_768  # upsampled at a time; their votes stay in a core's cache


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

    The pixels between four patch centres form a cell. Of the classes, only the contenders of each cell are upsampled
    there: usually one to seven, however many the image holds.

    Returns:
      Class ids; the lowest class on ties.

    Example:
      >>> votes = np.array([[[1.0, 0.0], [0.0, 1.0]]], np.float32)
      >>> upsampled_argmax(votes, 1, 5)
      array([[0, 0, 0, 1, 1]], dtype=int32)
    """
    return _winners(votes, height, width, only_contested=True).classes


class Winners(NamedTuple):
    """The class with the largest vote at each pixel, and that vote.

    Attributes:
      classes: ids; the lowest class on ties.
      votes: of the winning class.
    """

    classes: Int32[np.ndarray, "height width"]
    votes: Float32[np.ndarray, "height width"]


def upsampled_winners(votes: Float32[np.ndarray, "h w C"], height: int, width: int) -> Winners:
    """Returns what `upsampled_argmax` does, and the upsampled vote of the winning class.

    Example:
      >>> votes = np.array([[[0.75, 0.25], [0.0, 1.0]]], np.float32)
      >>> upsampled_winners(votes, 1, 4).votes
      array([[0.75  , 0.5625, 0.8125, 1.    ]], dtype=float32)
    """
    return _winners(votes, height, width, only_contested=False)


def _winners(votes: Float32[np.ndarray, "h w C"], height: int, width: int, only_contested: bool) -> Winners:
    """Returns the winners, strip by strip; without votes where a cell has one contender if `only_contested`."""
    rows, columns = cell_axis(votes.shape[0], height), cell_axis(votes.shape[1], width)
    padded = np.pad(votes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    found = Winners(np.empty((height, width), np.int32), np.zeros((height, width), np.float32))
    cell = rows.place // rows.most  # of each row of pixels
    strip = max(1, STRIP_PIXELS // (rows.most * columns.most * len(columns.share)))
    for top in range(0, len(rows.share), strip):
        share = rows.share[top : top + strip]
        pixels = slice(*np.searchsorted(cell, (top, top + len(share))))
        part = CellAxis(share, rows.most, rows.place[pixels] - top * rows.most)
        _strip_winners(padded[top : top + len(share) + 1], part, columns, only_contested, found, pixels)
    return found


def _strip_winners(
    padded: Float32[np.ndarray, "h w C"],
    rows: CellAxis,
    columns: CellAxis,
    only_contested: bool,
    found: Winners,
    pixels: slice,
) -> None:
    """Writes the winners in rows of cells to the rows `pixels` of `found`; `padded` are the votes at their corners."""
    corners, possible = _contenders(padded)
    classes = np.argsort(~possible, axis=1, kind="stable")  # contenders first, ascending
    counts = possible.sum(axis=1)
    best = np.empty((len(counts), rows.most, columns.most), np.min_scalar_type(padded.shape[2]))
    best[:] = classes[:, 0, None, None]
    most = None if only_contested else np.zeros(best.shape, np.float32)
    order = np.argsort(counts, kind="stable")
    if only_contested:
        order = order[np.searchsorted(counts[order], 2) :]  # one contender: no need to compute
    step = max(1, CELL_PIXELS // (rows.most * columns.most))
    for start in range(0, len(order), step):
        cells = order[start : start + step]
        chosen = classes[cells, : counts[cells[-1]]]
        beyond = np.arange(chosen.shape[1]) >= counts[cells, None]
        chosen[beyond] = np.broadcast_to(chosen[:, :1], chosen.shape)[beyond]
        row, column = np.divmod(cells, len(columns.share))
        near = corners[:, cells[:, None], chosen]
        best[cells], votes = cell_winners(near, chosen, rows.share[row], columns.share[column])
        if most is not None:
            most[cells] = votes
    found.classes[pixels] = _assemble(best, rows, columns)
    if most is not None:
        found.votes[pixels] = _assemble(most, rows, columns)


def _assemble(
    table: Shaped[np.ndarray, "cells H W"], rows: CellAxis, columns: CellAxis
) -> Shaped[np.ndarray, "height width"]:
    """Puts the pixels of all cells in their places: [cells down, cells across, pixels down, pixels across] -> image."""
    table = table.reshape(len(rows.share), len(columns.share), rows.most, columns.most).transpose(0, 2, 1, 3)
    table = table.reshape(len(rows.share) * rows.most, -1)
    return table[rows.place][:, columns.place]  # without those that a smaller cell lacks


class CellAxis(NamedTuple):
    """The cells along one axis of an image: before the first patch centre, between two, and after the last.

    Attributes:
      share: how far each pixel of a cell lies from the one centre to the next, 0-1; 0 beyond its last pixel.
      most: pixels of the largest cell.
      place: for each pixel of the image, cell * most + its number in the cell.
    """

    share: Float32[np.ndarray, "cells most"]
    most: int
    place: Int[np.ndarray, " pixels"]


@functools.lru_cache(maxsize=64)
def cell_axis(patches: int, pixels: int) -> CellAxis:
    """Divides the pixels along an axis into cells between the centres of patches."""
    position = (np.arange(pixels) + 0.5) * patches / pixels - 0.5
    cell = np.floor(position).astype(int) + 1
    counts = np.bincount(cell, minlength=patches + 1)
    most, number = int(counts.max()), np.arange(pixels) - (np.cumsum(counts) - counts)[cell]
    share = np.zeros((patches + 1, most), np.float32)
    share[cell, number] = position - np.floor(position)
    return CellAxis(share, most, cell * most + number)


def contenders(
    votes: Float32[np.ndarray, "h w C"],
) -> tuple[Float32[np.ndarray, "4 cells C"], Bool[np.ndarray, "cells C"]]:
    """Finds the classes that can win somewhere in each cell after bilinear upsampling.

    Inside a cell the winner has at least max_c min_corners votes_c, and class c at most max_corners votes_c.

    Returns:
      The votes at the corners of the (h + 1) (w + 1) cells, row by row, and which classes can win; at least class 0.
    """
    return _contenders(np.pad(votes, ((1, 1), (1, 1), (0, 0)), mode="edge"))


def _contenders(
    padded: Float32[np.ndarray, "h w C"],
) -> tuple[Float32[np.ndarray, "4 cells C"], Bool[np.ndarray, "cells C"]]:
    """Returns what `contenders` does, given the votes at the corners of cells."""
    corners = np.stack([padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]])
    corners = corners.reshape(4, -1, padded.shape[2])
    most = corners.max(axis=0)
    # A class that ties with the winner everywhere may be dropped only if it has no vote at all.
    possible = (most >= corners.min(axis=0).max(axis=1, keepdims=True)) & (most > 0)
    possible[~possible.any(axis=1), 0] = True
    return corners, possible


def cell_winners(
    corners: Float32[np.ndarray, "4 n m"],
    classes: Int[np.ndarray, "n m"],
    down: Float32[np.ndarray, "n H"],
    across: Float32[np.ndarray, "n W"],
) -> tuple[Integer[np.ndarray, "n H W"], Float32[np.ndarray, "n H W"]]:
    """Returns the class with the largest vote at each pixel of n cells, the first of `classes` on ties, and its vote.

    Args:
      corners: votes at the upper left, upper right, lower left and lower right corner.
      classes: m candidates of each cell, ascending; the first one repeated where there are fewer.
      down, across: where the pixels lie between the corners, 0-1.
    """
    down, across = down[:, None, :], across[:, None, :]
    left = corners[0, ..., None] * (1 - down) + corners[2, ..., None] * down  # [n, m, H]
    right = corners[1, ..., None] * (1 - down) + corners[3, ..., None] * down
    best: Float32[np.ndarray, "n H W"] = _blend(left[:, 0], right[:, 0], across)
    found = np.empty(best.shape, np.min_scalar_type(int(classes.max())))
    found[:] = classes[:, 0, None, None]
    for number in range(1, classes.shape[1]):
        plane = _blend(left[:, number], right[:, number], across)
        np.copyto(found, classes[:, number, None, None].astype(found.dtype), where=plane > best)
        np.maximum(best, plane, out=best)
    return found, best


def _blend(
    left: Float32[np.ndarray, "n H"], right: Float32[np.ndarray, "n H"], across: Float32[np.ndarray, "n 1 W"]
) -> Float32[np.ndarray, "n H W"]:
    return left[:, :, None] * (1 - across) + right[:, :, None] * across
