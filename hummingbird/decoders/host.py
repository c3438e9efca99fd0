"""Plain callables as encoders, such as PyTorch models: they run on the host, outside of compiled programs."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8

from hummingbird.data.window import PADDING
from hummingbird.encoder import Encoder, name_of
from hummingbird.errors import UserError
from hummingbird.models.backbone import Backbone, Images, Output
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.params import Params
from hummingbird.retrieval.encode import check_shape


@dataclasses.dataclass(frozen=True, eq=False)  # callables need be neither comparable nor hashable
class HostBackbone(Backbone):
    """A callable from images to patch features, as `hb.evaluate` takes it. It stays frozen and gives its last layer.

    Attributes:
      encoder: images uint8 [B, H, W, 3] -> features float32 [B, h, w, D].
      width: D.
    """

    encoder: Encoder
    width: int

    @property
    def patch_size(self) -> int:
        return self.encoder.patch_size

    @property
    def dim(self) -> int:
        return self.width

    def __str__(self) -> str:
        return f"encoder {name_of(self.encoder)}"

    def features(self, params: Params, images: Images) -> Output:
        raise TypeError(f"{self} runs on the host, and no compiled program can call it")

    def encode(self, images: UInt8[np.ndarray, "B H W 3"]) -> Float32[np.ndarray, "B h w D"]:
        """Encodes images, padded on all sides to whole patches.

        Raises:
          UserError: the features do not have the shape [B, h, w, D].
        """
        height, width = images.shape[1:3]
        rows, columns, top, left = padding(height, width, self.patch_size)
        whole = np.empty((len(images), rows, columns, 3), np.uint8)
        whole[:] = PADDING
        whole[:, top : top + height, left : left + width] = images
        features = np.asarray(self.encoder(whole), np.float32)
        check_shape(features, whole, self.patch_size)
        return features


def padding(height: int, width: int, patch: int) -> tuple[int, int, int, int]:
    """Returns the rows and columns of an image padded to whole patches, and the top and left corner of the image in it.

    Example:
      >>> padding(30, 28, 14)
      (42, 28, 6, 0)
    """
    below, right = -height % patch, -width % patch
    return height + below, width + right, below // 2, right // 2


def from_callable(encoder: Encoder, image: UInt8[np.ndarray, "S S 3"], image_name: str) -> FrozenEncoder:
    """Returns a callable as an encoder without parameters.

    Args:
      encoder: images -> patch features, checked by `check_encoder`.
      image: encoded once, to find out the number of channels.
      image_name: for the error.

    Raises:
      UserError: the features have the wrong shape, or are NaN or infinite.
    """
    features = HostBackbone(encoder, 0).encode(image[None])
    if not np.isfinite(features).all():
        raise UserError(f"encoder {name_of(encoder)}: its features of image {image_name} are NaN or infinite")
    name = name_of(encoder)
    fingerprint = getattr(encoder, "fingerprint", None) or name
    return FrozenEncoder(HostBackbone(encoder, features.shape[-1]), {}, name, str(fingerprint))
