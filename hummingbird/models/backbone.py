"""What a frozen encoder computes: pure functions of parameters and images, to be jitted, differentiated or vmapped.

Backbones are hashable values: encoders with equal ones, for example of several steps of a run, share one compiled
program.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import abc
import dataclasses
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, UInt8

from hummingbird.errors import UserError
from hummingbird.models.params import Params

Images: TypeAlias = Float[Array | np.ndarray, "B H W 3"] | UInt8[Array | np.ndarray, "B H W 3"]
KINDS = ("tokens", "query", "key", "value")
WITH_LAYERS = "use a ViT or a network of stages: a training workdir, a weights file or random:vit_s16"
WITH_ATTENTION = "use a ViT: a training workdir, a weights file or random:vit_s16"


class Arithmetic(NamedTuple):
    """How a backbone computes.

    Attributes:
      dtype: type of parameters and activations.
      precision: of float32 products, as `jax.default_matmul_precision` takes it; None: that of the backend.
    """

    dtype: str
    precision: str | None


# Values of encoder.dtype. By default GPUs and TPUs round the operands of float32 products to 10 or 7 bits: "highest"
# keeps all 23. "tensorfloat32" is 10 bits on NVIDIA, three bfloat16 passes on TPUs, and full precision on CPUs.
ARITHMETIC = {
    "float32": Arithmetic("float32", "highest"),
    "tf32": Arithmetic("float32", "tensorfloat32"),
    "bfloat16": Arithmetic("bfloat16", None),
}


class Output(NamedTuple):
    """Features of B images.

    Attributes:
      patches: [B, h, w, D], a map of the patches.
      cls: [B, D], of the [CLS] token; None without one.
    """

    patches: Float[Array, "B h w D"]
    cls: Float[Array, "B D"] | None


class Tokens(NamedTuple):
    """Tokens of B images, or values that belong to them.

    Attributes:
      patches: [B, N, D], patches in row-major order.
      cls: [B, D], or None without a [CLS] token.
    """

    patches: Float[Array, "B N D"]
    cls: Float[Array, "B D"] | None


class LastBlock(NamedTuple):
    """The last block of a transformer after its attention: from here on no token depends on another one.

    Attributes:
      residual: [B, T, D], the block's input.
      attended: [B, T, E], a, the input of the attention's output projection, heads side by side; E is D in every
        backbone here.
    """

    residual: Float[Array, "B T D"]
    attended: Float[Array, "B T E"]


class Projection(NamedTuple):
    """Output projection of the last attention, P = a W + b: its parameters, or gradients with respect to them.

    Attributes:
      kernel: W [E, D].
      bias: b [D], or None.
    """

    kernel: Float[Array, "E D"]
    bias: Float[Array, " D"] | None


@dataclasses.dataclass(frozen=True)
class Features:
    """Which values of a backbone are its features.

    Attributes:
      kind: "tokens" (outputs of blocks), or the "query", "key" or "value" of their attention, heads side by side and
        before rotation.
      layers: blocks that give features, side by side; counted from 0 or, if negative, from the end.
      norm: whether "tokens" pass through the final layer norm, if there is one.
    """

    kind: str = "tokens"
    layers: tuple[int, ...] = (-1,)
    norm: bool = True

    def indices(self, depth: int) -> tuple[int, ...]:
        """Returns the layers counted from 0.

        Raises:
          UserError: the kind or a layer does not exist.
        """
        if self.kind not in KINDS:
            raise UserError(f"features {self.kind!r} are not known: use one of {', '.join(KINDS)}")
        return indices(self.layers, depth)


LAST_LAYER = Features()


def indices(layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Returns `layers`, some of them counted from the end, all counted from 0.

    Raises:
      UserError: there are none, or one does not exist.

    Example:
      >>> indices((2, -1), depth=12)
      (2, 11)
    """
    if not layers or any(not -depth <= layer < depth for layer in layers):
        raise UserError(f"layers {list(layers)}: the encoder has layers 0 to {depth - 1}, or -1 to -{depth}")
    return tuple(layer % depth for layer in layers)


def check_dtype(dtype: str) -> None:
    """Raises UserError unless `dtype` is a key of `ARITHMETIC`."""
    if dtype not in ARITHMETIC:
        raise UserError(f"encoder.dtype {dtype!r} is not known: use one of {', '.join(ARITHMETIC)}")


def to_unit(images: Images) -> Float[Array, "B H W 3"]:
    """Returns pixels in [0, 1], float32: uint8 ones divided by 255, floating-point ones as they are."""
    pixels = jnp.asarray(images)
    return pixels.astype(jnp.float32) / 255 if pixels.dtype == jnp.uint8 else pixels.astype(jnp.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone(abc.ABC):
    """Pure functions of parameters and images; a backbone that lacks one of them says what to use instead.

    Images are uint8, or floating-point pixels in [0, 1]; their sides are multiples of `patch_size`.

    Attributes:
      patch_size: pixels along a side of a patch of the features.
      dim: D, channels of the features.
      has_cls: whether there is a [CLS] token.
      dtype: how it computes, a key of `ARITHMETIC`.
    """

    dtype: str = dataclasses.field(default="float32", kw_only=True)

    def __post_init__(self) -> None:
        check_dtype(self.dtype)

    @property
    @abc.abstractmethod
    def patch_size(self) -> int: ...

    @property
    @abc.abstractmethod
    def dim(self) -> int: ...

    @property
    def has_cls(self) -> bool:
        return False

    @property
    def std(self) -> tuple[float, float, float] | None:
        """Standard deviations that pixels in [0, 1] are divided by; None if they are not."""
        return None

    def with_std(self, std: tuple[float, float, float]) -> Backbone:
        """Returns the backbone with other standard deviations."""
        raise UserError(f"{self} does not divide its pixels by standard deviations")

    def with_dtype(self, dtype: str) -> Backbone:
        """Returns the backbone with another `dtype`; UserError if that is not a key of `ARITHMETIC`."""
        return dataclasses.replace(self, dtype=dtype)

    @abc.abstractmethod
    def features(self, params: Params, images: Images) -> Output:
        """Returns the features."""

    def layers(
        self,
        params: Params,
        images: Images,
        layers: tuple[int, ...],
        norm: bool,
        drop_keys: Key[Array, " B"] | None = None,
    ) -> list[Output]:
        """Returns the outputs of several layers from one forward pass; see `FrozenEncoder.outputs`.

        `drop_keys`: one key per image for stochastic depth, which a ViT has if it is trained with a drop path.
        """
        raise UserError(f"{self} has no layers to choose from; {WITH_LAYERS}")

    def body(self, params: Params, images: Images) -> LastBlock:
        """Runs everything up to the output projection of the last attention."""
        raise UserError(f"{self} has no attention and thus no body and tail; {WITH_ATTENTION}")

    def tail(self, params: Params, last: LastBlock, projected: Float[Array, "B T D"] | None) -> Float[Array, "B T D"]:
        """Runs everything from there on, in float32; `projected` replaces the output of the projection."""
        raise UserError(f"{self} has no attention and thus no body and tail; {WITH_ATTENTION}")

    def projection(self, params: Params) -> Projection:
        """Returns the projection between `body` and `tail` from parameters, or from gradients of their shape."""
        raise UserError(f"{self} has no attention and thus no body and tail; {WITH_ATTENTION}")

    def split(self, tokens: Float[Array, "B T D"]) -> Tokens:
        """Splits the T tokens of `body` and `tail`, or any values of them, into patches and [CLS]."""
        raise UserError(f"{self} has no attention and thus no body and tail; {WITH_ATTENTION}")
