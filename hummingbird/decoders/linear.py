"""Linear heads: one product per cell, with or without batch norm before it, for classes and for values."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import Initializer
from jaxtyping import Float

from hummingbird.decoders.head import CLASSIFIER, MOMENTUM, Decoded, Head, side_by_side
from hummingbird.models.attention import Dense
from hummingbird.models.heads import batch_norm

# torch's truncation of timm's trunc_normal_ lies at +-2, which never cuts a deviation of 0.02.
SEGMENTER = nn.initializers.normal(0.02)


class Linear(Head):
    """y = W [x_1; ...; x_n] + b at each cell; the layers x_i side by side.

    - `batch_norm=False`: the linear decoder of iBOT and, with `SEGMENTER` as its start, of Segmenter (Strudel et al.
      2021, Sec. 3.2).
    - `batch_norm=True`: that of DINOv2's linear evaluation (Oquab et al. 2023, Sec. 7.4), dropout that of DINOv3's.

    Attributes:
      batch_norm: normalise the features over the global batch first.
      dropout: probability that a channel of the features of an image is dropped.
      start: initial values of W; b starts at 0.
      scale, offset: the output is scale y + offset, so that values of any unit start near their mean.
    """

    batch_norm: bool = False
    dropout: float = 0.0
    start: Initializer = CLASSIFIER
    scale: float = 1.0
    offset: float = 0.0

    @nn.compact
    def __call__(
        self,
        features: Sequence[Float[Array, "B _ _ _"]],
        cls: Sequence[Float[Array, "B _"]] | None = None,
        train: bool = False,
    ) -> Decoded:
        x = side_by_side(features, cls if self.uses_cls else None).astype(self.dtype)
        if self.batch_norm:
            x = batch_norm(MOMENTUM, self.dtype, train, name="norm")(x)
        x = nn.Dropout(self.dropout, broadcast_dims=(1, 2))(x, deterministic=not train)
        y = Dense(self.channels, dtype=self.dtype, kernel_init=self.start, name="output")(x).astype(jnp.float32)
        return Decoded(y if (self.scale, self.offset) == (1, 0) else self.scale * y + self.offset, None)
