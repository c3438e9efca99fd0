"""An encoder with a head: what is fitted and what predicts, as pure functions of parameters and images."""

# JAX's own annotations are partly unknown, and Flax's modules return anything.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, UInt8

from hummingbird.data.window import PADDING
from hummingbird.decoders.head import Decoded, Head
from hummingbird.decoders.host import HostBackbone, padding
from hummingbird.models.backbone import LAST_LAYER, Backbone, Images, Output, to_unit
from hummingbird.models.frozen import precision
from hummingbird.models.params import Params


class Encoded(NamedTuple):
    """What an encoder gives to a head.

    Attributes:
      maps: features [B, h, w, D] of each layer that it takes.
      cls: their [CLS] tokens [B, D]; empty if the head takes none.
    """

    maps: Sequence[Float[Array | np.ndarray, "B _ _ _"]]
    cls: Sequence[Float[Array | np.ndarray, "B _"]]


@dataclasses.dataclass(frozen=True)
class Model:
    """A backbone and a head on it. Hashable: equal models share compiled programs.

    Attributes:
      backbone: the encoder.
      head: takes its features.
    """

    backbone: Backbone
    head: Head

    def inputs(self, images: UInt8[np.ndarray, "B H W 3"]) -> UInt8[np.ndarray, "B H W 3"] | Encoded:
        """Returns what compiled programs take: the images, or their features if the encoder runs on the host."""
        return Encoded([self.backbone.encode(images)], []) if isinstance(self.backbone, HostBackbone) else images

    def input_shapes(self, count: int, size: int) -> jax.ShapeDtypeStruct | Encoded:
        """Returns the shapes of `inputs` for square images."""
        if not isinstance(self.backbone, HostBackbone):
            return jax.ShapeDtypeStruct((count, size, size, 3), jnp.uint8)
        side = -(-size // self.backbone.patch_size)
        shape: Any = jax.ShapeDtypeStruct((count, side, side, self.backbone.dim), jnp.float32)
        return Encoded([shape], [])

    def encode(self, params: Params, inputs: Images | Encoded, drop_keys: Key[Array, " B"] | None = None) -> Encoded:
        """Returns the features that the head takes; images of any size are padded to whole patches.

        `drop_keys`: one key per image for stochastic depth; None: without.
        """
        if isinstance(inputs, Encoded):
            return inputs
        with precision(self.backbone.dtype):
            outputs = self._outputs(params, padded(inputs, self.backbone.patch_size), drop_keys)
        cls = [x.cls for x in outputs if x.cls is not None] if self.head.uses_cls else []
        return Encoded([x.patches for x in outputs], cls)

    def _outputs(self, params: Params, images: Images, drop_keys: Key[Array, " B"] | None) -> list[Output]:
        layers, norm = self.head.layers, self.head.norm
        if layers == LAST_LAYER.layers and norm and drop_keys is None:  # which any encoder has
            return [self.backbone.features(params, images)]
        return self.backbone.layers(params, images, layers, norm, drop_keys)

    def decode(self, params: Params, stats: Params, encoded: Encoded) -> Decoded:
        """Returns the outputs of the head, with its running statistics."""
        with precision(self.backbone.dtype):
            variables: Any = {"params": params, "batch_stats": stats}
            decoded: Any = self.head.apply(variables, encoded.maps, encoded.cls or None, train=False)
        return decoded

    def decode_training(
        self, params: Params, stats: Params, encoded: Encoded, rng: Key[Array, ""]
    ) -> tuple[Decoded, Params]:
        """Returns the outputs of the head in training, and its new running statistics."""
        with precision(self.backbone.dtype):
            variables: Any = {"params": params, "batch_stats": stats}
            inputs, rngs = (encoded.maps, encoded.cls or None), {"dropout": rng}
            found: Any = self.head.apply(variables, *inputs, train=True, mutable=["batch_stats"], rngs=rngs)
        decoded, changed = found
        return decoded, changed.get("batch_stats", stats)

    def predict(
        self, encoder: Params, head: Params, stats: Params, inputs: Images | Encoded
    ) -> Float[Array, "B _ _ C"]:
        """Returns the outputs for images, on the grid of the head."""
        return self.decode(head, stats, self.encode(encoder, inputs)).output


def padded(images: Images, patch: int) -> Float[Array, "B H W 3"]:
    """Pads images on all sides to whole patches, with ImageNet's mean colour; pixels become floats in [0, 1].

    DINOv2's CenterPadding. Outputs are resized to the labels as if there were no padding, as there.

    Example:
      >>> padded(jnp.zeros((1, 30, 28, 3)), 14).shape
      (1, 42, 28, 3)
    """
    x = to_unit(images)
    rows, columns, top, left = padding(x.shape[1], x.shape[2], patch)
    if (rows, columns) == x.shape[1:3]:
        return x
    whole = jnp.broadcast_to(jnp.asarray(PADDING, jnp.float32) / 255, (len(x), rows, columns, 3))
    return jax.lax.dynamic_update_slice(whole, x, (0, top, left, 0))
