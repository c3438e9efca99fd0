"""Refinement of upsampled votes with the image itself: the paper leaves the votes' bilinear upsampling as it is.

The guided filter makes votes follow the edges of the image. Of the refinements in `scripts/benchmarks/refine.py` it is
the best but for a CRF, which gains as much at four times the cost; see the README of this folder for the numbers.
"""

# OpenCV's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32

from hummingbird.incontext.images import Image
from hummingbird.tasks.upsampling import Winners, interpolation

REACH = 1.0  # radius of the filter's window, in sides of a patch
EPSILON = 1e-4  # variance of colours in 0..1 from which on edges are kept
LEAST = 0.02  # vote somewhere in a strip from which on a class may win there
STRIP_PIXELS = 2**22  # refined at a time, but for what their windows reach into


class Guide:
    """An image with all that the filter needs to know about it (He et al., TPAMI 2013, Eqs. 19-21).

    Args:
      image: the guide.
      radius: windows are squares of 2 radius + 1 pixels.
      epsilon: variance from which on edges are kept.
    """

    def __init__(self, image: Image, radius: int, epsilon: float = EPSILON):
        self.radius, self.image = radius, image.astype(np.float32) / 255
        self.mean = self.box(self.image)
        red, green, blue = np.moveaxis(self.image, -1, 0)
        products = self.box(np.stack([red * red, red * green, red * blue, green * green], -1))
        more = self.box(np.stack([green * blue, blue * blue], -1))
        r, g, b = np.moveaxis(self.mean, -1, 0)
        rr, rg, rb, gg = np.moveaxis(products, -1, 0)
        rr, rg, rb, gg = rr - r * r + epsilon, rg - r * g, rb - r * b, gg - g * g + epsilon
        gb, bb = more[..., 0] - g * b, more[..., 1] - b * b + epsilon
        # Of the symmetric matrix: the adjugate over the determinant.
        adjugate = (gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb)
        rest = (rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg)
        self.inverse = (
            np.stack([*adjugate, *rest], -1) / (rr * adjugate[0] + rg * adjugate[1] + rb * adjugate[2])[..., None]
        )

    def box(self, values: Float32[np.ndarray, "H W *C"]) -> Float32[np.ndarray, "H W *C"]:
        """Averages over windows; the image is mirrored at its border."""
        side = 2 * self.radius + 1
        return cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)

    def filter(self, plane: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
        """Returns a plane of votes or values that follows the edges of the image."""
        middle = self.box(plane)
        across = self.box(self.image * plane[..., None]) - self.mean * middle[..., None]
        x, y, z = np.moveaxis(across, -1, 0)
        rr, rg, rb, gg, gb, bb = np.moveaxis(self.inverse, -1, 0)
        slope = np.stack([rr * x + rg * y + rb * z, rg * x + gg * y + gb * z, rb * x + gb * y + bb * z], -1)
        offset = middle - np.einsum("hwc,hwc->hw", slope, self.mean)
        return np.einsum("hwc,hwc->hw", self.box(slope), self.image) + self.box(offset)


class Strip(NamedTuple):
    """Rows of an image, and what their refinement needs.

    Attributes:
      rows: that are wanted.
      reach: those with all that their windows reach into.
      guide: of the latter.
    """

    rows: slice
    reach: slice
    guide: Guide

    def inside(self, plane: Float32[np.ndarray, "R W"]) -> Float32[np.ndarray, "r W"]:
        """Cuts the wanted rows out of a plane of those in reach."""
        return plane[self.rows.start - self.reach.start : self.rows.stop - self.reach.start]


def strips(image: Image, grid: tuple[int, int], canvas: tuple[int, int]) -> Iterator[Strip]:
    """Yields an image in strips, so that a large one needs little memory.

    Args:
      image: the guide.
      grid: rows and columns of patches.
      canvas: height and width of them all, pixels.
    """
    height, width = image.shape[:2]
    side = (canvas[0] / grid[0] + canvas[1] / grid[1]) / 2
    radius = max(1, min(round(REACH * side), (min(height, width) - 1) // 2))
    step = max(1, STRIP_PIXELS // width)
    for start in range(0, height, step):
        stop = min(height, start + step)
        reach = slice(max(0, start - 2 * radius), min(height, stop + 2 * radius))
        yield Strip(slice(start, stop), reach, Guide(image[reach], radius))


def refined_winners(votes: Float32[np.ndarray, "h w C"], canvas: tuple[int, int], image: Image) -> Winners:
    """Returns the class with the largest refined vote at each pixel of an image, and that vote.

    Args:
      votes: of the patches.
      canvas: height and width of the patches, pixels of the image, which is their upper left part.
      image: the image.
    """
    height, width = image.shape[:2]
    found = Winners(np.zeros((height, width), np.int32), np.empty((height, width), np.float32))
    down, across = interpolation(votes.shape[0], canvas[0]), interpolation(votes.shape[1], canvas[1])[:width].T
    for strip in strips(image, votes.shape[:2], canvas):
        rows = down[strip.reach]
        near = votes[np.flatnonzero(rows.any(axis=0))]
        best = np.full((strip.rows.stop - strip.rows.start, width), -np.inf, np.float32)
        for number in np.flatnonzero(near.max(axis=(0, 1)) > LEAST):
            plane = strip.inside(strip.guide.filter(rows @ votes[..., number] @ across))
            found.classes[strip.rows][plane > best] = number
            np.maximum(best, plane, out=best)
        found.votes[strip.rows] = np.clip(best, 0, 1)
    return found


def refined_values(
    votes: Float32[np.ndarray, "h w C"], canvas: tuple[int, int], image: Image
) -> Float32[np.ndarray, "H W C"]:
    """Returns refined values at each pixel of an image; arguments as in `refined_winners`."""
    height, width = image.shape[:2]
    found = np.empty((height, width, votes.shape[2]), np.float32)
    down, across = interpolation(votes.shape[0], canvas[0]), interpolation(votes.shape[1], canvas[1])[:width].T
    for strip in strips(image, votes.shape[:2], canvas):
        for channel in range(votes.shape[2]):
            plane = strip.guide.filter(down[strip.reach] @ votes[..., channel] @ across)
            found[strip.rows, :, channel] = strip.inside(plane)
    return found
