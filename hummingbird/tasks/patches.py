"""Which pixels of a label lie in which patch of the encoder input, to fractions of a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from hummingbird.errors import UserError

Edges = Float[np.ndarray, " edges"]


class Cells(NamedTuple):
    """The patches of an encoder input as cells of a label, which may have another size: a grid of h x w cells.

    Attributes:
      rows: h + 1 edges in pixels of the label, ascending; between equal ones lies a patch of padding, without a pixel.
      columns: w + 1 edges.
    """

    rows: Edges
    columns: Edges

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return len(self.rows) - 1, len(self.columns) - 1

    @property
    def shown(self) -> tuple[int, int]:
        """Rows and columns of patches that show some of the image; those of padding follow."""
        return int(np.count_nonzero(np.diff(self.rows))), int(np.count_nonzero(np.diff(self.columns)))

    @property
    def areas(self) -> Float64[np.ndarray, " N"]:
        """Pixels in each cell, row by row."""
        return np.outer(np.diff(self.rows), np.diff(self.columns)).ravel()

    def sums(self, values: Float[np.ndarray, "H W"]) -> Float64[np.ndarray, " N"]:
        """Sums the values in each cell, row by row; a pixel that an edge cuts counts by its area in the cell."""
        rows, columns = (
            coverage(edges, length) for edges, length in zip((self.rows, self.columns), values.shape, strict=True)
        )
        return (rows @ values.astype(np.float64) @ columns.T).ravel()

    def bands(
        self, height: int, width: int
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float64[np.ndarray, " n"], Segments]]:
        """Yields each row of cells of a label of this size: its pixel rows, their heights in it, and the columns."""
        rows, columns = segments(self.rows, height), segments(self.columns, width)
        for row in range(len(self.rows) - 1):
            part = slice(*np.searchsorted(rows.cell, (row, row + 1)))
            yield rows.pixel[part], rows.length[part], columns


class Segments(NamedTuple):
    """One side of a label, cut at pixels and cells.

    Attributes:
      cell: cell of each segment, ascending.
      pixel: its pixel.
      length: its length in pixels, above 0.
    """

    cell: Int[np.ndarray, " n"]
    pixel: Int[np.ndarray, " n"]
    length: Float64[np.ndarray, " n"]


def segments(edges: Edges, length: int) -> Segments:
    """Cuts the side of a label of `length` pixels at its pixels and at the edges of cells.

    Example:
      >>> cut = segments(np.array([0.0, 1.5, 3.0]), 3)
      >>> cut.cell.tolist(), cut.pixel.tolist(), cut.length.tolist()
      ([0, 0, 1, 1], [0, 1, 1, 2], [1.0, 0.5, 0.5, 1.0])
    """
    pixels = np.arange(length + 1, dtype=np.float64)
    cuts = np.union1d(edges, pixels[(pixels > edges[0]) & (pixels < edges[-1])])
    middle = (cuts[1:] + cuts[:-1]) / 2
    cell = np.searchsorted(edges, middle, side="right") - 1
    return Segments(cell, middle.astype(np.int64), np.diff(cuts))


def coverage(edges: Edges, length: int) -> Float64[np.ndarray, "cells {length}"]:
    """Returns how much of each pixel of a side lies in each cell.

    Example:
      >>> coverage(np.array([0.0, 1.5, 3.0]), 3).tolist()
      [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    """
    cut, cover = segments(edges, length), np.zeros((len(edges) - 1, length))
    cover[cut.cell, cut.pixel] = cut.length
    return cover


def patch_cells(height: int, width: int, patch: int) -> Cells:
    """Returns the patches of a label at the size of the encoder input.

    Raises:
      UserError: height or width is not a multiple of `patch`.
    """
    if height % patch or width % patch:
        raise UserError(f"label size {height}x{width} is not a multiple of the patch size {patch}")
    rows, columns = (np.arange(0, side + 1, patch, dtype=np.float64) for side in (height, width))
    return Cells(rows, columns)
