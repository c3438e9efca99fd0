"""What napari-convpaint does with features: a classifier of pixels, trained on the annotated ones.

Features of patches are upsampled bilinearly to the image (its `unpatch_order=1`). Its classifiers are scikit-learn's
random forest with its defaults, and CatBoost with 100 iterations, learning rate 0.1 and depth 5. scikit-learn's
histogram gradient boosting stands for the latter, bounded since it takes minutes with these settings: 32 principal
components of the features, 5,000 annotated pixels, 30 iterations, at most 16 leaves, and one prediction for each 2 x 2
pixels. The L2 penalty of 3 is CatBoost's default; without it, at learning rate 0.3, mIoU on `scenes` was 5 to 18.
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from hummingbird.incontext.encoded import Encoded, Frame
from hummingbird.tasks.upsampling import interpolation

# Annotated pixels to train on.
MOST = {"random forest": 20_000, "gradient boosting": 5_000}
COMPONENTS = {"random forest": None, "gradient boosting": 32}  # principal ones; None: the features as they are
STEP = {"random forest": 1, "gradient boosting": 2}  # pixels, along each axis, that share a prediction


class PixelClassifier:
    """A classifier of pixels by their upsampled features."""

    def __init__(self, kind: str, void: int = 255):
        self.void, self.most, self.components, self.step = void, MOST[kind], COMPONENTS[kind], STEP[kind]
        self.project = None
        self.model = {
            "random forest": lambda: RandomForestClassifier(n_jobs=-1, random_state=0),
            "gradient boosting": lambda: HistGradientBoostingClassifier(
                max_iter=30,
                learning_rate=0.1,
                max_depth=5,
                max_leaf_nodes=16,
                l2_regularization=3,
                min_samples_leaf=1,
                early_stopping=False,
                random_state=0,
            ),
        }[kind]()

    def fit(self, images: list[tuple[Encoded, np.ndarray]]) -> None:
        """Trains on the annotated pixels of images, or a sample of them."""
        features, labels = [], []
        if self.components is not None:
            patches = np.concatenate([encoded.features for encoded, _ in images])
            self.project = PCA(self.components, random_state=0).fit(patches)
        for encoded, label in images:
            y, x = np.nonzero(label != self.void)
            features.append(self.features(encoded, y, x))
            labels.append(label[y, x])
        features, labels = np.concatenate(features), np.concatenate(labels)
        if len(labels) > self.most:
            chosen = np.random.default_rng(0).choice(len(labels), self.most, replace=False)
            features, labels = features[chosen], labels[chosen]
        self.model.fit(features, labels)

    def predict(self, encoded: Encoded) -> np.ndarray:
        """Returns the class of each pixel of an image, int32 [H, W]."""
        height, width = encoded.frame.height, encoded.frame.width
        y, x = np.mgrid[0 : height : self.step, 0 : width : self.step]
        found = self.model.predict(self.features(encoded, y.ravel(), x.ravel())).reshape(y.shape).astype(np.int32)
        return found.repeat(self.step, axis=0).repeat(self.step, axis=1)[:height, :width]

    def features(self, encoded: Encoded, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Returns the features at pixels, [n, D]; projected before upsampling, which commutes with it."""
        found = encoded.features if self.project is None else self.project.transform(encoded.features)
        return at(encoded.frame, found, y, x)


def at(frame: Frame, features: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the bilinearly upsampled features at pixels, [n, D]."""
    (rows, columns), canvas = frame.cells.shown, frame.canvas
    grid = features.reshape(*frame.cells.grid, -1)[:rows, :columns]
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
