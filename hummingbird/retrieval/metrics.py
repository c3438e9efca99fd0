"""Metrics of segmentation and depth, streamed image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.labels import check_classes, valid_depth
from hummingbird.retrieval.processes import gather, merge


class SegmentationMetrics:
    """One confusion matrix over the data set: mIoU, pixel accuracy and IoU of each class. Void pixels never count.

    Attributes:
      confusion: int64 [C, C], pixels by true class (rows) and predicted class (columns).
    """

    def __init__(self, classes: list[str], ignore: int = 255, absent: str = "left_out", matching: str = "none"):
        for name, value, valid in (("absent", absent, ("left_out", "zero")), ("matching", matching, MATCHING)):
            if value not in valid:
                raise UserError(f"metric choice {name}: {value!r} is not one of {', '.join(valid)}")
        self.classes, self.ignore, self.absent, self.matching = classes, ignore, absent, matching
        self.confusion = np.zeros((len(classes), len(classes)), np.int64)

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Counts one image of class ids [H, W] and returns its own confusion matrix, int64 [C, C]."""
        count = len(self.classes)
        check_classes(truth, count, self.ignore, "true mask")
        valid = truth != self.ignore
        pairs = truth[valid].astype(np.int64) * count + prediction[valid]
        confusion = np.bincount(pairs, minlength=count * count).reshape(count, count)
        self.confusion += confusion
        return confusion

    def merge(self) -> None:
        """Adds what the other processes counted."""
        self.confusion = sum(gather(self.confusion), np.zeros_like(self.confusion))

    def result(self) -> dict[str, Any]:
        """{"miou", "pixel_accuracy", "mean_class_accuracy", "per_class_iou"}, all 0-100.

        mIoU is the mean over classes that occur in truth or prediction; per-class IoU is None for the others.
        """
        if not self.confusion.sum():
            raise UserError("the query images hold no valid pixel: check data.root and the void value")
        confusion = MATCHING[self.matching](self.confusion)
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


def match_classes(confusion: np.ndarray) -> np.ndarray:
    """Columns of a confusion matrix re-assigned so that the sum of IoUs is greatest (Hungarian algorithm)."""
    union = confusion.sum(0)[None] + confusion.sum(1)[:, None] - confusion
    iou = np.divide(confusion, union, out=np.zeros(confusion.shape), where=union > 0)
    rows, columns = scipy.optimize.linear_sum_assignment(iou, maximize=True)
    matched = np.empty_like(confusion)
    matched[:, rows] = confusion[:, columns]
    return matched


MATCHING = {"none": lambda confusion: confusion, "hungarian": match_classes}


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64 [C], 0-1; NaN where a class is in neither truth nor prediction."""
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


class DepthMetrics:
    """RMSE over all valid pixels of the data set, AbsRel, log RMSE and delta < 1.25^i.

    Args:
      low, high: range of valid true depths, metres; predictions are clipped to it.
      eigen_crop: count only Eigen's crop of 480x640 frames (scaled to other sizes).
    """

    def __init__(self, low: float = 1e-3, high: float = 10.0, eigen_crop: bool = False):
        self.low, self.high, self.eigen_crop = low, high, eigen_crop
        self.images: list[np.ndarray] = []

    def add(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Counts one image in metres [H, W]; returns its sums float64 [7]: pixels, squared error, ..."""
        valid = valid_depth(truth, self.low, self.high)
        if self.eigen_crop:
            valid &= eigen_crop(*truth.shape)
        true = truth[valid].astype(np.float64)
        guess = np.clip(prediction[valid].astype(np.float64), self.low, self.high)
        ratio = np.maximum(true / guess, guess / true)
        parts = [
            (true - guess) ** 2,
            np.abs(true - guess) / true,
            (np.log(true) - np.log(guess)) ** 2,
            ratio < 1.25,
            ratio < 1.25**2,
            ratio < 1.25**3,
        ]
        self.images.append(np.array([len(true), *(part.sum() for part in parts)]))
        return self.images[-1]

    def merge(self) -> None:
        """Adds what the other processes counted; in the order of the images, so that no digit depends on them."""
        self.images = merge(self.images)

    def result(self) -> dict[str, Any]:
        """{"rmse" (metres), "abs_rel", "rmse_log", "delta1", "delta2", "delta3" (0-1)}."""
        count, *sums = np.sum(self.images, axis=0) if self.images else np.zeros(7)
        if not count:
            raise UserError("the query images hold no valid depth: check data.root, depth.low and depth.high")
        mean = np.array(sums) / count
        return {
            "rmse": float(np.sqrt(mean[0])),
            "abs_rel": float(mean[1]),
            "rmse_log": float(np.sqrt(mean[2])),
            "delta1": float(mean[3]),
            "delta2": float(mean[4]),
            "delta3": float(mean[5]),
        }


def eigen_crop(height: int, width: int) -> np.ndarray:
    """Pixels of Eigen's crop, rows 45-470 and columns 41-600 of a 480x640 frame, bool [height, width]."""
    inside = np.zeros((height, width), bool)
    rows = (round(45 * height / 480), round(471 * height / 480))
    columns = (round(41 * width / 640), round(601 * width / 640))
    inside[rows[0] : rows[1], columns[0] : columns[1]] = True
    return inside
