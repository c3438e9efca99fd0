"""Keys of a memory bank: unit vectors, stored as float32 or bfloat16."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from jaxtyping import Float, Float32

KEY_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
# Keys above this size are stored as bfloat16 unless the config names a type.
AUTO_FLOAT32_BYTES = 2**29


def key_dtype(name: str, length: int, dim: int) -> np.dtype[np.generic]:
    """Returns the type of stored keys; "auto" is float32 up to 512 MiB of keys [length, dim], bfloat16 above."""
    if name == "auto":
        name = "float32" if 4 * length * dim <= AUTO_FLOAT32_BYTES else "bfloat16"
    return KEY_DTYPES[name]


def normalise(
    features: Float[np.ndarray, "*N D"],
) -> tuple[Float32[np.ndarray, "*N D"], Float32[np.ndarray, "*N"]]:
    """Divides features by their L2 norm; zero features stay zero. Returns them and the norms.

    Example:
      >>> normalise(np.array([[3.0, 4.0]]))
      (array([[0.6, 0.8]], dtype=float32), array([5.], dtype=float32))
    """
    features = np.asarray(features, np.float32)
    norm = np.sqrt(np.einsum("...d,...d->...", features, features))
    return features / np.where(np.isfinite(norm) & (norm > 0), norm, 1)[..., None], norm
