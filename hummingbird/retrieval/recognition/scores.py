"""Scores of class predictions: top-1, mean per class, top-5, and which classes are confused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

TOP = 5  # classes of a ranking that count


def top1(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"]) -> float:
    """Returns the share of images in the right class, 0-100."""
    return 100 * float(np.mean(truth == predicted))


def top5(truth: Int[np.ndarray, " N"], ranking: Int[np.ndarray, "N k"]) -> float:
    """Returns the share of images with the right class among the best five, 0-100; `ranking` is best first."""
    return 100 * float(np.mean((ranking[:, :TOP] == truth[:, None]).any(axis=1)))


def recalls(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int) -> Float[np.ndarray, " C"]:
    """Returns the accuracy of each class, 0-100; NaN for classes without test images."""
    counts = np.bincount(truth, minlength=classes)
    right = np.bincount(truth[truth == predicted], minlength=classes)
    return np.where(counts > 0, 100 * right / np.maximum(counts, 1), np.nan)


def mean_per_class(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int) -> float:
    """Returns the mean of the accuracies of the classes that have test images, 0-100."""
    return float(np.nanmean(recalls(truth, predicted, classes)))


def per_class(
    truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], names: Sequence[str]
) -> dict[str, float | None]:
    """Returns the accuracy of each class by name, 0-100; None without test images."""
    values = recalls(truth, predicted, len(names))
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}


def confusion(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], classes: int) -> Int[np.ndarray, "C C"]:
    """Returns how many images of each class (row) were predicted as each class (column)."""
    return np.bincount(truth * np.int64(classes) + predicted, minlength=classes**2).reshape(classes, classes)


def best_first(votes: Float[np.ndarray, "N C"], count: int) -> Int[np.ndarray, "N k"]:
    """Returns the classes with most votes, best first; of equal ones, the smaller id first.

    Example:
      >>> best_first(np.array([[0.0, 2.0, 2.0, 1.0]]), 3)
      array([[1, 2, 3]])
    """
    return np.argsort(-votes, axis=1, kind="stable")[:, :count]
