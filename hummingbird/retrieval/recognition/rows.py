"""Training features on the devices of this process: rows divided among them, in blocks that bound what is computed."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32, Int32

BLOCK = 8192  # rows whose logits exist at a time, on all devices together


class Rows(NamedTuple):
    """Features and labels on the devices.

    Attributes:
      features: blocks of rows; those of padding are zero.
      labels: class ids.
      weights: 1 / N for each of N rows, 0 for padding.
    """

    features: Float32[Array, "n b D"]
    labels: Int32[Array, "n b"]
    weights: Float32[Array, "n b"]


def place(
    features: Float32[np.ndarray, "N D"],
    labels: Int32[np.ndarray, " N"],
    norms: Float32[np.ndarray, " N"] | None = None,
    intercept: bool = False,
) -> Rows:
    """Copies features to the devices, 4 N D bytes in all.

    Args:
      features: of N images.
      labels: class ids.
      norms: to multiply the features with; None: as they are.
      intercept: add a feature that is 1.
    """
    count = jax.local_device_count()
    block = min(BLOCK, -(-len(features) // count) * count)
    block = -(-block // count) * count
    blocks = -(-len(features) // block)
    mesh = Mesh(np.asarray(jax.local_devices()), ("rows",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec(None, "rows"))
    padded = np.zeros((blocks * block, features.shape[1] + intercept), np.float32)
    padded[: len(features), : features.shape[1]] = features if norms is None else features * norms[:, None]
    padded[: len(features), features.shape[1] :] = 1
    ids, weights = np.zeros(len(padded), np.int32), np.zeros(len(padded), np.float32)
    ids[: len(labels)], weights[: len(labels)] = labels, 1 / len(labels)
    arrays = (padded, ids, weights)
    return Rows(*(jax.device_put(x.reshape(blocks, block, *x.shape[1:]), split) for x in arrays))


def predict(
    weights: Float32[np.ndarray, "E C"],
    features: Float32[np.ndarray, "N D"],
    norms: Float32[np.ndarray, " N"] | None = None,
) -> Float32[np.ndarray, "N C"]:
    """Returns the logits of features; a last row of the weights that no feature belongs to is the intercept."""
    scores = features @ weights[: features.shape[1]]
    scores = scores if norms is None else scores * norms[:, None]
    return scores + weights[features.shape[1] :].sum(axis=0)
