"""What the page is made of: cells with pictures, and the sections that the template draws.

Everything here holds text, numbers and `data:` addresses, never markup, except `Markup` that `charts` has made.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image

from hummingbird.tasks.drawing import Picture, fit
from hummingbird.tasks.painting import Swatch

LONGEST = 400  # longer side of a picture, pixels


# ---------------------------------------------------------------- cells
class Frame(NamedTuple):
    """A rectangle over a picture, in percent of its sides.

    Attributes:
      mark: text beside it.
    """

    top: float
    left: float
    height: float
    width: float
    mark: str = ""


class Cell(NamedTuple):
    """A picture in the page.

    Attributes:
      src: `data:` address.
      caption: below it.
      frames: over it.
      stretch: height and width of the aspect ratio to show it in; None: its own.
    """

    src: str
    caption: str = ""
    frames: Sequence[Frame] = ()
    stretch: tuple[int, int] | None = None


def photo(image: Picture, caption: str = "", frames: Sequence[Frame] = ()) -> Cell:
    """Returns the cell of a photograph."""
    return Cell(jpeg(fit(image, LONGEST, smooth=True)), caption, frames)


def flat(image: Picture, caption: str = "", stretch: tuple[int, int] | None = None) -> Cell:
    """Returns the cell of a picture with sharp edges."""
    return Cell(png(image), caption, (), stretch)


def frame(box: Sequence[int], size: tuple[int, int], mark: str = "") -> Frame:
    """Returns a frame.

    Args:
      box: top, left, height and width, pixels.
      size: height and width of the picture, pixels.
      mark: text beside it.
    """
    top, left, height, width = (
        round(100 * float(length) / side, 3) for length, side in zip(box, (*size, *size), strict=True)
    )
    return Frame(top, left, height, width, mark)


def jpeg(image: Picture) -> str:
    """Returns a photograph as a `data:` address."""
    buffer = io.BytesIO()
    # Full colour resolution, so that red error pixels do not bleed into grey ones.
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def png(image: Picture) -> str:
    """Returns a picture as a `data:` address, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


# ---------------------------------------------------------------- sections
@dataclasses.dataclass(frozen=True)
class Bars:
    """Bar charts.

    Attributes:
      kind: which macro of the template draws a section; so for every section.
      title, caption: above and below.
      columns: charts, side by side.
      legend: colours of the encoders; empty for one encoder.
    """

    kind: ClassVar = "bars"
    title: str
    columns: list[Markup]
    legend: Sequence[Swatch]
    caption: str


@dataclasses.dataclass(frozen=True)
class Grid:
    """Rows of pictures.

    Attributes:
      columns: headings.
      rows: cells; None leaves a place empty.
      legend: colours that occur.
      scales: colour scales.
      paired: whether each two rows belong together.
      dense: whether two rows fit side by side.
    """

    kind: ClassVar = "grid"
    title: str
    columns: list[str]
    rows: list[list[Cell | None]]
    caption: str
    legend: Sequence[Swatch] = ()
    scales: Sequence[Markup] = ()
    paired: bool = False
    dense: bool = False


class Vote(NamedTuple):
    """A neighbour of a query patch.

    Attributes:
      crop: the neighbour with its surroundings.
      weight: attention weight.
      similarity: cosine.
      label: its local label.
      title: which image and patch it is.
    """

    crop: Cell
    weight: float
    similarity: float
    label: Swatch
    title: str


class QueryPatch(NamedTuple):
    """A query patch and its neighbours.

    Attributes:
      name: of the patch or the encoder.
      query: the patch with its surroundings.
      truth: its true label.
      votes: nearest first.
      total: weight of the neighbours shown.
    """

    name: str
    query: Cell
    truth: Swatch
    votes: list[Vote]
    total: float


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Query patches with their neighbours.

    Attributes:
      blocks: an image with frames, and its patches.
      most: neighbours per patch at most.
    """

    kind: ClassVar = "neighbours"
    title: str
    blocks: list[tuple[Cell, list[QueryPatch]]]
    most: int
    caption: str


@dataclasses.dataclass(frozen=True)
class Parts:
    """A curve over parts of the prompt with its tables.

    Attributes:
      picture: `data:` address of the curve.
      heads: headings of the tables.
      tables: name of the encoder ("" for one) and rows.
    """

    kind: ClassVar = "parts"
    title: str
    picture: str
    heads: list[str]
    tables: list[tuple[str, list[list[str]]]]
    caption: str


class FactRow(NamedTuple):
    """A setting or measurement: one cell per encoder, or one for all."""

    name: str
    cells: list[str]
    span: int


@dataclasses.dataclass(frozen=True)
class Facts:
    """Tables of settings and measurements.

    Attributes:
      heads: names of the encoders; empty for one.
      tables: title and rows.
      folded: show them only when the reader opens them.
    """

    kind: ClassVar = "facts"
    title: str
    heads: list[str]
    tables: list[tuple[str, list[FactRow]]]
    folded: bool = False


Section = Bars | Grid | Neighbours | Parts | Facts
