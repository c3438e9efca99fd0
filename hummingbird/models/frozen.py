"""A frozen encoder: parameters and a function of images, whoever trained it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# From this many patches on, a CPU encodes the images of a batch one after the other: what a layer works with then stays
# below what the C library hands out without asking the kernel for fresh pages (`scripts/bench encoder`, ViT-S/16, 512
# pixels, 8 images on two cores: float32 2.8 s instead of 3.6, bfloat16 1.9 instead of 2.9).
ONE_BY_ONE_FROM = 256


@dataclasses.dataclass(frozen=True)
class FrozenEncoder:
    """images uint8 [B, H, W, 3] -> features float32 [B, h, w, D]; H and W multiples of `patch_size`.

    A batch is split over the devices of this process; they hold a copy of the parameters each.

    Attributes:
      apply: (params, images float32 in [0, 1]) -> [B, h, w, D], jitted on first use; hashable. Encoders with the same
        function, for example of several steps of a run, share the compiled program.
      params: tree of arrays.
      patch_size, dim: pixels, features.
      name: what it is, for people.
      fingerprint: checksum of its parameters and of what is computed with them.
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
        return self._run("apply", images)

    def attention(self, images: np.ndarray) -> np.ndarray | None:
        """Pooling attention of images [B, H, W, 3]: [B, h, w], each summing to 1; None where there is none."""
        return None if self.attend is None else self._run("attend", images)

    def _run(self, name: str, images: np.ndarray) -> np.ndarray:
        """`apply` or `attend` of a batch that is filled up to a multiple of the devices, and cut again."""
        images = _checked(images)
        count = min(jax.local_device_count(), max(1, len(images)))
        if (name, count) not in self._programs:
            self._programs[name, count] = self._place(getattr(self, name), count)
        params, sharding, program = self._programs[name, count]
        filled = np.zeros((-(-len(images) // count) * count, *images.shape[1:]), np.uint8)
        filled[: len(images)] = images
        return np.asarray(program(params, jax.device_put(filled, sharding)))[: len(images)]

    def _place(self, function: Callable[[Any, jax.Array], jax.Array], count: int) -> tuple[Any, Any, Any]:
        """Parameters on each of `count` devices, how a batch is split over them, and the program of all."""
        whole, split, program = _compiled(function, self.patch_size, count)
        placed = next((params for (_, n), (params, *_) in self._programs.items() if n == count), None)
        return jax.device_put(self.params, whole) if placed is None else placed, split, program

    @functools.cached_property
    def _programs(self) -> dict[tuple[str, int], tuple[Any, Any, Any]]:
        return {}


# Few, for a function may hold on to much.
@functools.lru_cache(maxsize=8)
def _compiled(
    function: Callable[[Any, jax.Array], jax.Array], patch_size: int, count: int
) -> tuple[NamedSharding, NamedSharding, Callable[[Any, jax.Array], jax.Array]]:
    """Where parameters and images lie on `count` devices, and the program: one for all encoders of a function."""
    mesh = Mesh(np.asarray(jax.local_devices()[:count]), ("images",), axis_types=(AxisType.Auto,))
    whole, split = PartitionSpec(), PartitionSpec("images")

    def program(params: Any, images: jax.Array) -> jax.Array:
        _, height, width, _ = images.shape
        few = height * width // patch_size**2 < ONE_BY_ONE_FROM
        run = lambda part: function(params, part.astype(jnp.float32) / 255).astype(jnp.float32)
        if few or jax.default_backend() != "cpu":
            return run(images)
        return jax.lax.map(lambda image: run(image[None])[0], images)

    # shard_map: no part of the network can be tempted to exchange what belongs to other devices.
    mapped = jax.shard_map(program, mesh=mesh, in_specs=(whole, split), out_specs=split, check_vma=False)
    return NamedSharding(mesh, whole), NamedSharding(mesh, split), jax.jit(mapped)


def _checked(images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"an encoder takes uint8 [B, H, W, 3], not {images.dtype} {list(images.shape)}")
    return images
