"""Strokes as a person would draw them: short lines, three pixels wide, that stay within a region of one class."""

from __future__ import annotations

import cv2
import numpy as np

WIDTH = 3


def strokes(label: np.ndarray, share: float, rng: np.random.Generator, void: int = 255) -> np.ndarray:
    """Keeps the labels below strokes, the rest becomes void.

    Args:
      label: class ids [H, W].
      share: of the annotated pixels that the strokes cover, at least about; 1 keeps all.
      rng: draws them. Each is of a class drawn evenly among those in the image, through a pixel of it drawn evenly.
      void: id of pixels without a label.
    """
    if share >= 1:
        return label
    height, width = label.shape
    found = np.full_like(label, void)
    wanted = share * np.count_nonzero(label != void)
    places = {int(c): np.argwhere(label == c) for c in np.unique(label[label != void])}
    left = 1000
    while np.count_nonzero(found != void) < wanted and left:
        left -= 1
        number = int(rng.choice(list(places)))
        y, x = places[number][rng.integers(len(places[number]))]
        angle, reach = rng.uniform(0, np.pi), max(4, 0.08 * np.hypot(height, width))
        line = np.zeros(label.shape, np.uint8)
        ends = [
            (round(x + sign * reach / 2 * np.cos(angle)), round(y + sign * reach / 2 * np.sin(angle)))
            for sign in (-1, 1)
        ]
        cv2.line(line, *ends, 1, WIDTH)
        inside = (line > 0) & (label == number)
        _, parts = cv2.connectedComponents(inside.astype(np.uint8))
        stroke = parts == parts[y, x] if parts[y, x] else np.zeros_like(inside)
        rest = int(np.ceil(wanted)) - np.count_nonzero(found != void)
        pixels = np.argwhere(stroke)
        pixels = pixels[np.argsort(np.abs(pixels - (y, x)).sum(1), kind="stable")][:rest]  # no more than wanted
        found[tuple(pixels.T)] = number
    return found
