"""A frozen encoder: parameters and a function of images, whoever trained it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Encoder:
    """images uint8 [B, H, W, 3] -> features float32 [B, h, w, D]; H and W multiples of `patch_size`.

    Attributes:
      apply: (params, images float32 in [0, 1]) -> [B, h, w, D], jitted on first use.
      params: tree of arrays.
      patch_size, dim: pixels, features.
      name: what it is, for people.
      fingerprint: checksum of its parameters.
      attend: like `apply`, gives the pooling attention [B, h, w]; None where there is none.
    """

    apply: Callable[[Any, jax.Array], jax.Array]
    params: Any
    patch_size: int
    dim: int
    name: str
    fingerprint: str
    attend: Callable[[Any, jax.Array], jax.Array] | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._apply(self.params, _checked(images)))

    def attention(self, images: np.ndarray) -> np.ndarray | None:
        """Pooling attention of images [B, H, W, 3]: [B, h, w], each summing to 1; None where there is none."""
        return None if self._attend is None else np.asarray(self._attend(self.params, _checked(images)))

    @functools.cached_property
    def _apply(self) -> Callable[[Any, Any], jax.Array]:
        return jax.jit(lambda params, images: self.apply(params, images.astype(jnp.float32) / 255).astype(jnp.float32))

    @functools.cached_property
    def _attend(self) -> Callable[[Any, Any], jax.Array] | None:
        attend = self.attend
        return attend and jax.jit(lambda params, images: attend(params, images.astype(jnp.float32) / 255))


def _checked(images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"an encoder takes uint8 [B, H, W, 3], not {images.dtype} {list(images.shape)}")
    return images
