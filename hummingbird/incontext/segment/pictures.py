"""The files that a prediction becomes: masks, overlays, confidence, depth, and pictures for the page."""

from __future__ import annotations

import dataclasses
import io

import matplotlib
import numpy as np
from jaxtyping import Bool, Float32, Integer, Shaped, UInt8
from PIL import Image

from hummingbird.config.segment import Output
from hummingbird.data.annotations import Classes
from hummingbird.incontext.answers import Prediction
from hummingbird.incontext.segment.results import COLOURED, CONFIDENCE, DEPTH, MASKS, OVERLAYS, PICTURES
from hummingbird.run.files import Json
from hummingbird.tasks.drawing import Picture, css, fit, paint_values

JPEG = {"quality": 90, "subsampling": 0}  # full colour resolution, so that thin areas keep their colour
DEEPEST = 65534  # largest stored depth; 65535 means that there is none
SMALL = 256  # ids below it fit a palette
DEPTHS = "viridis"


@dataclasses.dataclass(frozen=True)
class ClassWriter:
    """Writes predicted classes.

    Attributes:
      classes: of the user.
      output: what is written, and how.
    """

    classes: Classes
    output: Output

    def files(self, name: str, image: Picture, found: Prediction, page: bool) -> dict[str, bytes]:
        """Returns the files of an image or frame by their paths.

        Args:
          name: of the results.
          image: the image.
          found: labels are the ids of the user.
          page: also write what the page shows; frames of a video have none.
        """
        labels = self._confident(found)
        files = {f"{MASKS}/{name}.png": self.mask(labels)}
        if page and not self._in_colours:
            files[f"{COLOURED}/{name}.png"] = png(self.paint(labels))
        if self.output.overlays and page:
            files[f"{OVERLAYS}/{name}.jpg"] = jpeg(self.overlay(image, labels))
        if self.output.confidence:
            files[f"{CONFIDENCE}/{name}.png"] = png(to_grey(found.confidence.share))
        if page:
            files[f"{PICTURES}/{name}.jpg"] = jpeg(fit(image, self.output.preview, smooth=True))
        return files

    def facts(self, found: Prediction) -> dict[str, Json]:
        """Returns what the summary shows: the size, and the pixels of each class."""
        labels = self._confident(found)
        height, width = labels.shape
        pixels = [int(np.count_nonzero(labels == number)) for number in self.classes.ids]
        return {
            "size": [height, width],
            "pixels": pixels,
            "confidence": round(float(found.confidence.share.mean()), 4),
        }

    def read(self, data: bytes) -> Integer[np.ndarray, "H W"]:
        """Decodes a mask that `files` encoded."""
        return np.asarray(Image.open(io.BytesIO(data))).astype(np.int32)

    def overlay(self, image: Picture, labels: Integer[np.ndarray, "H W"]) -> Picture:
        """Blends the colours of the classes over an image; borders between classes are opaque."""
        painted = self.paint(labels)
        alpha = np.where(borders(labels), 1.0, self.output.alpha)
        alpha = np.where(labels == self.classes.void, 0.0, alpha)[..., None].astype(np.float32)
        return np.rint((1 - alpha) * image + alpha * painted).astype(np.uint8)

    def paint(self, labels: Integer[np.ndarray, "H W"]) -> Picture:
        """Paints ids in the colours of their classes; void is white."""
        numbers = np.searchsorted(self.classes.ids, labels).clip(0, len(self.classes.ids) - 1)
        void = (labels == self.classes.void)[..., None]
        return np.where(void, np.uint8(255), self.classes.colours[numbers])

    def mask(self, labels: Integer[np.ndarray, "H W"]) -> bytes:
        """Encodes ids as PNG, with the palette of the user where they have one."""
        if not self._small:
            return png(labels.astype(np.uint16))
        picture = Image.fromarray(labels.astype(np.uint8))
        if self._in_colours:
            picture = picture.copy()
            picture.putpalette(self.classes.palette.tobytes())
        return _encode(picture, "PNG")

    def _confident(self, found: Prediction) -> Integer[np.ndarray, "H W"]:
        sure = found.confidence.share >= self.output.min_confidence
        return np.where(sure, found.labels, self.classes.void)

    @property
    def _small(self) -> bool:
        return max(*self.classes.ids, self.classes.void) < SMALL

    @property
    def _in_colours(self) -> bool:
        return self._small and self.output.masks == "palette"


@dataclasses.dataclass(frozen=True)
class DepthWriter:
    """Writes predicted depth.

    Attributes:
      low, high: range of the colours, metres.
      output: what is written, and how.
    """

    low: float
    high: float
    output: Output

    def files(self, name: str, image: Picture, found: Prediction, page: bool) -> dict[str, bytes]:
        """Returns the files of an image or frame by their paths; see `ClassWriter.files`."""
        files = {f"{DEPTH}/{name}.png": self.encode(found.labels)}
        if page:
            files[f"{COLOURED}/{name}.png"] = png(self.paint(found.labels))
            files[f"{PICTURES}/{name}.jpg"] = jpeg(fit(image, self.output.preview, smooth=True))
        if page and self.output.overlays:
            files[f"{OVERLAYS}/{name}.jpg"] = jpeg(self.overlay(image, found.labels))
        if self.output.confidence:
            files[f"{CONFIDENCE}/{name}.png"] = png(to_grey(found.confidence.share))
        return files

    def facts(self, found: Prediction) -> dict[str, Json]:
        """Returns what the summary shows: the size, and the range of depths in metres."""
        height, width = found.labels.shape
        low, mean, high = (round(float(x), 4) for x in (found.labels.min(), found.labels.mean(), found.labels.max()))
        return {
            "size": [height, width],
            "metres": [low, mean, high],
            "confidence": round(float(found.confidence.share.mean()), 4),
        }

    def encode(self, depth: Float32[np.ndarray, "H W"]) -> bytes:
        """Encodes metres as PNG of 16 bits."""
        return png(np.clip(np.rint(depth / self.output.depth_scale), 0, DEEPEST).astype(np.uint16))

    def read(self, data: bytes) -> Float32[np.ndarray, "H W"]:
        """Decodes a depth map that `files` encoded, to metres."""
        return np.asarray(Image.open(io.BytesIO(data))).astype(np.float32) * np.float32(self.output.depth_scale)

    def paint(self, depth: Float32[np.ndarray, "H W"]) -> Picture:
        """Paints metres in colours; 0 is hatched."""
        return paint_values(np.where(depth > 0, depth, np.nan), self.low, self.high, DEPTHS)

    def overlay(self, image: Picture, depth: Float32[np.ndarray, "H W"]) -> Picture:
        """Blends the colours of the depth over an image."""
        alpha = np.float32(self.output.alpha)
        return np.rint((1 - alpha) * image + alpha * self.paint(depth)).astype(np.uint8)


Writer = ClassWriter | DepthWriter


def borders(labels: Integer[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Returns the pixels with another label to their right or below.

    Example:
      >>> borders(np.array([[1, 1, 2]])).astype(int)
      array([[0, 1, 0]])
    """
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    found[:-1] |= labels[1:] != labels[:-1]
    return found


def to_grey(share: Float32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Converts shares of 0 to 1 to 0 ... 255."""
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def gradient(colours: str) -> str:
    """Returns a Matplotlib colour map as a gradient in CSS, from left to right."""
    stops = (255 * matplotlib.colormaps[colours](np.linspace(0, 1, 9))[:, :3]).astype(np.uint8)
    return f"linear-gradient(to right, {', '.join(map(css, stops))})"


def png(array: Shaped[np.ndarray, "H W *C"]) -> bytes:
    """Encodes a picture without loss."""
    return _encode(Image.fromarray(np.ascontiguousarray(array)), "PNG")


def jpeg(image: Picture) -> bytes:
    """Encodes a photograph."""
    return _encode(Image.fromarray(np.ascontiguousarray(image)), "JPEG", **JPEG)


def _encode(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
