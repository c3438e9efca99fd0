"""Positions of tokens at grids other than the trained one, by each project's own rule.

Every resize here is separable and linear, so it is one small matrix per axis, computed in float64 on the host while the
encoder is traced: R [new rows, old rows] and C [new columns, old columns], applied as R P C^T.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hummingbird.errors import UserError


def cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Keys' cubic convolution kernel with parameter `a`, support 2."""

    def kernel(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return kernel


def triangle(x: np.ndarray) -> np.ndarray:
    """Linear interpolation's kernel, support 1."""
    return np.maximum(1 - np.abs(x), 0.0)


def sampled(centers: np.ndarray, old: int, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Weights [new, old] of the taps around `centers` (in old cells), the border cells repeated outward."""
    taps = np.floor(centers)[:, None] + np.arange(-1, 3)  # [new, 4]
    weights = kernel(centers[:, None] - taps)
    matrix = np.zeros((len(centers), old))
    rows = np.repeat(np.arange(len(centers)), 4)
    np.add.at(matrix, (rows, np.clip(taps, 0, old - 1).astype(int).ravel()), weights.ravel())
    return matrix


def filtered(centers: np.ndarray, old: int, ratio: float, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """As `sampled`, but the kernel widens when the grid shrinks (antialiasing) and is renormalised at the border."""
    weights = kernel((np.arange(old)[None] - centers[:, None]) / max(ratio, 1.0))
    return weights / weights.sum(1, keepdims=True)


def cell_centers(new: int, ratio: float) -> np.ndarray:
    """Where the centers of `new` cells lie in the old grid, when a new cell is `ratio` old cells wide."""
    return (np.arange(new) + 0.5) * ratio - 0.5


def _bicubic(old: int, new: int) -> np.ndarray:
    return sampled(cell_centers(new, old / new), old, cubic(-0.75))


def _bicubic_offset(old: int, new: int) -> np.ndarray:
    # DINO asks for a scale of (new + 0.1) / old so that rounding never loses a cell; the samples shift with it.
    return sampled(cell_centers(new, old / (new + 0.1)), old, cubic(-0.75))


def _bicubic_antialias(old: int, new: int) -> np.ndarray:
    return filtered(cell_centers(new, old / new), old, old / new, cubic(-0.5))


def _bilinear_antialias(old: int, new: int) -> np.ndarray:
    return filtered(cell_centers(new, old / new), old, old / new, triangle)


def _bilinear_corners(old: int, new: int) -> np.ndarray:
    return sampled(np.linspace(0, old - 1, new), old, triangle)


# (old cells, new cells) -> weights [new, old]
RESIZE: dict[str, Callable[[int, int], np.ndarray]] = {
    "bicubic": _bicubic,  # torch's interpolate(size=...): MAE, transformers' models
    "bicubic_offset": _bicubic_offset,  # DINO, iBOT, DINOv2 without registers
    "bicubic_antialias": _bicubic_antialias,  # torch's and jax.image's antialiased bicubic: timm, OpenCLIP, ours
    "bilinear_antialias": _bilinear_antialias,  # LOCA, SigLIP2 NaFlex
    "bilinear_corners": _bilinear_corners,  # scipy.ndimage.zoom(order=1), corners on corners: big_vision, vit_jax
}


def resize_matrix(name: str, old: tuple[int, int], new: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """R [new rows, old rows] and C [new columns, old columns] of the rule `name`; the identity where nothing changes.

    Raises:
      UserError: unknown rule.
    """
    if name not in RESIZE:
        raise UserError(f"resizing of positions {name!r} is not known: use one of {', '.join(RESIZE)}")
    if tuple(old) == tuple(new):
        return np.eye(old[0]), np.eye(old[1])
    return RESIZE[name](old[0], new[0]), RESIZE[name](old[1], new[1])


def rotary_angles(rows: int, columns: int, head_dim: int, theta: float) -> np.ndarray:
    """Angles [rows * columns, head_dim] of DINOv3's rotary positions.

    Centers of patches in [-1, 1] on each axis, times 2 pi theta^(-i / (head_dim / 4)); rows first, then columns, the
    whole repeated for the second half of the channels.
    """
    if head_dim % 4:
        raise UserError(f"rotary positions need heads whose width is a multiple of 4, not {head_dim}")
    frequency = theta ** -(np.arange(head_dim // 4) / (head_dim // 4))
    axis = [2 * (np.arange(n) + 0.5) / n - 1 for n in (rows, columns)]
    centers = np.stack(np.meshgrid(*axis, indexing="ij"), -1).reshape(-1, 2)  # [N, (row, column)]
    angles = (2 * np.pi * centers[:, :, None] * frequency).reshape(len(centers), head_dim // 2)
    return np.tile(angles, 2)
