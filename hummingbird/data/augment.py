"""Photometric augmentation of the pretraining views (App. C.1, Table 8), on the device inside the training step.

Views arrive as uint8 crops: `hummingbird.data.crops` cuts and resizes them on the host. The operations are BYOL's,
which the paper adopts "without modification": additive brightness, contrast about the mean of each channel, saturation
and hue in HSV, in a random order for each view, clipped to [0, 1] after each.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from hummingbird.config import PretrainConfig

LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601
PAD_MODES = {"zero": "constant", "reflect": "reflect"}
# columns of the one array of uniform draws that decides everything about a view
FLIP, JITTER, BRIGHTNESS, CONTRAST, SATURATION, HUE, GREY, BLUR, SIGMA, SOLARISE, ORDER = range(11)

Planes = tuple[jax.Array, jax.Array, jax.Array]  # r, g, b, each float32 [B, 2, H, W]


@dataclasses.dataclass(frozen=True)
class Photometric:
    """Table 8 without the crop; hashable, so that it can be a static argument. Pairs are (T1, T2).

    Attributes:
      flip_probability: of mirroring left and right.
      jitter_probability: of the four colour operations together.
      brightness, contrast, saturation, hue: largest shift; brightness is added, contrast and saturation are factors
        1 + U[-max, max], hue is a part of the colour circle.
      grey_probability: of dropping the colours.
      blur_probability, solarise_probability: for each of T1 and T2.
      blur_kernel: side of the square kernel, pixels, odd.
      blur_sigma: range of the standard deviation, pixels.
      blur_edges: what lies beyond the border, "zero" (BYOL) or "reflect".
      solarise_threshold: values from here on are inverted.
    """

    flip_probability: float
    jitter_probability: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey_probability: float
    blur_probability: tuple[float, float]
    blur_kernel: int
    blur_sigma: tuple[float, float]
    blur_edges: str
    solarise_probability: tuple[float, float]
    solarise_threshold: float


def build_photometric(config: PretrainConfig) -> Photometric:
    """The settings `augment.*` of a pretraining config; the blur is scaled from 224 pixels to `input_size`."""
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
        blur_probability=augment.blur_probability,
        blur_kernel=2 * max(1, round((augment.blur_kernel * scale - 1) / 2)) + 1,
        blur_sigma=(scale * augment.blur_sigma[0], scale * augment.blur_sigma[1]),
        blur_edges=augment.blur_edges,
        solarise_probability=augment.solarise_probability,
        solarise_threshold=augment.solarise_threshold,
    )


def photometric(
    key: jax.Array, views: jax.Array, settings: Photometric, positions: jax.Array | None = None
) -> jax.Array:
    """Flip, colour jitter, grey, blur and solarise two views of each image (App. C.1, operations 2-6).

    What happens to an image depends on `key` and its position in the global batch alone, so it is the same however the
    batch is laid out over devices. Traceable; pure.

    Args:
      key: one JAX key; derive it from seed and step.
      views: uint8 [B, 2, H, W, 3]; view 0 gets T1, view 1 T2.
      settings: see `Photometric`.
      positions: int [B] in the global batch, of a part of one; None: 0, 1, ...

    Returns:
      float32 [B, 2, H, W, 3] in [0, 1].
    """
    uniform = draw(key, jnp.arange(views.shape[0]) if positions is None else positions)
    x = views.astype(jnp.float32) / 255.0
    planes: Planes = (x[..., 0], x[..., 1], x[..., 2])
    planes = flip(planes, uniform[..., FLIP] < settings.flip_probability)
    planes = jitter(planes, uniform, settings)
    planes = grey(planes, uniform[..., GREY] < settings.grey_probability)
    low, high = settings.blur_sigma
    sigma = low + (high - low) * uniform[..., SIGMA]
    blurred = uniform[..., BLUR] < jnp.asarray(settings.blur_probability)
    planes = blur(planes, sigma, blurred, settings.blur_kernel, settings.blur_edges)
    inverted = uniform[..., SOLARISE] < jnp.asarray(settings.solarise_probability)
    planes = solarise(planes, inverted, settings.solarise_threshold)
    return jnp.clip(jnp.stack(planes, axis=-1), 0.0, 1.0)


def draw(key: jax.Array, positions: jax.Array) -> jax.Array:
    """Uniform draws in [0, 1), float32 [B, 2, 14]: ten decisions, then four numbers whose order is the jitter's."""
    keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
    return jax.vmap(lambda k: jax.random.uniform(k, (2, ORDER + 4)))(keys)


def flip(planes: Planes, on: jax.Array) -> Planes:
    """Mirrors left and right where `on` [B, 2]."""
    where = on[..., None, None]
    r, g, b = (jnp.where(where, plane[..., ::-1], plane) for plane in planes)
    return r, g, b


def jitter(planes: Planes, uniform: jax.Array, settings: Photometric) -> Planes:
    """Brightness, contrast, saturation and hue in each view's own order; `uniform` as `draw` makes it."""
    on = uniform[..., JITTER] < settings.jitter_probability

    def shift(column: int, largest: float) -> jax.Array:
        return jnp.where(on, largest * (2.0 * uniform[..., column] - 1.0), 0.0)

    brightness = shift(BRIGHTNESS, settings.brightness)
    contrast = shift(CONTRAST, settings.contrast)
    saturation = shift(SATURATION, settings.saturation)
    hue = shift(HUE, settings.hue)
    rank = jnp.argsort(uniform[..., ORDER:], axis=-1)  # [B, 2, 4]: operation done in each of the four turns

    def one_turn(turn: jax.Array, planes: Planes) -> Planes:
        # an operation whose turn it is not gets the shift 0, its identity: no branches, one fused pass a turn
        chosen = jnp.take(rank, turn, axis=-1)
        now = [
            jnp.where(chosen == operation, amount, 0.0)[..., None, None]
            for operation, amount in enumerate((brightness, contrast, saturation, hue))
        ]
        planes = adjust_levels(planes, now[0], 1.0 + now[1])
        planes = adjust_saturation(planes, 1.0 + now[2])
        return adjust_hue(planes, now[3])

    # A loop, not four copies: XLA would fuse copies into the blur and do them anew for each of its taps.
    return jax.lax.fori_loop(0, 4, one_turn, planes)


def adjust_levels(planes: Planes, brightness: jax.Array, contrast: jax.Array) -> Planes:
    """x -> (x - mean) contrast + mean + brightness, the mean over each channel of each view; clipped to [0, 1]."""

    def one(plane: jax.Array) -> jax.Array:
        mean = jnp.mean(plane, axis=(-2, -1), keepdims=True)
        return jnp.clip(plane * contrast + (mean * (1.0 - contrast) + brightness), 0.0, 1.0)

    r, g, b = planes
    return one(r), one(g), one(b)


def adjust_saturation(planes: Planes, factor: jax.Array) -> Planes:
    """HSV saturation times `factor`, clipped to [0, 1].

    With hue and value v = max(r, g, b) kept, a channel is v - (v - x) s'/s: no way through HSV and back is needed.
    """
    r, g, b = planes
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    ratio = jnp.minimum(factor, value / jnp.maximum(chroma, 1e-8))  # s'/s, s = chroma / value <= 1
    return value - (value - r) * ratio, value - (value - g) * ratio, value - (value - b) * ratio


def adjust_hue(planes: Planes, turn: jax.Array) -> Planes:
    """HSV hue plus `turn` (1 = once around the colour circle)."""
    r, g, b = planes
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    per_chroma = 1.0 / jnp.maximum(chroma, 1e-8)
    sector = jnp.where(
        value == r, (g - b) * per_chroma, jnp.where(value == g, 2.0 + (b - r) * per_chroma, 4.0 + (r - g) * per_chroma)
    )
    sector = sector + 6.0 * turn

    def channel(
        offset: float,
    ) -> jax.Array:  # each channel falls from v to v - chroma and back, a third of a turn apart
        k = sector + offset
        k = k - 6.0 * jnp.floor(k / 6.0)
        return value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

    return channel(5.0), channel(3.0), channel(1.0)


def grey(planes: Planes, on: jax.Array) -> Planes:
    """All channels become the luma where `on` [B, 2]."""
    where = on[..., None, None]
    luma = LUMA[0] * planes[0] + LUMA[1] * planes[1] + LUMA[2] * planes[2]
    r, g, b = (jnp.where(where, luma, plane) for plane in planes)
    return r, g, b


def blur(planes: Planes, sigma: jax.Array, on: jax.Array, kernel: int, edges: str) -> Planes:
    """Gaussian blur with a kernel x kernel window where `on` [B, 2], standard deviation `sigma` [B, 2] pixels.

    Separable, as a weighted sum of shifted copies: XLA fuses it into one loop, where a depthwise convolution is slow on
    CPU. The kernel of a view that stays sharp is a one.
    """
    radius = kernel // 2
    offset = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * jnp.square(offset / jnp.maximum(sigma, 1e-3)[..., None]))
    weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
    weights = jnp.where(on[..., None], weights, (offset == 0).astype(weights.dtype))[..., None, None]  # [B, 2, K, 1, 1]

    def along(axis: int, plane: jax.Array) -> jax.Array:
        padding = [(radius, radius) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(plane, padding, PAD_MODES[edges])
        length = plane.shape[axis]
        total = jnp.zeros_like(plane)
        for tap in range(kernel):
            total += weights[:, :, tap] * jax.lax.slice_in_dim(padded, tap, tap + length, axis=axis)
        return total

    r, g, b = (along(2, along(3, plane)) for plane in planes)
    return r, g, b


def solarise(planes: Planes, on: jax.Array, threshold: float) -> Planes:
    """x -> x where x < threshold, else 1 - x, where `on` [B, 2]."""
    where = on[..., None, None]
    r, g, b = (jnp.where(where & (plane >= threshold), 1.0 - plane, plane) for plane in planes)
    return r, g, b
