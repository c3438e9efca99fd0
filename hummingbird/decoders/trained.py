"""A trained decoder: an encoder with a fitted head as a function of images."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float32, UInt8

from hummingbird.decoders.model import Encoded, Model
from hummingbird.models.params import Params


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Images uint8 [B, H, W, 3] to outputs float32 [B, h, w, C], logits or values, on the grid of the head.

    A batch is split over the devices of this process, each of which holds a copy of the parameters.

    Attributes:
      model: encoder and head.
      encoder: parameters of the encoder.
      head: parameters of the head.
      stats: running statistics of the head.
      name: for people.
    """

    model: Model
    encoder: Params
    head: Params
    stats: Params
    name: str

    @property
    def patch_size(self) -> int:
        """Pixels along a side of the encoder's patches."""
        return self.model.backbone.patch_size

    def __call__(self, images: UInt8[np.ndarray, "B H W 3"]) -> Float32[np.ndarray, "B h w C"]:
        split, program = _compiled(self.model, min(jax.local_device_count(), len(images)))
        count = split.mesh.size
        padded = np.zeros((-(-len(images) // count) * count, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        outputs = program(*self._placed(count), jax.device_put(self.model.inputs(padded), split))
        return np.asarray(outputs, np.float32)[: len(images)]

    def features(self, images: UInt8[np.ndarray, "B H W 3"]) -> Float32[np.ndarray, "B h w D"]:
        """Returns the first map of features that the head takes."""
        encoded = jax.jit(self.model.encode)(self.encoder, self.model.inputs(images))
        return np.asarray(encoded.maps[0], np.float32)

    def _placed(self, count: int) -> tuple[Params, Params, Params]:
        """Returns the parameters on the first `count` devices."""
        placed = self.__dict__.setdefault("_copies", dict[int, tuple[Params, Params, Params]]())
        if count not in placed:
            whole = NamedSharding(_mesh(count), PartitionSpec())
            placed[count] = jax.device_put((self.encoder, self.head, self.stats), whole)
        return placed[count]


def encode_with(model: Model, params: Params, batch_size: int) -> Callable[[UInt8[np.ndarray, "B H W 3"]], Encoded]:
    """Returns what encodes batches of `batch_size` images on the devices of this process."""
    mesh = _mesh(math.gcd(jax.local_device_count(), batch_size))
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("images"))
    program = jax.jit(model.encode, in_shardings=(whole, split), out_shardings=split)
    placed = jax.device_put(params, whole)
    return lambda images: program(placed, model.inputs(images))


def _mesh(count: int) -> Mesh:
    return Mesh(np.asarray(jax.local_devices()[:count]), ("images",), axis_types=(AxisType.Auto,))


# Few, for a function may hold on to much.
@functools.lru_cache(maxsize=8)
def _compiled(model: Model, count: int) -> tuple[NamedSharding, jax.stages.Wrapped]:
    """Where images lie on `count` devices, and the program."""
    mesh = _mesh(count)
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("images"))
    program = jax.jit(model.predict, in_shardings=(whole, whole, whole, split), out_shardings=split)
    return split, program
