"""Boundary IoU (Cheng et al., CVPR 2021): IoU of the parts of masks that lie close to their contours."""

# OpenCV's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Int

DILATION = 0.02  # width of a boundary, in diagonals of the image (the authors' choice)


class BoundaryIou:
    """Mean over classes of the boundary IoU, summed over a data set.

    Args:
      num_classes: C.
      void: class id of true pixels that do not count.

    Attributes:
      both, any: pixels in the boundaries of both masks, and of either, of each class.
    """

    def __init__(self, num_classes: int, void: int = 255):
        self.num_classes, self.void = num_classes, void
        self.both, self.any = np.zeros((2, num_classes), np.int64)

    def add(self, truth: Int[np.ndarray, "H W"], prediction: Int[np.ndarray, "H W"]) -> None:
        """Counts one image."""
        valid = truth != self.void
        for number in range(self.num_classes):
            true, found = boundary((truth == number) & valid), boundary((prediction == number) & valid)
            self.both[number] += int((true & found).sum())
            self.any[number] += int((true | found).sum())

    def result(self) -> float:
        """Returns the mean over the classes that occur, 0-100; NaN if none does."""
        held = self.any > 0
        return float(100 * (self.both[held] / self.any[held]).mean()) if held.any() else float("nan")


def boundary(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Returns the pixels of a mask within `DILATION` diagonals of its contour, which the image's border is part of."""
    width = max(1, round(DILATION * float(np.hypot(*mask.shape))))
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)
    return mask & (inner[1:-1, 1:-1] == 0)
