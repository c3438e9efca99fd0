"""Position embeddings: fixed, rotary and relative ones, and learned ones resized to other grids by each project's rule.

Every rule of resizing is separable and linear, so it is one small matrix per axis, computed in float64 on the host
while the encoder is traced: R [new rows, old rows] and C [new columns, old columns], applied as R P C^T.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture


def cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Returns Keys' cubic convolution kernel with parameter `a`, of support 2."""

    def kernel(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return kernel


def triangle(x: np.ndarray) -> np.ndarray:
    """Computes the kernel of linear interpolation, of support 1."""
    return np.maximum(1 - np.abs(x), 0.0)


def sampled(centers: np.ndarray, old: int, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns the weights [new, old] of the taps around `centers` (in old cells); border cells repeat outwards."""
    taps = np.floor(centers)[:, None] + np.arange(-1, 3)  # [new, 4]
    weights = kernel(centers[:, None] - taps)
    matrix = np.zeros((len(centers), old))
    rows = np.repeat(np.arange(len(centers)), 4)
    np.add.at(matrix, (rows, np.clip(taps, 0, old - 1).astype(int).ravel()), weights.ravel())
    return matrix


def filtered(centers: np.ndarray, old: int, ratio: float, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Does what `sampled` does with a kernel that widens when the grid shrinks and is renormalised at the border."""
    weights = kernel((np.arange(old)[None] - centers[:, None]) / max(ratio, 1.0))
    return weights / weights.sum(1, keepdims=True)


def cell_centers(new: int, ratio: float) -> np.ndarray:
    """Returns the centers of `new` cells in the old grid, if a new cell is `ratio` old cells wide."""
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


CROPPED = "bilinear_cropped"  # RADIO: bilinear on a square of the longer side, of which the rectangle is cut off

# (old cells, new cells) -> weights [new, old]
RESIZE: dict[str, Callable[[int, int], np.ndarray]] = {
    "bicubic": _bicubic,  # torch's interpolate(size=...): MAE, transformers' models
    "bicubic_offset": _bicubic_offset,  # DINO, iBOT, DINOv2 without registers
    "bicubic_antialias": _bicubic_antialias,  # torch's and jax.image's antialiased bicubic: timm, OpenCLIP, ours
    "bilinear_antialias": _bilinear_antialias,  # LOCA, SigLIP2 NaFlex
    "bilinear_corners": _bilinear_corners,  # scipy.ndimage.zoom(order=1), corners on corners: big_vision, vit_jax
}


def _bilinear(old: int, new: int) -> np.ndarray:
    return sampled(cell_centers(new, old / new), old, triangle)


def _relative_geometric(old: int, new: int) -> np.ndarray:
    """Returns linear weights between old offsets that grow geometrically up to the new reach (BEiT's code)."""
    low, high = 1.01, 1.5
    ratio = (low + high) / 2
    while high - low > 1e-6:
        ratio = (low + high) / 2
        low, high = (low, ratio) if (ratio ** (old // 2) - 1) / (ratio - 1) > new // 2 else (ratio, high)
    steps = np.cumsum(ratio ** np.arange(old // 2)) if old > 1 else np.zeros(0)
    places = np.concatenate([-steps[::-1], [0], steps])
    wanted = np.arange(new) - new // 2
    return np.stack([np.interp(wanted, places, row) for row in np.eye(old)], axis=1)


# (old offsets, new offsets) -> weights [new, old], for tables of relative positions
RELATIVE: dict[str, Callable[[int, int], np.ndarray]] = {
    "bilinear": _bilinear,  # torch's interpolate: transformers' models
    "geometric": _relative_geometric,  # timm; BEiT's code has cubic weights between the same offsets
}


def relative_matrix(
    name: str, old: tuple[int, int], new: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, Int[np.ndarray, "T T"]]:
    """Returns how a table of relative positions, with three entries for [CLS] at its end, serves another grid.

    Args:
      name: a rule in `RELATIVE`.
      old, new: (rows, columns) of patches.

    Returns:
      R [2 new rows - 1, 2 old rows - 1] and C, float64, which resize the table; and which entry of the resized one
      each pair of the T tokens ([CLS], patches) takes: query row and column minus those of the key, row-major, then
      from [CLS], to [CLS] and within [CLS].
    """
    matrices = [
        np.eye(2 * n - 1) if tuple(old) == tuple(new) else RELATIVE[name](2 * o - 1, 2 * n - 1)
        for o, n in zip(old, new, strict=True)
    ]
    row, column = (axis.reshape(-1) for axis in np.mgrid[: new[0], : new[1]])
    down, right = (axis[:, None] - axis[None] + n - 1 for axis, n in zip((row, column), new, strict=True))
    entries = (2 * new[0] - 1) * (2 * new[1] - 1)
    index = np.pad(down * (2 * new[1] - 1) + right, ((1, 0), (1, 0)))
    index[0], index[1:, 0], index[0, 0] = entries, entries + 1, entries + 2
    return matrices[0], matrices[1], index


def resize_matrix(name: str, old: tuple[int, int], new: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the matrices that resize a grid; identities where it keeps its size.

    Args:
      name: a rule in `RESIZE`, or `CROPPED`.
      old, new: (rows, columns).

    Returns:
      R [new rows, old rows] and C [new columns, old columns], float64.

    Raises:
      UserError: unknown rule.
    """
    if name not in (*RESIZE, CROPPED):
        raise UserError(f"resizing of positions {name!r} is not known: use one of {', '.join((*RESIZE, CROPPED))}")
    if tuple(old) == tuple(new):
        return np.eye(old[0]), np.eye(old[1])
    if name == CROPPED:
        return _bilinear(old[0], max(new))[: new[0]], _bilinear(old[1], max(new))[: new[1]]
    return RESIZE[name](old[0], new[0]), RESIZE[name](old[1], new[1])


def resize_positions(
    table: Float[Array | np.ndarray, "N D"], old: tuple[int, int], new: tuple[int, int], rule: str = "bicubic_antialias"
) -> Float[Array, "M D"]:
    """Resizes learned positions from `old` to `new` (rows, columns) by a rule in `RESIZE`; in float32 if they change.

    Example:
      >>> resize_positions(jnp.ones((16, 3)), (4, 4), (2, 6)).shape
      (12, 3)
    """
    if old == new:
        return jnp.asarray(table)
    r, c = (jnp.asarray(matrix, jnp.float32) for matrix in resize_matrix(rule, old, new))
    grid = jnp.asarray(table, jnp.float32).reshape(*old, -1)
    resized = jnp.einsum("ri,cj,ijd->rcd", r, c, grid, precision=jax.lax.Precision.HIGHEST)
    return resized.reshape(new[0] * new[1], -1)


def sincos2d(rows: int, columns: int, width: int) -> Float[np.ndarray, "N D"]:
    """Returns fixed 2-D positions (MoCo v3): sine and cosine of the column, then sine and cosine of the row.

    Returns:
      float64 [rows * columns, width].

    Raises:
      UserError: `width` is not a multiple of 4.
    """
    if width % 4:
        raise UserError(f"encoder.width {width} must be a multiple of 4 for encoder.positions=sincos2d")
    frequency = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
    row, column = (axis.reshape(-1, 1) * frequency for axis in np.mgrid[:rows, :columns].astype(np.float64))
    return np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=1)


def rotary_angles(rows: int, columns: int, head_dim: int, theta: float) -> Float[np.ndarray, "N d"]:
    """Returns the angles of DINOv3's rotary positions.

    They are the centers of the patches, in [-1, 1] on each axis, times 2 pi theta^(-i / (head_dim / 4)): rows first,
    then columns, and the whole once more for the second half of the channels.

    Returns:
      float64 [rows * columns, head_dim].

    Raises:
      UserError: `head_dim` is not a multiple of 4.
    """
    if head_dim % 4:
        raise UserError(f"rotary positions need a head width that is a multiple of 4, not {head_dim}")
    frequency = theta ** -(np.arange(head_dim // 4) / (head_dim // 4))
    axis = [2 * (np.arange(n) + 0.5) / n - 1 for n in (rows, columns)]
    centers = np.stack(np.meshgrid(*axis, indexing="ij"), -1).reshape(-1, 2)  # [N, (row, column)]
    angles = (2 * np.pi * centers[:, :, None] * frequency).reshape(len(centers), head_dim // 2)
    return np.tile(angles, 2)


def axial_angles(positions: tuple[np.ndarray, np.ndarray], head_dim: int, theta: float) -> Float[np.ndarray, "N d"]:
    """Returns the angles of EVA-02's rotary positions: p theta^(-i / (head_dim / 4)), each for two neighbours.

    Args:
      positions: p of each patch on two axes; the angles of the first come first.
      head_dim: d, a multiple of 4.
      theta: of the frequencies.
    """
    frequency = theta ** -(np.arange(head_dim // 4) / (head_dim // 4))
    angles = np.concatenate([axis.reshape(-1, 1) * frequency for axis in positions], axis=1)
    return np.repeat(angles, 2, axis=1)


def _dinov3(arch: Architecture, rows: int, columns: int) -> np.ndarray:
    return rotary_angles(rows, columns, arch.width // arch.heads, arch.rotary)


def _eva(arch: Architecture, rows: int, columns: int) -> np.ndarray:
    """In 16ths of a side whatever the grid, as EVA-02 was pretrained."""
    row, column = np.mgrid[:rows, :columns] * 16 / np.array([rows, columns]).reshape(2, 1, 1)
    return axial_angles((row, column), arch.width // arch.heads, arch.rotary)


def _perception(arch: Architecture, rows: int, columns: int) -> np.ndarray:
    """In cells of the trained grid, columns first; [CLS], if there is one, has position 0, the first patch 1."""
    grid = np.array(arch.grid or (rows, columns)).reshape(2, 1, 1) / np.array([rows, columns]).reshape(2, 1, 1)
    row, column = (np.mgrid[:rows, :columns] + int(arch.cls)) * grid
    return axial_angles((column, row), arch.width // arch.heads, arch.rotary)


# Angles [rows * columns, head width] of an architecture's rotary positions.
ROTARY: dict[str, Callable[[Architecture, int, int], np.ndarray]] = {
    "dinov3": _dinov3,
    "eva": _eva,
    "perception": _perception,
}
NEIGHBOURS = ("eva", "perception")  # neighbouring channels form a pair, not those at a distance of half the head
