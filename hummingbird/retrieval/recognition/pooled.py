"""One vector for an image: the [CLS] token, the mean of the patches, or a training run's own attention pooling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.retrieval.encode import check_shape

Images = UInt8[np.ndarray, "B H W 3"]
Pool = Callable[[Encoder, Images], Float32[np.ndarray, "B D"]]


def mean(encoder: Encoder, images: Images) -> Float32[np.ndarray, "B D"]:
    """Returns the mean of the patch features."""
    features = np.asarray(encoder(images), np.float32)
    check_shape(features, images, encoder.patch_size)
    return features.mean(axis=(1, 2))


def cls(encoder: Encoder, images: Images) -> Float32[np.ndarray, "B D"]:
    """Returns the [CLS] token, after the final norm."""
    if not isinstance(encoder, FrozenEncoder):
        raise UserError("config key images.pooling: this encoder gives patch features alone; use mean")
    return np.asarray(encoder.cls(images), np.float32)


def cls_mean(encoder: Encoder, images: Images) -> Float32[np.ndarray, "B E"]:
    """Returns the [CLS] token and the mean of the patches, one after the other (DINO and DINOv2, linear probing)."""
    return np.concatenate([cls(encoder, images), mean(encoder, images)], axis=1)


def qkv(encoder: Encoder, images: Images) -> Float[np.ndarray, "B D"]:
    """Returns what the attention pooling of a pretraining run makes of an image (Eq. 3)."""
    pooled = encoder.pooled(images) if isinstance(encoder, FrozenEncoder) else None
    if pooled is None:
        raise UserError(
            "config key images.pooling: qkv needs a training run with pooling qkv or qk; this encoder has no attention "
            "pooling, use auto"
        )
    return pooled


LAYERS = (-4, -3, -2, -1)  # of `layers`


def layers(encoder: Encoder, images: Images) -> Float32[np.ndarray, "B E"]:
    """Returns the [CLS] tokens of the last four blocks and the mean of the last one's patches, side by side."""
    if not isinstance(encoder, FrozenEncoder):
        raise UserError("config key images.pooling: this encoder gives patch features alone; use mean")
    return np.concatenate(encoder.class_tokens(images, LAYERS), axis=1)


def feature_sets(pooling: str, width: int) -> dict[str, Int[np.ndarray, " e"]]:
    """Returns which columns of pooled features are tried by linear probing, by name (DINOv2, eval/linear.py).

    Of `layers`: the [CLS] of the last block or of the last four, without and with the mean of the patches.

    Example:
      >>> {name: len(columns) for name, columns in feature_sets("layers", 5 * 8).items()}
      {'1 block': 8, '1 block and patches': 16, '4 blocks': 32, '4 blocks and patches': 40}
    """
    if pooling != "layers":
        return {pooling: np.arange(width)}
    count = len(LAYERS)
    tokens, patches = np.split(np.arange(width), [width * count // (count + 1)])
    sets = {"1 block": tokens[-len(patches) :], "4 blocks": tokens}
    both = {f"{name} and patches": np.concatenate([columns, patches]) for name, columns in sets.items()}
    return dict(sorted({**sets, **both}.items()))


def patches(encoder: Encoder, images: Images) -> Float32[np.ndarray, "B E"]:
    """Returns the features of all patches, one after the other."""
    features = np.asarray(encoder(images), np.float32)
    check_shape(features, images, encoder.patch_size)
    return features.reshape(len(features), -1)


POOLING: dict[str, Pool] = {
    "cls": cls,
    "mean": mean,
    "cls_mean": cls_mean,
    "qkv": qkv,
    "layers": layers,
    "patches": patches,
}


def choose(name: str, encoder: Encoder) -> str:
    """Returns the pooling that a setting means for an encoder: auto is cls where there is one, else mean."""
    if name != "auto":
        return name
    return "cls" if isinstance(encoder, FrozenEncoder) and encoder.backbone.has_cls else "mean"
