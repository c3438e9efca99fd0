"""Drawing with arrays: class colours, colour maps, heat over photographs, and sheets of small pictures.

A picture is a uint8 array [H, W, 3]. `hummingbird.tasks` draws labels with these colours, `retrieval.report` puts
pictures into a page, `hooks.picture_sheet` and `commands.inspect_data` lay them out on sheets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

Picture: TypeAlias = UInt8[np.ndarray, "H W 3"]

# ---------------------------------------------------------------- colours
# Okabe and Ito's colours, extended to 256 by glasbey 0.4: `extend_palette([grey, *okabe_ito], palette_size=257,
# lightness_bounds=(30, 88), chroma_bounds=(15, 60))`. Of 150 classes the nearest two differ by 8.1 (CAM02-UCS); colours
# that we chose ourselves differed by 2.5. A table, because glasbey needs numba: 260 MB, and 30 s to import.
PALETTE = bytes.fromhex(
    "0072b2e69f00009e73cc79a756b4e9d55e00f0e44286ffdbefdfff6961008239aea686fbaeba9a86a21ca6357d7ddf71046d699e8255"
    "ffa2ffffbe96aaaac28e491caee7ff18791800cac26961d23196a2d7efb2b65dce5d7559795569758aba595d82dfaec67d9a8edb8e5d"
    "bebe5565c292ceb6ff9e82ae79614d9ec2c200f7ffae8a0092aaffceebe3a6650041ae5179965dd286f3658218517586fbc65dbefb79"
    "2492df9e6192ff7dcebacaf37da2b2ba9e868265aa0079519edfaeb292a245d7fb49867900e7aef3dfbe8aba69aaa2616dffa6c29ece"
    "824582c651a6ce7d0c49692d4daa9effa655d2b67d418e497982ef79753dffc6f39e654182dfd7967586825d20d76dce92c2df31b2c6"
    "a641a6455daa9e96cecebedbf7e78ad7e3f36551a2b6db824d65657565828a79005179ca8e92a69669dfb2a6081469863586aacedfc2"
    "be754161613d6d8a9269a67dd2964186a6d2ffa2d77d799eb251089eca497d8669aaf7f75da2fb8ab6a249ca6dffdbeb5d759ed7d296"
    "929239df8ed2ae7dd796a282399ec6007d8a599a28e3c22d9651c696c2ffb2a2fbb2fbaa00f3db618e6def8a2d8279c200b68e3d6955"
    "e3b2eb6dc6d2b271b2bacad771518a924d75c2f3cedfa682aeb2e7aed7c6c6db4dfbd292ebc6b25dd2b692aaaa6969a6497100658249"
    "96752ddbb24d9ac692616979dfa2ff9259a2ce96b6009a8aaedbdfba8a65d7ceff45658a92715d7de3f3ae7d9e6ddf96658eaadbd269"
    "b286397d55c69eae498696dfe769b6a696b28e6d9a6dbeb2b6c282dbef8675a6516179799ab2c2ba96e3962d8a457949bea6ba24dbe3"
    "28ba755d9692c286cadf753192926171caff358a657582967db63d9e6dba618edf00d28eae518ac69e2082553596e7ca3d8a2000c2eb"
    "86aa759af7beef8af78259828e359e007d69828a00657124ffae31e7c6db00a2598a6d4182691035ffc271fff39a869a659aceb66996"
    "71b2ca8acaaaaad7ffb259aef3ba75a6e3655586ba5951beebcaff96550896f786559a82beaedba28671c26900417575599e5d69aeb2"
    "007135c2a26dcac29eb6d7a2"
)
GREY = (122, 122, 130)
BACKGROUND_CLASSES = ("background", "other", "void", "unlabeled", "unlabelled")


def class_colours(classes: Sequence[str]) -> UInt8[np.ndarray, "C 3"]:
    """Returns a colour for each class: distinct up to 256 classes, distinct for colour-blind readers up to 7.

    Classes named like background are grey and take no colour from the others.

    Example:
      >>> class_colours(["background", "cat", "dog"])
      array([[122, 122, 130],
             [  0, 114, 178],
             [230, 159,   0]], dtype=uint8)
    """
    palette = np.frombuffer(PALETTE, np.uint8).reshape(-1, 3)
    background = np.array([name.lower() in BACKGROUND_CLASSES for name in classes], bool)
    number = np.cumsum(~background) - 1
    return np.where(background[:, None], np.array(GREY, np.uint8), palette[number % len(palette)])


def css(colour: UInt8[np.ndarray, " 3"]) -> str:
    """Returns a colour as "#rrggbb"."""
    return "#" + colour.tobytes().hex()


def hatch(height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Returns grey diagonal stripes, which mark pixels without a label."""
    rows, columns = np.indices((height, width))
    stripe = ((rows + columns) // 4) % 2
    return np.repeat(np.where(stripe == 0, 128, 168).astype(np.uint8)[..., None], 3, axis=2)


def paint_classes(labels: Integer[np.ndarray, "H W"], colours: UInt8[np.ndarray, "C 3"], void: int) -> Picture:
    """Paints class ids in their colours; `void` and ids without a colour are hatched."""
    known = (labels != void) & (labels >= 0) & (labels < len(colours))
    painted = colours[np.where(known, labels, 0)]
    return np.where(known[..., None], painted, hatch(*labels.shape))


def paint_values(values: Float[np.ndarray, "H W"], low: float, high: float, colours: str) -> Picture:
    """Paints values through a Matplotlib colour map over [low, high]; values that are not finite are hatched."""
    known = np.isfinite(values)
    unit = np.clip((np.where(known, values, low) - low) / max(high - low, 1e-12), 0, 1)
    painted = np.round(255 * matplotlib.colormaps[colours](unit)[..., :3]).astype(np.uint8)
    return np.where(known[..., None], painted, hatch(*values.shape))


def overlay_heat(image: Picture, weights: Float[np.ndarray, "h w"]) -> Picture:
    """Draws attention as heat over the faded image, brightest at the image's own peak.

    Args:
      image: drawn in grey.
      weights: non-negative. An even spread is drawn at half brightness, not at full.
    """
    height, width = image.shape[:2]
    weights = np.asarray(weights, np.float32)
    peak = max(float(weights.max()), 2 * float(weights.mean()), 1e-12)
    heat = cv2.resize(weights / peak, (width, height), interpolation=cv2.INTER_LINEAR)
    glow = 255 * matplotlib.colormaps["inferno"](heat)[..., :3]
    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    strength = 0.25 + 0.6 * heat[..., None]
    return np.clip((1 - strength) * grey * 0.85 + strength * glow, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------- sizes
def resize(
    array: Shaped[np.ndarray, "H W *C"], height: int, width: int, smooth: bool = True
) -> Shaped[np.ndarray, "{height} {width} *C"]:
    """Resizes an array to [height, width]: averaged if `smooth`, for photographs; else the nearest pixel."""
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA if smooth else cv2.INTER_NEAREST_EXACT)


def fit(array: Shaped[np.ndarray, "H W *C"], longest: int, smooth: bool) -> Shaped[np.ndarray, "h w *C"]:
    """Resizes an array so that its longer side has about `longest` pixels.

    Args:
      array: large ones shrink; small ones are returned as they are if `smooth`, else enlarged by a whole factor, which
        keeps edges sharp.
      longest: pixels.
      smooth: as for `resize`.
    """
    height, width = array.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return array if smooth else array.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    return resize(array, max(1, round(height * scale)), max(1, round(width * scale)), smooth)


# ---------------------------------------------------------------- sheets
GAP = 8  # between tiles, pixels
TEXT = 20  # height of a line of text
MARGIN = 12
INK, PALE, PAPER, BLANK = (25, 25, 25), (110, 110, 110), (255, 255, 255), (215, 215, 215)


class Tile(NamedTuple):
    """A square place on a sheet.

    Attributes:
      picture: scaled to fit; None: an empty grey tile.
      caption: written below.
      note: written on an empty tile.
    """

    picture: Picture | None
    caption: str = ""
    note: str = ""


def sheet(
    rows: Sequence[Sequence[Tile]],
    side: int,
    title: str = "",
    heads: Mapping[int, str] | None = None,
    notes: Sequence[str] = (),
    gap_before: int | None = None,
) -> Picture:
    """Lays out tiles in rows.

    Args:
      rows: may differ in length.
      side: of a tile, pixels.
      title: first line.
      heads: heading over a column, by its number.
      notes: lines below the tiles.
      gap_before: column before which the gap is wider.
    """
    columns = max((len(row) for row in rows), default=0)
    lefts = [
        MARGIN + i * (side + GAP) + (2 * GAP if gap_before is not None and i >= gap_before else 0)
        for i in range(columns)
    ]
    line = side + TEXT + GAP
    top = MARGIN + TEXT * (bool(title) + bool(heads)) + (GAP if title or heads else 0)
    below = top + len(rows) * line
    paper = Image.new("RGB", (max(lefts, default=0) + side + MARGIN, below + TEXT * len(notes) + MARGIN), PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((MARGIN, MARGIN - 4), title, INK, _font(17))
    for column, text in (heads or {}).items():
        pen.text((lefts[column], MARGIN + TEXT * bool(title)), text, INK, _font(13))
    for y, row in zip(range(top, below, line), rows, strict=True):
        for left, tile in zip(lefts, row, strict=False):
            paper.paste(Image.fromarray(square(tile, side)), (left, y))
            pen.text((left, y + side + 1), _shortened(tile.caption, side), PALE, _font(12))
    for i, note in enumerate(notes):
        pen.text((MARGIN, below + i * TEXT), note, PALE, _font(12))
    return np.asarray(paper)


def square(tile: Tile, side: int) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """Returns a tile's picture centred on white, averaged if it shrinks; pixels stay visible if it grows."""
    if tile.picture is None:
        blank = Image.new("RGB", (side, side), BLANK)
        ImageDraw.Draw(blank).text((side / 2, side / 2), tile.note, PALE, _font(13), anchor="mm")
        return np.asarray(blank)
    height, width = tile.picture.shape[:2]
    scale = side / max(height, width)
    small = resize(tile.picture, max(1, round(height * scale)), max(1, round(width * scale)), smooth=scale < 1)
    placed = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    placed[top : top + small.shape[0], left : left + small.shape[1]] = small
    return placed


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shortened(text: str, width: int) -> str:
    """Cuts a caption to the width of a tile."""
    while text and _font(12).getlength(text) > width:
        text = text[:-2] + "…"
    return text
