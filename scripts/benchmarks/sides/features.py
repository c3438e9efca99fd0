"""Ways to upsample the features of patches before retrieval: [h, w, D] and uint8 RGB [H, W, 3] to [2h, 2w, D]."""

from __future__ import annotations

import cv2
import numpy as np

from hummingbird.tasks.upsampling import interpolation


def bilinear(features, image):
    """Interpolates between the centres of patches."""
    rows, columns, _ = features.shape
    return np.einsum(
        "yh,hwd,xw->yxd", interpolation(rows, 2 * rows), features, interpolation(columns, 2 * columns), optimize=True
    )


def joint_bilateral(features, image, radius=2, spread=0.75, sigma=0.1):
    """Joint bilateral upsampling (Kopf et al., 2007), with mean colours of patches and of their quarters as the guide.

    Args:
      features: of the patches.
      image: the whole image.
      radius: patches to each side that a quarter gathers from.
      spread: standard deviation of distances, patches.
      sigma: standard deviation of colours in 0..1.
    """
    rows, columns, _ = features.shape
    guide = image.astype(np.float32) / 255
    fine = cv2.resize(guide, (2 * columns, 2 * rows), interpolation=cv2.INTER_AREA)
    around = ((radius, radius), (radius, radius), (0, 0))
    coarse = np.pad(cv2.resize(guide, (columns, rows), interpolation=cv2.INTER_AREA), around, mode="edge")
    padded = np.pad(features, around, mode="edge")
    place = (np.arange(2) - 0.5) / 2  # of a quarter's centre in its patch
    down, across = np.tile(place, rows)[:, None], np.tile(place, columns)[None]
    found, total = np.zeros((2 * rows, 2 * columns, features.shape[-1]), np.float32), np.zeros(fine.shape[:2])
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            part = np.s_[radius + dy : radius + dy + rows, radius + dx : radius + dx + columns]
            colours, near = (array[part].repeat(2, axis=0).repeat(2, axis=1) for array in (coarse, padded))
            distance = (dy - down) ** 2 + (dx - across) ** 2
            weight = np.exp(-((colours - fine) ** 2).sum(-1) / (2 * sigma**2) - distance / (2 * spread**2))
            total += weight
            found += weight[..., None].astype(np.float32) * near
    return found / np.maximum(total, 1e-12)[..., None].astype(np.float32)


FEATURES = {"features bilinear": bilinear, "features joint bilateral": joint_bilateral}
