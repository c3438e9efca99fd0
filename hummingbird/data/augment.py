"""Photometric augmentation of the pretraining views (App. C.1, Table 8), on the device inside the training step.

Views arrive as uint8 crops: `hummingbird.data.crops` cuts and resizes them on the host. The operations are BYOL's,
which the paper adopts "without modification": additive brightness, contrast about the mean of each channel, saturation
and hue in HSV, in a random order for each view, clipped to [0, 1] after each.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float32, Int, UInt8

from hummingbird.config import PretrainConfig
from hummingbird.data.views import GLOBAL, LOCAL

LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601
PAD_MODES = {"zero": "constant", "reflect": "reflect"}
# Columns of the array of uniform draws that decides everything about a view.
FLIP, JITTER, BRIGHTNESS, CONTRAST, SATURATION, HUE, GREY, BLUR, SIGMA, SOLARISE, ORDER = range(11)

Plane = Float32[Array, "B V H W"]
Planes = tuple[Plane, Plane, Plane]  # r, g, b
PerView = Float32[Array, "B V"]
Draws = Float32[Array, "B V draws"]


@dataclasses.dataclass(frozen=True)
class Photometric:
    """Table 8 without the crop, for a group of V views; hashable, so that it can be a static argument.

    Attributes:
      flip_probability: probability of mirroring left and right.
      jitter_probability: probability of the four colour operations together.
      brightness, contrast, saturation, hue: largest shifts: brightness is added to values in [0, 1], contrast and
        saturation are factors 1 + U[-max, max], hue is in turns of the colour circle.
      grey_probability: probability of conversion to grey.
      blur_probability, solarise_probability: one probability for each view (T1, T2).
      blur_kernel: side of the square kernel, pixels, odd.
      blur_sigma: range of the standard deviation, pixels.
      blur_edges: padding, "zero" (BYOL) or "reflect".
      solarise_threshold: values at or above are inverted.
    """

    flip_probability: float
    jitter_probability: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey_probability: float
    blur_probability: tuple[float, ...]
    blur_kernel: int
    blur_sigma: tuple[float, float]
    blur_edges: str
    solarise_probability: tuple[float, ...]
    solarise_threshold: float


def build_photometric(config: PretrainConfig) -> Photometric:
    """Builds the settings of the global views, `augment.*`; scales the blur from 224 pixels to `input_size`."""
    augment = config.augment
    scale = config.input_size / 224 if augment.blur_relative else 1.0
    return Photometric(
        flip_probability=augment.flip_probability,
        jitter_probability=augment.jitter_probability,
        brightness=augment.brightness,
        contrast=augment.contrast,
        saturation=augment.saturation,
        hue=augment.hue,
        grey_probability=augment.grey_probability,
        blur_probability=augment.blur_probability[: augment.views],
        blur_kernel=2 * max(1, round((augment.blur_kernel * scale - 1) / 2)) + 1,
        blur_sigma=(scale * augment.blur_sigma[0], scale * augment.blur_sigma[1]),
        blur_edges=augment.blur_edges,
        solarise_probability=augment.solarise_probability[: augment.views],
        solarise_threshold=augment.solarise_threshold,
    )


def build_augment(config: PretrainConfig) -> dict[str, Photometric]:
    """Builds the settings of each view group of a pretraining config; `augment.local` has some of its own."""
    views, local = build_photometric(config), config.augment.local
    groups = {GLOBAL: views}
    if local.count:
        groups[LOCAL] = dataclasses.replace(
            views,
            jitter_probability=local.jitter_probability,
            grey_probability=local.grey_probability,
            blur_probability=local.count * (local.blur_probability,),
            solarise_probability=local.count * (local.solarise_probability,),
        )
    return groups


def photometric(
    key: Array,
    views: UInt8[Array | np.ndarray, "B V H W 3"],
    settings: Photometric,
    positions: Int[Array | np.ndarray, " B"] | None = None,
) -> Float32[Array, "B V H W 3"]:
    """Flips, jitters, greys, blurs and solarises a group of views of each image (App. C.1, operations 2-6).

    The result for an image depends only on `key` and on its position in the global batch, so it is the same however
    the batch is laid out over devices. Pure, and traceable by `jax.jit`.

    Args:
      key: one JAX key; derive it from seed and step.
      views: view 0 gets T1, view 1 T2, and so on.
      settings: see `Photometric`.
      positions: position of each image in the global batch; None: 0, 1, ...

    Returns:
      Views with values in [0, 1].
    """
    uniform = draw(key, jnp.arange(views.shape[0]) if positions is None else positions, views.shape[1])
    x = jnp.asarray(views).astype(jnp.float32) / 255.0
    planes: Planes = (x[..., 0], x[..., 1], x[..., 2])
    planes = flip(planes, uniform[..., FLIP] < settings.flip_probability)
    if settings.jitter_probability:
        planes = jitter(planes, uniform, settings)
    planes = grey(planes, uniform[..., GREY] < settings.grey_probability)
    low, high = settings.blur_sigma
    sigma = low + (high - low) * uniform[..., SIGMA]
    if any(settings.blur_probability):
        blurred = uniform[..., BLUR] < jnp.asarray(settings.blur_probability)
        planes = blur(planes, sigma, blurred, settings.blur_kernel, settings.blur_edges)
    inverted = uniform[..., SOLARISE] < jnp.asarray(settings.solarise_probability)
    planes = solarise(planes, inverted, settings.solarise_threshold)
    return jnp.clip(jnp.stack(planes, axis=-1), 0.0, 1.0)


def first_view(settings: Photometric) -> Photometric:
    """Returns the settings for view 0 alone, T1."""
    blur, solarised = settings.blur_probability[:1], settings.solarise_probability[:1]
    return dataclasses.replace(settings, blur_probability=blur, solarise_probability=solarised)


def draw(key: Array, positions: Int[Array | np.ndarray, " B"], views: int = 2) -> Draws:
    """Draws 14 uniform numbers in [0, 1) for each view: ten decisions, then four that rank the jitter's operations."""
    keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
    return jax.vmap(lambda k: jax.random.uniform(k, (views, ORDER + 4)))(keys)


def flip(planes: Planes, on: Bool[Array, "B V"]) -> Planes:
    """Mirrors left and right where `on`."""
    where = on[..., None, None]
    r, g, b = (jnp.where(where, plane[..., ::-1], plane) for plane in planes)
    return r, g, b


def jitter(planes: Planes, uniform: Draws, settings: Photometric) -> Planes:
    """Shifts brightness, contrast, saturation and hue, in a random order for each view."""
    on = uniform[..., JITTER] < settings.jitter_probability

    def shift(column: int, largest: float) -> PerView:
        return jnp.where(on, largest * (2.0 * uniform[..., column] - 1.0), 0.0)

    brightness = shift(BRIGHTNESS, settings.brightness)
    contrast = shift(CONTRAST, settings.contrast)
    saturation = shift(SATURATION, settings.saturation)
    hue = shift(HUE, settings.hue)
    rank = jnp.argsort(uniform[..., ORDER:], axis=-1)  # [B, V, 4]: the operation of each of the four turns

    def one_turn(turn: Array, planes: Planes) -> Planes:
        # the other operations get the shift 0, their identity: no branches, one fused pass per turn
        chosen = jnp.take(rank, turn, axis=-1)
        now = [
            jnp.where(chosen == operation, amount, 0.0)[..., None, None]
            for operation, amount in enumerate((brightness, contrast, saturation, hue))
        ]
        planes = adjust_levels(planes, now[0], 1.0 + now[1])
        planes = adjust_saturation(planes, 1.0 + now[2])
        return adjust_hue(planes, now[3])

    # A loop, not four copies: XLA would fuse copies into the blur and repeat them for each of its taps.
    return jax.lax.fori_loop(0, 4, one_turn, planes)


def adjust_levels(planes: Planes, brightness: Array, contrast: Array) -> Planes:
    """Maps x to (x - mean) contrast + mean + brightness, clipped to [0, 1]; the mean is that channel's in that view.

    Args:
      planes: r, g, b.
      brightness: shift, broadcast to the planes.
      contrast: factor, broadcast to the planes.
    """

    def one(plane: Plane) -> Plane:
        mean = jnp.mean(plane, axis=(-2, -1), keepdims=True)
        return jnp.clip(plane * contrast + (mean * (1.0 - contrast) + brightness), 0.0, 1.0)

    r, g, b = planes
    return one(r), one(g), one(b)


def adjust_saturation(planes: Planes, factor: Array) -> Planes:
    """Multiplies the HSV saturation by `factor` (broadcast to the planes), clipped to [0, 1].

    Keeping hue and value v = max(r, g, b) maps a channel x to v - (v - x) s'/s, without converting to HSV and back.
    """
    r, g, b = planes
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    ratio = jnp.minimum(factor, value / jnp.maximum(chroma, 1e-8))  # s'/s, s = chroma / value <= 1
    return value - (value - r) * ratio, value - (value - g) * ratio, value - (value - b) * ratio


def adjust_hue(planes: Planes, turn: Array) -> Planes:
    """Adds `turn` (broadcast to the planes) to the HSV hue, in turns of the colour circle."""
    r, g, b = planes
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    per_chroma = 1.0 / jnp.maximum(chroma, 1e-8)
    sector = jnp.where(
        value == r, (g - b) * per_chroma, jnp.where(value == g, 2.0 + (b - r) * per_chroma, 4.0 + (r - g) * per_chroma)
    )
    sector = sector + 6.0 * turn

    def channel(offset: float) -> Plane:
        # each channel falls from v to v - chroma and back, a third of a turn after the previous one
        k = sector + offset
        k = k - 6.0 * jnp.floor(k / 6.0)
        return value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

    return channel(5.0), channel(3.0), channel(1.0)


def grey(planes: Planes, on: Bool[Array, "B V"]) -> Planes:
    """Replaces all channels by the luma where `on`."""
    where = on[..., None, None]
    luma = LUMA[0] * planes[0] + LUMA[1] * planes[1] + LUMA[2] * planes[2]
    r, g, b = (jnp.where(where, luma, plane) for plane in planes)
    return r, g, b


def blur(planes: Planes, sigma: PerView, on: Bool[Array, "B V"], kernel: int, edges: str) -> Planes:
    """Blurs with a Gaussian where `on`.

    Separable, as a weighted sum of shifted copies: XLA fuses it into one loop, where a depthwise convolution is slow on
    CPU. Views that stay sharp are convolved with an impulse.

    Args:
      planes: r, g, b.
      sigma: standard deviation, pixels.
      on: which views to blur.
      kernel: side of the square window, pixels, odd.
      edges: a key of `PAD_MODES`.
    """
    radius = kernel // 2
    offset = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * jnp.square(offset / jnp.maximum(sigma, 1e-3)[..., None]))
    weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
    weights = jnp.where(on[..., None], weights, (offset == 0).astype(weights.dtype))[..., None, None]  # [B, V, K, 1, 1]

    def along(axis: int, plane: Plane) -> Plane:
        padding = [(radius, radius) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(plane, padding, PAD_MODES[edges])
        length = plane.shape[axis]
        total = jnp.zeros_like(plane)
        for tap in range(kernel):
            total += weights[:, :, tap] * jax.lax.slice_in_dim(padded, tap, tap + length, axis=axis)
        return total

    r, g, b = (along(2, along(3, plane)) for plane in planes)
    return r, g, b


def solarise(planes: Planes, on: Bool[Array, "B V"], threshold: float) -> Planes:
    """Inverts values at or above `threshold` where `on`."""
    where = on[..., None, None]
    r, g, b = (jnp.where(where & (plane >= threshold), 1.0 - plane, plane) for plane in planes)
    return r, g, b
