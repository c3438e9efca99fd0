"""Query crops of LOCA: cut from a view on the device, with the place of each of their patches in that view."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

ASPECT = (3 / 4, 4 / 3)  # range of width / height of a query


def sample_boxes(keys: Key[Array, "B Q"], side: int, area: tuple[float, float]) -> Float[Array, "B Q 4"]:
    """Draws boxes inside square views: top, left, height, width in pixels.

    Args:
      keys: one per query.
      side: of the views, pixels.
      area: range of a box's area, as a fraction of the view; a box never leaves the view.
    """

    def one(key: Array) -> Array:
        share, stretch, down, right = jax.random.uniform(key, (4,))
        length = side * jnp.sqrt(area[0] + (area[1] - area[0]) * share)
        low, high = math.log(ASPECT[0]) / 2, math.log(ASPECT[1]) / 2
        ratio = jnp.exp(low + (high - low) * stretch)  # square root of width / height
        height, width = jnp.minimum(length / ratio, side), jnp.minimum(length * ratio, side)
        return jnp.stack([down * (side - height), right * (side - width), height, width])

    return jax.vmap(jax.vmap(one))(keys)


def cut(
    images: Float[Array | np.ndarray, "B S S 3"], boxes: Float[Array | np.ndarray, "B Q 4"], size: int
) -> Float[Array, "B Q q q 3"]:
    """Cuts boxes and resizes them to `size` x `size` pixels, bilinearly and without aliasing.

    Example:
      >>> whole = jnp.array([[[0.0, 0.0, 4.0, 4.0]]])
      >>> cut(jnp.ones((1, 4, 4, 3)), whole, 2).shape
      (1, 1, 2, 2, 3)
    """

    def one(image: Array, box: Array) -> Array:
        scale = size / box[2:]
        shape = (size, size, image.shape[-1])
        return jax.image.scale_and_translate(image, shape, (0, 1), scale, -box[:2] * scale, "linear", antialias=True)

    return jax.vmap(jax.vmap(one, (None, 0)))(jnp.asarray(images), jnp.asarray(boxes))


def places(boxes: Float[Array, "B Q 4"], grid: int, patch: int, rows: int) -> Int[Array, "B Q n"]:
    """Returns the patch of the view in which the centre of each patch of a query lies: LOCA's h(i, j) (Sec. 3.1).

    Args:
      boxes: in pixels of the view.
      grid: patches along a side of a query.
      patch: patch size of the view, pixels.
      rows: patches along a side of the view.

    Example:
      >>> places(jnp.array([[[8.0, 0.0, 16.0, 16.0]]]), grid=2, patch=8, rows=4).tolist()  # rows 1-2, columns 0-1
      [[[4, 5, 8, 9]]]
    """
    centers = (jnp.arange(grid) + 0.5) / grid
    row, column = (
        jnp.clip(jnp.floor((boxes[..., i, None] + centers * boxes[..., i + 2, None]) / patch), 0, rows - 1)
        for i in (0, 1)
    )
    numbers = row[..., :, None] * rows + column[..., None, :]
    return numbers.reshape(*boxes.shape[:2], grid * grid).astype(jnp.int32)
