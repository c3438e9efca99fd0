"""Encoders for evaluation: loads whatever a path or a name stands for, and says what else can be evaluated.

An encoder is any callable from images, uint8 [B, H, W, 3], to patch features, float32 [B, h, w, D], with an attribute
`patch_size`. A PyTorch model, for example, needs no more than this to be scored:

    class Mine:
        patch_size, name = 16, "mine"

        @torch.no_grad()
        def __call__(self, images):
            x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - MEAN) / STD
            tokens = model.forward_features(x)[:, 1:]                       # [B, h * w, D]
            side = images.shape[1] // self.patch_size
            return tokens.reshape(len(x), side, -1, tokens.shape[-1]).numpy()

    hb.evaluate(Mine(), "pascal_voc", root="VOCdevkit/VOC2012")

JAX reserves three quarters of a GPU's memory at its start: set XLA_PYTHON_CLIENT_PREALLOCATE=false where such a model
needs the same GPU.
"""

from __future__ import annotations

import os
from typing import Protocol, runtime_checkable

import numpy as np
from etils import epath
from numpy.typing import ArrayLike
from typing_extensions import Unpack

from hummingbird.config.evaluate import EncoderSettings
from hummingbird.errors import UserError
from hummingbird.models.backbone import check_dtype
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.weights.options import Options


@runtime_checkable
class Encoder(Protocol):
    """Anything that can be evaluated; `dim`, `name`, `fingerprint`, `std` and those of `arithmetic` are optional.

    Attributes:
      patch_size: side of the square of pixels that one feature stands for; divides H and W.
    """

    @property
    def patch_size(self) -> int: ...

    def __call__(self, images: np.ndarray, /) -> ArrayLike:
        """Encodes images, uint8 [B, H, W, 3], as features, float32 [B, H / patch_size, W / patch_size, D]."""
        ...


def name_of(encoder: Encoder) -> str:
    """Returns `encoder.name`, or the name of the function or of the class if there is none."""
    return getattr(encoder, "name", None) or getattr(encoder, "__name__", type(encoder).__name__)


def arithmetic(encoder: Encoder) -> dict[str, str | None]:
    """Returns how an encoder computes: "dtype", "backend" and "device_kind"; None for what it does not say."""
    return {name: getattr(encoder, name, None) for name in ("dtype", "backend", "device_kind")}


def build_encoder(path: str, settings: EncoderSettings) -> FrozenEncoder:
    """Loads the encoder at `path` as the `encoder` group of an evaluation config says."""
    return load_encoder(
        path,
        settings.network,
        settings.dtype,
        family=settings.family,
        features=settings.features,
        layers=settings.layers or None,
        norm=settings.norm,
        prefix=settings.prefix,
        heads=settings.heads,
        grid=settings.grid,
    )


def load_encoder(
    path: str, network: str = "online", dtype: str = "float32", **options: Unpack[Options]
) -> FrozenEncoder:
    """Loads the encoder that a path or a name stands for.

    Args:
      path: a training workdir or one of its step folders, an imported folder or another project's weights file,
        `hf:ORG/NAME[@REVISION]` or `timm:NAME.TAG` (weights on the Hugging Face Hub; needs the extra `hub`),
        `shipped:photographs` (a small encoder that comes with the package), `random:vit_s16` (random weights),
        `random:WORKDIR` (random weights in a run's architecture), or `rgb:PATCH` (the raw pixels of each patch).
      network: "online" or "target", for training checkpoints.
      dtype: "float32", "tf32" or "bfloat16"; `hummingbird.models.backbone.ARITHMETIC` explains them.
      options: for files of other projects: family, features, layers, norm, ... as in `hummingbird.weights.load`.

    Raises:
      UserError: there is nothing at the path, it is not an encoder, or the dtype is unknown.
    """
    from hummingbird.run import checkpoint
    from hummingbird.weights import foreign, hub, own, shipped

    check_dtype(dtype)
    path = os.path.expanduser(path)
    kind, _, rest = path.partition(":")
    if hub.is_hub(path) or shipped.is_shipped(path):
        return foreign.load_foreign(path, dtype=dtype, **options)
    given = [name for name, value in options.items() if value is not None]
    if given and (kind in own.NAMED or checkpoint.is_training(path)):
        raise UserError(f"encoder.{given[0]} is for files of other projects; leave it out for {path}")
    if kind in own.NAMED:
        return own.NAMED[kind](os.path.expanduser(rest), dtype)
    if not epath.Path(path).exists():
        raise UserError(
            f"checkpoint {path} does not exist; give a training workdir, an imported folder, a weights file, "
            "hf:ORG/NAME, timm:NAME, shipped:photographs, random:vit_s16 or rgb:16"
        )
    if checkpoint.is_training(path):
        return own.load_trained(path, network, dtype)
    return foreign.load_foreign(path, dtype=dtype, **options)
