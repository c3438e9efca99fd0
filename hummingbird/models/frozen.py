"""A frozen encoder: a backbone and its parameters as a function of images, whoever trained it."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float32, Shaped, UInt8

from hummingbird.errors import UserError
from hummingbird.models.backbone import ARITHMETIC, Backbone, Images, LastBlock, Output, Projection, Tokens
from hummingbird.models.params import Params

# From this many patches on, a CPU encodes the images of a batch one after the other: what a layer works with then stays
# below what the C library hands out without asking the kernel for fresh pages (`scripts/bench encoder`, ViT-S/16, 512
# pixels, 8 images on two cores: float32 2.8 s instead of 3.6, bfloat16 1.9 instead of 2.9).
ONE_BY_ONE_FROM = 256

Function = Callable[[Params, Array], "Array | list[Array]"]


@dataclasses.dataclass(frozen=True)
class Pooling:
    """The attention pooling of a pretraining run (Eq. 3).

    Attributes:
      apply: (params, uint8 images [B, H, W, 3]) -> weights [B, h, w]; hashable.
      params: tree of arrays.
      vectors: (params, images) -> what images are pooled to [B, D]; hashable.
    """

    apply: Callable[[Params, Array], Array]
    params: Params
    vectors: Callable[[Params, Array], Array]


@dataclasses.dataclass(frozen=True)
class FrozenEncoder:
    """Images uint8 [B, H, W, 3] to features float32 [B, h, w, D]; H and W are multiples of `patch_size`.

    Calls with NumPy images (`encoder(images)`, `layers`, `cls`) split a batch over the devices of this process, which
    hold a copy of the parameters each. Calls with parameters (`apply`, `outputs`, `body`, `tail`) are pure functions of
    JAX arrays, to be jitted, differentiated or vmapped by the caller; `encoder.params` are the parameters to pass.
    Encoders of dtype float32 compute their products in full float32 on every backend (`backbone.ARITHMETIC`).

    Attributes:
      backbone: what is computed.
      params: tree of arrays.
      name: for people.
      fingerprint: checksum of the parameters and of what is computed with them.
      pooling: attention pooling of a pretraining run; None where there is none.
      source: file or folder that weights of other projects were first read from, or their name on the hub.
      commit: of their repository on the hub, if they come from there.

    Example: the gradient of a loss with respect to the last attention's output projection P = a W + b, for each image
    and token (FUNGI), without knowing how the network is built.

        last = encoder.body(encoder.params, images)
        kernel, bias = encoder.projection(encoder.params)
        projected = last.attended @ kernel + bias                                           # P [B, T, D]
        delta = jax.grad(lambda p: loss(encoder.tail(encoder.params, last, p)))(projected)  # [B, T, D]
        # Token t of image i adds outer(last.attended[i, t], delta[i, t]) to the gradient of W.
    """

    backbone: Backbone
    params: Params
    name: str
    fingerprint: str
    pooling: Pooling | None = None
    source: str | None = None
    commit: str | None = None

    @property
    def patch_size(self) -> int:
        """Pixels along a side of the square that one feature stands for."""
        return self.backbone.patch_size

    @property
    def dim(self) -> int:
        """D, channels of the features."""
        return self.backbone.dim

    @property
    def std(self) -> tuple[float, float, float] | None:
        """Standard deviations that pixels in [0, 1] are divided by; None if they are not."""
        return self.backbone.std

    @property
    def dtype(self) -> str:
        """How the encoder computes: "float32", "tf32" or "bfloat16"."""
        return self.backbone.dtype

    @property
    def backend(self) -> str:
        """Platform that the encoder runs on: "cpu", "gpu" or "tpu"."""
        return jax.default_backend()

    @property
    def device_kind(self) -> str:
        """Kind of device that the encoder runs on, for example "NVIDIA H100 80GB HBM3"."""
        return jax.local_devices()[0].device_kind

    # ---------------------------------------------------------------- NumPy images, on all devices of this process
    def __call__(self, images: Shaped[np.ndarray, "B H W 3"]) -> Float[np.ndarray, "B h w D"]:
        """Encodes images, uint8, as maps of features.

        Raises:
          ValueError: images of another dtype or shape.
        """
        return self._run(_Call(self.backbone, _features), images)[0]

    def units(
        self, images: Shaped[np.ndarray, "B H W 3"], dtype: str = "float32"
    ) -> tuple[Float[Array, "b h w D"], Float32[Array, "b h w"]]:
        """Begins to encode images as unit vectors, which stay on the devices; returns before they are computed.

        Args:
          images: uint8 [B, H, W, 3].
          dtype: of the unit vectors, "float32" or "bfloat16".

        Returns:
          Features divided by their L2 norms (zero and infinite ones are left as they are), and the norms; b is B,
          rounded up to a multiple of the devices.
        """
        units, norms = self._start(_Call(self.backbone, _units, (dtype,)), images)
        return units, norms

    def layers(
        self, images: UInt8[np.ndarray, "B H W 3"], layers: tuple[int, ...] = (-4, -3, -2, -1), norm: bool = True
    ) -> list[Float[np.ndarray, "B h w D"]]:
        """Returns the outputs of several layers from one forward pass.

        Args:
          images: uint8 [B, H, W, 3].
          layers: blocks of a ViT, stages of a ConvNeXt, Swin or ResNet; counted from 0 or, if negative, from the end.
          norm: pass each output through the final layer norm. (That of stages fits the last one alone.)

        Returns:
          One float32 map [B, h, w, D] for each of `layers`, in their order. The stages of a network have different
          grids and widths.

        Raises:
          UserError: the encoder has no layers, or not these.
        """
        return self._run(_Call(self.backbone, _layers, (tuple(layers), norm)), images)

    def cls(self, images: UInt8[np.ndarray, "B H W 3"]) -> Float[np.ndarray, "B D"]:
        """Returns the [CLS] token of the same layers as the features, normed if they are.

        Raises:
          UserError: the encoder has no [CLS] token.
        """
        if not self.backbone.has_cls:
            raise UserError(f"{self.name} has no [CLS] token; take the mean of its patch features instead")
        return self._run(_Call(self.backbone, _cls), images)[0]

    def class_tokens(
        self, images: UInt8[np.ndarray, "B H W 3"], layers: tuple[int, ...]
    ) -> list[Float[np.ndarray, "B D"]]:
        """Returns the normed [CLS] tokens of several layers, then the mean of the last one's patches.

        Raises:
          UserError: the encoder has no [CLS] token, or not these layers.
        """
        if not self.backbone.has_cls:
            raise UserError(f"{self.name} has no [CLS] token; take the mean of its patch features instead")
        return self._run(_Call(self.backbone, _class_tokens, (tuple(layers),)), images)

    def attention(self, images: UInt8[np.ndarray, "B H W 3"]) -> Float[np.ndarray, "B h w"] | None:
        """Returns the weights of attention pooling, which sum to 1 in each image; None without such pooling."""
        return None if self.pooling is None else self._run(self.pooling.apply, images, pooling=True)[0]

    def pooled(self, images: UInt8[np.ndarray, "B H W 3"]) -> Float[np.ndarray, "B D"] | None:
        """Returns what attention pooling makes of images (Eq. 3, before the projector); None without such pooling."""
        return None if self.pooling is None else self._run(self.pooling.vectors, images, pooling=True)[0]

    # ---------------------------------------------------------------- pure functions of parameters and JAX arrays
    def apply(self, params: Params, images: Images) -> Float[Array, "B h w D"]:
        """Encodes images, uint8 or floating-point in [0, 1], as maps of features."""
        with self._precision():
            return self.backbone.features(params, images).patches

    def outputs(
        self, params: Params, images: Images, layers: tuple[int, ...] = (-1,), norm: bool = True
    ) -> list[Output]:
        """Returns maps [B, h, w, D] and [CLS] tokens [B, D] of several layers; arguments as in `layers`."""
        with self._precision():
            return self.backbone.layers(params, images, layers, norm)

    def body(self, params: Params, images: Images) -> LastBlock:
        """Runs everything up to the output projection of the last attention.

        Raises:
          UserError: the backbone has no attention, or its features are not the tokens of one layer.
        """
        with self._precision():
            return self.backbone.body(params, images)

    def tail(
        self, params: Params, last: LastBlock, projected: Float[Array, "B T D"] | None = None
    ) -> Float[Array, "B T D"]:
        """Runs everything after `body`, in float32 whatever the body's type: no token depends on another one here.

        Args:
          params: tree of arrays.
          last: from `body`.
          projected: [B, T, D], replaces the output of the projection, P = a W + b: the values to differentiate by.

        Returns:
          All T tokens, the patches among them as in the encoder's features; `split` tells which is which.
        """
        with jax.default_matmul_precision("highest"):
            return self.backbone.tail(params, last, projected)

    def projection(self, params: Params) -> Projection:
        """Returns kernel W [E, D] and bias b [D] (or None) of the projection P = a W + b between `body` and `tail`.

        `params` may also be a tree of gradients with respect to the parameters.
        """
        return self.backbone.projection(params)

    def split(self, tokens: Float[Array, "B T D"]) -> Tokens:
        """Splits T tokens of `tail`, or any values of them, into patches [B, N, D] and [CLS]; registers are dropped."""
        return self.backbone.split(tokens)

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        return precision(self.dtype)

    def _run(
        self, function: Function, images: Shaped[np.ndarray, "B H W 3"], pooling: bool = False
    ) -> list[np.ndarray]:
        """Applies `function` to a batch, and waits for the result in float32."""
        return [np.asarray(x, np.float32)[: len(images)] for x in self._start(function, images, pooling)]

    def _start(self, function: Function, images: Shaped[np.ndarray, "B H W 3"], pooling: bool = False) -> list[Array]:
        """Begins to apply `function` to a batch that is padded to a multiple of the devices."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"an encoder takes uint8 [B, H, W, 3], not {images.dtype} {list(images.shape)}")
        count = min(jax.local_device_count(), max(1, len(images)))
        whole, split, program = _compiled(function, self.patch_size, self.dtype, count)
        if (pooling, count) not in self._placed:
            params = self.pooling.params if pooling and self.pooling else self.params
            self._placed[pooling, count] = jax.device_put(params, whole)
        padded = np.zeros((-(-len(images) // count) * count, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        return program(self._placed[pooling, count], jax.device_put(padded, split))

    @functools.cached_property
    def _placed(self) -> dict[tuple[bool, int], Params]:
        """Copies of the parameters (of the pooling: True) on the first n devices."""
        return {}


@dataclasses.dataclass(frozen=True)
class _Call:
    """A function of parameters and images that equals another one of the same backbone and arguments."""

    backbone: Backbone
    function: Callable[..., list[Array]]
    arguments: tuple[Hashable, ...] = ()

    def __call__(self, params: Params, images: Array) -> list[Array]:
        return self.function(self.backbone, params, images, *self.arguments)


def _features(backbone: Backbone, params: Params, images: Array) -> list[Array]:
    return [backbone.features(params, images).patches]


def _units(backbone: Backbone, params: Params, images: Array, dtype: str) -> list[Array]:
    features = backbone.features(params, images).patches.astype(jnp.float32)
    norms = jnp.sqrt(jnp.sum(features * features, axis=-1))
    divisors = jnp.where(jnp.isfinite(norms) & (norms > 0), norms, 1)
    return [(features / divisors[..., None]).astype(dtype), norms]


def _layers(backbone: Backbone, params: Params, images: Array, layers: tuple[int, ...], norm: bool) -> list[Array]:
    return [output.patches for output in backbone.layers(params, images, layers, norm)]


def _cls(backbone: Backbone, params: Params, images: Array) -> list[Array]:
    cls = backbone.features(params, images).cls
    return [] if cls is None else [cls]


def _class_tokens(backbone: Backbone, params: Params, images: Array, layers: tuple[int, ...]) -> list[Array]:
    found = backbone.layers(params, images, layers, True)
    return [*(output.cls for output in found if output.cls is not None), found[-1].patches.mean(axis=(1, 2))]


def precision(dtype: str) -> contextlib.AbstractContextManager[None]:
    """Sets the precision of products in an encoder of this dtype."""
    chosen = ARITHMETIC[dtype].precision
    return contextlib.nullcontext() if chosen is None else jax.default_matmul_precision(chosen)


# Few, for a function may hold on to much.
@functools.lru_cache(maxsize=8)
def _compiled(
    function: Function, patch_size: int, dtype: str, count: int
) -> tuple[NamedSharding, NamedSharding, Callable[[Params, Array], list[Array]]]:
    """Where parameters and images lie on `count` devices, and the program: one for all encoders of a function."""
    mesh = Mesh(np.asarray(jax.local_devices()[:count]), ("images",), axis_types=(AxisType.Auto,))
    whole, split = PartitionSpec(), PartitionSpec("images")

    def run(params: Params, images: Array) -> list[Array]:
        with precision(dtype):
            return jax.tree.leaves(function(params, images))

    def program(params: Params, images: Array) -> list[Array]:
        _, height, width, _ = images.shape
        if height * width // patch_size**2 < ONE_BY_ONE_FROM or jax.default_backend() != "cpu":
            return run(params, images)
        return jax.lax.map(lambda image: [x[0] for x in run(params, image[None])], images)

    # shard_map: no part of the backbone can be tempted to exchange what belongs to other devices.
    mapped = jax.shard_map(program, mesh=mesh, in_specs=(whole, split), out_specs=split, check_vma=False)
    return NamedSharding(mesh, whole), NamedSharding(mesh, split), jax.jit(mapped)
