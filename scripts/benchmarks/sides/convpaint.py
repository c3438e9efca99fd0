"""What napari-convpaint does with features: a classifier of pixels, trained on the annotated ones.

Features of patches are upsampled bilinearly to the image (its `unpatch_order=1`). Its classifiers are CatBoost with 100
iterations, learning rate 0.1 and depth 5, for which scikit-learn's histogram gradient boosting stands here with the
same settings, and scikit-learn's random forest with its defaults.
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from hummingbird.incontext.encoded import Encoded
from hummingbird.tasks.upsampling import interpolation

MOST = 20_000  # annotated pixels to train on


class PixelClassifier:
    """A classifier of pixels by their upsampled features."""

    def __init__(self, kind: str, void: int = 255):
        self.void = void
        self.model = {
            "random forest": lambda: RandomForestClassifier(n_jobs=-1, random_state=0),
            "gradient boosting": lambda: HistGradientBoostingClassifier(
                max_iter=100, learning_rate=0.1, max_depth=5, early_stopping=False, random_state=0
            ),
        }[kind]()

    def fit(self, images: list[tuple[Encoded, np.ndarray]]) -> None:
        """Trains on the annotated pixels of images, or a sample of them."""
        features, labels = [], []
        for encoded, label in images:
            y, x = np.nonzero(label != self.void)
            features.append(at(encoded, y, x))
            labels.append(label[y, x])
        features, labels = np.concatenate(features), np.concatenate(labels)
        if len(labels) > MOST:
            chosen = np.random.default_rng(0).choice(len(labels), MOST, replace=False)
            features, labels = features[chosen], labels[chosen]
        self.model.fit(features, labels)

    def predict(self, encoded: Encoded) -> np.ndarray:
        """Returns the class of each pixel of an image, int32 [H, W]."""
        height, width = encoded.frame.height, encoded.frame.width
        y, x = np.indices((height, width)).reshape(2, -1)
        return self.model.predict(at(encoded, y, x)).reshape(height, width).astype(np.int32)


def at(encoded: Encoded, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the bilinearly upsampled features at pixels, [n, D]."""
    (rows, columns), canvas = encoded.frame.shown, encoded.frame.canvas
    grid = encoded.features.reshape(*encoded.frame.grid, -1)[:rows, :columns]
    down, across = interpolation(rows, canvas[0]), interpolation(columns, canvas[1])
    found = np.zeros((len(y), grid.shape[-1]), np.float32)
    for i in range(2):
        for j in range(2):
            # Each pixel lies between two rows and two columns of patches; the larger weight first.
            r = np.argsort(-down, axis=1, kind="stable")[:, i] if rows > 1 else np.zeros(len(down), int)
            c = np.argsort(-across, axis=1, kind="stable")[:, j] if columns > 1 else np.zeros(len(across), int)
            weight = down[y, r[y]] * across[x, c[x]]
            found += weight[:, None] * grid[r[y], c[x]]
    return found
