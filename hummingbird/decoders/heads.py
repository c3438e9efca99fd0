"""Which heads there are, and the layers of an encoder that each takes by default."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from hummingbird.decoders.depth_bins import DepthBins
from hummingbird.decoders.head import CLASSIFIER, Head
from hummingbird.decoders.linear import SEGMENTER, Linear
from hummingbird.decoders.upernet import UperNet
from hummingbird.errors import UserError
from hummingbird.models.backbone import indices

# DINOv2's released four-layer heads of ViT-L take layer 4, a slip for 5 that DINOv3 keeps for compatibility.
DEPTH_TAPS = {24: (4, 11, 17, 23)}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a head needs to know. None stands for the head's own default.

    Attributes:
      channels: C, classes or values of a pixel.
      depth: layers of the encoder: blocks of a ViT, stages of a network of stages.
      staged: whether these are stages.
      has_cls: whether the encoder has a [CLS] token.
      layers: encoder outputs that the head takes, counted from 0 or, if negative, from the end.
      dropout: probability that a channel of the features is dropped.
      width: channels of UperNet.
      batch_norm: whether features of `depth_bins` and `regression` are normalised.
      low, high: range of depths, metres.
      scale, offset: of values: standard deviation and mean of the training labels.
      dtype: type that the head computes in.
    """

    channels: int
    depth: int
    staged: bool = False
    has_cls: bool = False
    layers: tuple[int, ...] | None = None
    dropout: float | None = None
    width: int | None = None
    batch_norm: bool | None = None
    low: float = 1e-3
    high: float = 10.0
    scale: float = 1.0
    offset: float = 0.0
    dtype: DTypeLike = jnp.float32


def build_head(name: str, sizes: Sizes) -> Head:
    """Returns the head of a name in `HEADS`.

    Raises:
      UserError: the name is not known, or the encoder lacks one of the layers.
    """
    if name not in HEADS:
        raise UserError(f"config key decoder.name: {name!r} is not known, use one of {', '.join(HEADS)}")
    head = HEADS[name](sizes)
    try:
        indices(head.layers, sizes.depth)
    except UserError as error:
        raise UserError(f"config key decoder.layers: {error}") from error
    return head


def quarters(depth: int) -> tuple[int, int, int, int]:
    """Returns the last layer of each quarter: DINOv2's four layers for depth.

    Example:
      >>> quarters(12), quarters(24), quarters(40)
      ((2, 5, 8, 11), (4, 11, 17, 23), (9, 19, 29, 39))
    """
    first, second, third, last = DEPTH_TAPS.get(depth) or tuple(max(depth * i // 4 - 1, 0) for i in (1, 2, 3, 4))
    return first, second, third, last


def thirds(depth: int) -> tuple[int, int, int, int]:
    """Returns the layers after a third, a half, two thirds and all of an encoder: those of MAE's and BEiT's UperNet.

    Example:
      >>> thirds(12), thirds(24)
      ((3, 5, 7, 11), (7, 11, 15, 23))
    """
    first, second, third = (max(round(depth * share) - 1, 0) for share in (1 / 3, 1 / 2, 2 / 3))
    return first, second, third, depth - 1


def _linear(sizes: Sizes, batch_norm: bool = False, start: Initializer = CLASSIFIER) -> Head:
    return Linear(
        sizes.channels,
        sizes.layers or (-1,),
        dtype=sizes.dtype,
        batch_norm=batch_norm,
        dropout=sizes.dropout or 0.0,
        start=start,
    )


def _bn_linear(sizes: Sizes) -> Head:
    return _linear(sizes, batch_norm=True)


def _segmenter(sizes: Sizes) -> Head:
    return _linear(sizes, start=SEGMENTER)


def _upernet(sizes: Sizes) -> Head:
    layers = sizes.layers or ((0, 1, 2, 3) if sizes.staged else thirds(sizes.depth))
    if len(layers) != 4:
        raise UserError(f"config key decoder.layers: upernet takes four layers of the encoder, not {len(layers)}")
    dropout = 0.1 if sizes.dropout is None else sizes.dropout
    return UperNet(sizes.channels, layers, norm=False, dtype=sizes.dtype, width=sizes.width or 768, dropout=dropout)


def _depth_bins(sizes: Sizes) -> Head:
    layers, norm = sizes.layers or (-1,), bool(sizes.batch_norm)
    return DepthBins(
        sizes.channels,
        layers,
        uses_cls=sizes.has_cls,
        dtype=sizes.dtype,
        low=sizes.low,
        high=sizes.high,
        batch_norm=norm,
    )


def _regression(sizes: Sizes) -> Head:
    norm = sizes.batch_norm is not False
    layers, dropout = sizes.layers or (-1,), sizes.dropout or 0.0
    return Linear(
        sizes.channels,
        layers,
        dtype=sizes.dtype,
        batch_norm=norm,
        dropout=dropout,
        scale=sizes.scale,
        offset=sizes.offset,
    )


HEADS: dict[str, Callable[[Sizes], Head]] = {
    "linear": _linear,  # 1x1 on the last layer, or on several side by side (iBOT, NeCo)
    "bn_linear": _bn_linear,  # batch norm and 1x1 (DINOv2, DINOv3)
    "segmenter": _segmenter,  # Segmenter's linear decoder
    "upernet": _upernet,  # with MAE's pyramid and auxiliary head
    "depth_bins": _depth_bins,  # 256 bins (DINOv2; with batch_norm DINOv3)
    "regression": _regression,  # values of C channels, or depth, as numbers
}
