"""Metrics of predicted classes from one confusion matrix: mIoU, pixel accuracy and IoU of each class."""

# NumPy's and SciPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Integer

from hummingbird.errors import UserError
from hummingbird.tasks.task import Metrics, Scores

Mask = Integer[np.ndarray, "H W"]
Confusion = Integer[np.ndarray, "C C"]


def check_classes(mask: Mask, num_classes: int, ignore: int, name: str = "label mask") -> None:
    """Raises UserError if a mask holds an id that is neither 0..C-1 nor `ignore`."""
    wrong = (mask != ignore) & ((mask < 0) | (mask >= num_classes))
    if wrong.any():
        found = np.unique(mask[wrong])[:5].tolist()
        raise UserError(
            f"{name}: class ids {found} are neither 0..{num_classes - 1} nor void ({ignore}); check the class count"
        )


class SegmentationMetrics:
    """One confusion matrix over the data set: mIoU, pixel accuracy and IoU of each class. Void pixels do not count.

    Args:
      classes: class names by id.
      ignore: class id of void pixels.
      absent: whether classes in neither truth nor prediction are "left_out" of mIoU or count "zero".
      matching: how predicted classes are assigned to true ones, a key of `MATCHING`.
      void: class that void pixels count as; None: they do not count.

    Attributes:
      parts: confusion matrices int64 [C, C]; pixels by true class (rows) and predicted class (columns).
    """

    def __init__(
        self,
        classes: Sequence[str],
        ignore: int = 255,
        absent: str = "left_out",
        matching: str = "none",
        void: int | None = None,
    ):
        for name, value, valid in (("absent", absent, ("left_out", "zero")), ("matching", matching, MATCHING)):
            if value not in valid:
                raise UserError(f"metric choice {name}: {value!r} is not one of {', '.join(valid)}")
        self.classes, self.ignore, self.absent, self.matching = tuple(classes), ignore, absent, matching
        self.void = void
        self.parts: list[np.ndarray] = [np.zeros((len(classes), len(classes)), np.int64)]

    def add(self, truth: Mask, prediction: Mask) -> float:
        """Counts one image; returns its own mIoU (0-100) over the classes in it, NaN if every pixel is void."""
        count = len(self.classes)
        check_classes(truth, count, self.ignore, "true mask")
        if self.void is not None:
            truth = np.where(truth == self.ignore, self.void, truth)
        valid = truth != self.ignore
        pairs = truth[valid].astype(np.int64) * count + prediction[valid]
        confusion = np.bincount(pairs, minlength=count * count).reshape(count, count)
        self.parts[0] += confusion
        return float(100 * np.nanmean(class_iou(confusion))) if confusion.any() else float("nan")

    def merge(self, other: Metrics) -> None:
        """Adds the confusion matrix of other images."""
        self.parts[0] += np.sum(other.parts, axis=0)

    def result(self) -> Scores:
        """Returns {"miou", "pixel_accuracy", "mean_class_accuracy", "per_class_iou"}, all 0-100.

        mIoU is the mean over classes that occur in truth or prediction; the IoU of other classes is None.
        """
        confusion = np.sum(self.parts, axis=0)
        if not confusion.any():
            raise UserError("the query images hold no valid pixel: check data.root and the void value")
        confusion = MATCHING[self.matching](confusion)
        iou = class_iou(confusion)
        present = confusion.sum(1) > 0
        recall = np.diag(confusion)[present] / confusion.sum(1)[present]
        mean = np.nanmean(iou) if self.absent == "left_out" else np.nan_to_num(iou).mean()
        return {
            "miou": float(100 * mean),
            "pixel_accuracy": float(100 * np.trace(confusion) / confusion.sum()),
            "mean_class_accuracy": float(100 * recall.mean()),
            "per_class_iou": {
                name: None if np.isnan(value) else float(100 * value)
                for name, value in zip(self.classes, iou, strict=True)
            },
        }


def match_classes(confusion: Confusion) -> Confusion:
    """Reorders the columns of a confusion matrix so that the sum of IoUs is greatest (Hungarian algorithm)."""
    from scipy.optimize import linear_sum_assignment  # here, because it takes half a second to import

    union = confusion.sum(0)[None] + confusion.sum(1)[:, None] - confusion
    iou = np.divide(confusion, union, out=np.zeros(confusion.shape), where=union > 0)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    matched = np.empty_like(confusion)
    matched[:, rows] = confusion[:, columns]
    return matched


def keep_classes(confusion: Confusion) -> Confusion:
    """Leaves predicted classes as they are."""
    return confusion


MATCHING: dict[str, Callable[[Confusion], Confusion]] = {"none": keep_classes, "hungarian": match_classes}


def class_iou(confusion: Confusion) -> Float[np.ndarray, " C"]:
    """Returns the intersection over union of each class, 0-1; NaN for classes in neither truth nor prediction."""
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)
