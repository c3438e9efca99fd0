"""Tiny dense sources and encoders for the tests of retrieval."""

from __future__ import annotations

import numpy as np
from PIL import Image


class FakeSource:
    """Images of coloured rectangles: the class is the colour, depth goes with it."""

    ignore = 255

    def __init__(self, length: int, task: str = "segmentation", seed: int = 0, size: tuple[int, int] = (48, 64)):
        self.length, self.task, self.seed, self.size = length, task, seed, size
        self.classes = ["sky", "ground", "box", "tree"] if task == "segmentation" else []
        self.channels = 3
        self.fingerprint = f"fake {task} {length} {seed}"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng([self.seed, index])
        height, width = self.size[0] + 8 * (index % 2), self.size[1]
        mask = np.zeros((height, width), np.int32)
        mask[height // 2 :] = 1
        for c in (2, 3):
            top, left = rng.integers(0, height - 20), rng.integers(0, width - 20)
            mask[top : top + 20, left : left + 20] = c
        colours = np.array([[40, 80, 220], [60, 160, 60], [220, 60, 40], [230, 220, 60]])
        image = np.clip(colours[mask] + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
        if self.task == "depth":
            depth = np.array([9.0, 4.0, 2.0, 3.0], np.float32)[mask]
            depth[rng.random(depth.shape) < 0.1] = 0
            return {"image": image, "label": depth, "name": f"image{index}"}
        if self.task in ("regression", "normals"):
            towards = np.array([[0, 0, 1], [0, 1, 0], [0.6, 0, 0.8], [-0.6, 0, 0.8]], np.float32)
            values = towards[mask] if self.task == "normals" else colours[mask].astype(np.float32) / 255
            values[rng.random(mask.shape) < 0.1] = np.nan
            return {"image": image, "label": values, "name": f"image{index}"}
        mask[rng.random(mask.shape) < 0.05] = 255
        mask[:4] = 255
        return {"image": image, "label": mask, "name": f"image{index}"}


class MeanColour:
    """An encoder: mean and spread of each colour in each patch, and a constant so that no feature is zero."""

    patch_size = 8
    name = "mean colour"
    fingerprint = "mean-colour-1"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        b, h, w, _ = images.shape
        p = self.patch_size
        patches = images.reshape(b, h // p, p, w // p, p, 3).astype(np.float64) / 255 - 0.5
        mean, spread = patches.mean((2, 4)), patches.std((2, 4))
        return np.concatenate([mean, spread, np.full((*mean.shape[:3], 1), 0.1)], -1).astype(np.float32)


def squashed_image(image: np.ndarray, size: int) -> np.ndarray:
    """The image resized to a square, bilinear and antialiased."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
