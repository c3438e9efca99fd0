"""Principal components of features: centred, not whitened, not normalised afterwards (FUNGI, Eq. 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float32

CHUNK = 65_536  # rows converted to float64 at a time


class Pca(NamedTuple):
    """Principal components.

    Attributes:
      mean: of the features.
      axes: orthonormal, in order of falling variance.
    """

    mean: Float32[np.ndarray, " D"]
    axes: Float32[np.ndarray, "D P"]

    def __call__(self, features: Float32[np.ndarray, "N D"]) -> Float32[np.ndarray, "N P"]:
        """Projects features on the components."""
        projected = np.empty((len(features), self.axes.shape[1]), np.float32)
        for start in range(0, len(features), CHUNK):
            projected[start : start + CHUNK] = (features[start : start + CHUNK] - self.mean) @ self.axes
        return projected


def skipped(components: int | None, samples: int, dim: int) -> bool:
    """Returns whether PCA is left out: it is not wanted, or not below the number of samples and of features (FUNGI)."""
    return components is None or components >= samples or components >= dim


def fit_pca(features: Float32[np.ndarray, "N D"], components: int | None) -> Pca | None:
    """Fits principal components; None where they are skipped.

    The axes are eigenvectors of the covariance in float64, or of the Gram matrix where there are fewer samples than
    features. Their signs are fixed by the largest loading.

    Args:
      features: of the training images.
      components: how many to keep.

    Example:
      >>> pca = fit_pca(np.array([[0, 0, 1], [2, 0, 1], [4, 1, 1], [6, 1, 1]], np.float32), 1)
      >>> pca.axes.shape
      (3, 1)
    """
    samples, dim = features.shape
    if components is None or skipped(components, samples, dim):
        return None
    mean = features.mean(axis=0, dtype=np.float64)
    if samples >= dim:
        axes = top_eigenvectors(covariance(features, mean), components)
    else:
        rows = features - mean
        left = top_eigenvectors(rows @ rows.T, components)
        axes = rows.T @ left
        lengths = np.linalg.norm(axes, axis=0)
        axes = axes / np.where(lengths > 0, lengths, 1)
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(components)])
    return Pca(mean.astype(np.float32), (axes * np.where(signs == 0, 1, signs)).astype(np.float32))


def covariance(features: Float32[np.ndarray, "N D"], mean: np.ndarray) -> np.ndarray:
    """Returns the sum of the outer products of centred features [D, D] in float64, which holds a part of them."""
    total = np.zeros((features.shape[1], features.shape[1]))
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK] - mean
        total += rows.T @ rows
    return total


def top_eigenvectors(matrix: np.ndarray, count: int) -> np.ndarray:
    """Returns the eigenvectors of the largest eigenvalues of a symmetric matrix [n, n] as columns, largest first."""
    size = len(matrix)
    return scipy.linalg.eigh(matrix, subset_by_index=(size - count, size - 1))[1][:, ::-1]
