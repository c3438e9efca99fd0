"""Textures, outlines and the table of classes of the embedded data set `scenes`.

Everything here is a pure function of coordinates; `hummingbird.data.scenes` composes the scenes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Size = Array | np.floating | float
Texture = Callable[[Array, Array, Size], Array]  # documented at "textures" below
Outline = Callable[[Array, Array], Array]  # documented at "outlines" below
_TILE = 256  # side of the noise tiles, a power of two so that wrapping is a bit mask


def _smoothed(noise: Array, sigma: float) -> Array:
    """Blurs with a Gaussian that wraps around (by FFT), so that the tile repeats without a seam."""
    freq = np.fft.fftfreq(_TILE)
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (freq[:, None] ** 2 + freq[None, :] ** 2))
    out = np.fft.ifft2(np.fft.fft2(noise) * kernel).real
    return (out / out.std()).astype(np.float32)


@functools.cache
def _noise() -> tuple[Array, Array]:
    """Returns two fixed noise tiles of unit variance, [256, 256]: fine grain, and blobs about eight texels wide."""
    white = np.random.Generator(np.random.PCG64(20231)).standard_normal((_TILE, _TILE))
    return _smoothed(white, 0.6), _smoothed(white, 3.0)


def _look_up(tile: Array, x: Array, y: Array) -> Array:
    return tile[y.astype(np.int32) & (_TILE - 1), x.astype(np.int32) & (_TILE - 1)]


# ---------------------------------------------------------------- textures
# texture(p, q, soft) -> mix in [0, 1] of the instance's two colours. p runs right and q up, both in texture periods.
# `soft` is the size of a pixel in periods: it widens the edges, so that distant textures fade instead of aliasing.
def _step(value: Array, soft: Size) -> Array:
    """Thresholds a wave of amplitude about one, with an edge about one pixel wide."""
    gain = np.clip(0.16 / np.maximum(soft, 1e-3), 0.25, 3.0)
    return np.clip(0.5 + gain * value, 0.0, 1.0)


_TAU = np.float32(2 * np.pi)


def _bands(p: Array, q: Array, soft: Size) -> Array:
    return _step(np.sin(_TAU * q), soft)


def _stripes(p: Array, q: Array, soft: Size) -> Array:
    return _step(np.sin(_TAU * p), soft)


def _checks(p: Array, q: Array, soft: Size) -> Array:
    return _step(1.5 * np.sin(_TAU / 2 * p) * np.sin(_TAU / 2 * q), soft)


def _dots(p: Array, q: Array, soft: Size) -> Array:
    return _step(np.cos(_TAU * p) + np.cos(_TAU * q) - 0.6, soft)


def _rings(p: Array, q: Array, soft: Size) -> Array:
    return _step(np.sin(_TAU * np.sqrt(p * p + q * q)), soft)


def _blotches(p: Array, q: Array, soft: Size) -> Array:
    return np.clip(0.5 + 0.6 * _look_up(_noise()[1], p * 10 + 640, q * 10 + 640), 0, 1)


def _smooth(p: Array, q: Array, soft: Size) -> Array:
    return np.clip(0.5 + 0.2 * q, 0, 1)


def _windows(p: Array, q: Array, soft: Size) -> Array:
    return _step(1.4 * np.minimum(np.cos(_TAU * p), np.cos(_TAU / 1.4 * q)) - 0.1, soft)


def _zigzag(p: Array, q: Array, soft: Size) -> Array:
    return _step(np.sin(_TAU * (q + np.abs(2 * (p - np.floor(p)) - 1))), soft)


def _lattice(p: Array, q: Array, soft: Size) -> Array:
    u, v = _TAU / 2 * (p + q), _TAU / 2 * (p - q)
    return _step(1.6 * (0.35 - np.minimum(np.abs(np.sin(u)), np.abs(np.sin(v)))) * 1.5, soft)


def _bricks(p: Array, q: Array, soft: Size) -> Array:
    row = np.floor(q)
    along = np.abs(np.sin(_TAU / 4 * (p + (row % 2)))) * 2
    joint = np.minimum(along, np.abs(np.sin(_TAU / 2 * q)))
    return _step(1.4 * (joint - 0.35), soft)


def _paving(p: Array, q: Array, soft: Size) -> Array:
    return _step(1.2 * (np.minimum(np.abs(np.sin(_TAU / 2 * p)), np.abs(np.sin(_TAU / 2 * q))) - 0.3), soft)


def _grass(p: Array, q: Array, soft: Size) -> Array:
    return np.clip(0.5 + 0.35 * _look_up(_noise()[0], p * 12 + 1280, q * 6 + 1280), 0, 1)


def _water(p: Array, q: Array, soft: Size) -> Array:
    wobble = 0.25 * np.sin(_TAU * 0.31 * p) + 0.15 * np.sin(_TAU * 0.73 * p + 1.0)
    return np.clip(0.5 + np.clip(0.25 / np.maximum(soft, 1e-3), 0, 0.5) * np.sin(_TAU * (q + wobble)), 0, 1)


def _clouds(p: Array, q: Array, soft: Size) -> Array:
    return np.clip(0.5 + 0.25 * q + 0.12 * _look_up(_noise()[1], p * 4 + 640, q * 8 + 640), 0, 1)


# ---------------------------------------------------------------- outlines
# outline(x, y) -> signed distance in object heights, positive inside. x runs right from the middle, y up from the
# ground (0) to the top (1); the caller cuts off the part below the ground.
def _box(x: Array, y: Array, half: float) -> Array:
    return np.minimum(half - np.abs(x), np.minimum(y, 1 - y))


def _disc(x: Array, y: Array, cx: float, cy: float, radius: float) -> Array:
    return radius - np.sqrt((x - cx) ** 2 + (y - cy) ** 2)


def _barrel(x: Array, y: Array) -> Array:
    return np.minimum(0.36 - 0.35 * (y - 0.5) ** 2 - np.abs(x), np.minimum(y, 1 - y))


def _tent(x: Array, y: Array) -> Array:
    return np.minimum((0.62 * (1 - y) + 0.02 - np.abs(x)) * 0.85, y)


def _crate(x: Array, y: Array) -> Array:
    return _box(x, y, 0.5)


def _mushroom(x: Array, y: Array) -> Array:
    cap = np.minimum(1 - np.sqrt((x / 0.55) ** 2 + ((y - 0.42) / 0.58) ** 2), (y - 0.42) * 2) * 0.5
    return np.maximum(cap, np.minimum(0.14 - np.abs(x), 0.6 - y))


def _target(x: Array, y: Array) -> Array:
    return np.maximum(_disc(x, y, 0.0, 0.58, 0.42), np.minimum(0.06 - np.abs(x), 0.5 - y))


def _tree(x: Array, y: Array) -> Array:
    crown = np.maximum(_disc(x, y, -0.2, 0.52, 0.26), _disc(x, y, 0.2, 0.55, 0.26))
    return np.maximum(np.maximum(crown, _disc(x, y, 0.0, 0.72, 0.28)), np.minimum(0.08 - np.abs(x), 0.6 - y))


def _boulder(x: Array, y: Array) -> Array:
    return np.minimum((1 - np.sqrt((x / 0.68) ** 2 + ((y - 0.2) / 0.8) ** 2)) * 0.6, y)


def _tower(x: Array, y: Array) -> Array:
    notch = 0.9 + 0.1 * (np.sin(_TAU * 3.0 * x + 1.57) > 0)
    return np.minimum(0.36 - np.abs(x), np.minimum(y, notch - y))


def _fir(x: Array, y: Array) -> Array:
    tier = np.clip(np.floor(3 * y), 0, 2)
    edge = (0.48 - 0.11 * tier) * (1 - np.where(tier < 2, 0.55, 1.0) * (3 * y - tier))
    return np.minimum(edge - np.abs(x), np.minimum(y, 1 - y))


def _silo(x: Array, y: Array) -> Array:
    body = _box(x, y, 0.38)
    return np.minimum(body, np.maximum(_disc(x, y, 0.0, 0.62, 0.38), 0.62 - y))


@dataclasses.dataclass(frozen=True)
class Kind:
    """An object class.

    Attributes:
      outline, texture: its shape and surface.
      periods: range of the texture's periods per object height.
      height: range of its height, metres.
      centre: height of the texture's fixed centre, in object heights; None: random phase and tilt.
      roundness: strength of the side shading.
    """

    outline: Outline
    texture: Texture
    periods: tuple[float, float]
    height: tuple[float, float] = (1.7, 2.5)
    centre: float | None = None
    roundness: float = 0.3


KINDS: dict[str, Kind] = {
    "barrel": Kind(_barrel, _bands, (3.5, 5.0), roundness=0.5),
    "tent": Kind(_tent, _stripes, (3.5, 5.0)),
    "crate": Kind(_crate, _checks, (4.0, 6.0), (1.4, 2.1), roundness=0.1),
    "mushroom": Kind(_mushroom, _dots, (3.5, 4.6), roundness=0.4),
    "target": Kind(_target, _rings, (4.0, 5.5), centre=0.58, roundness=0.1),
    "tree": Kind(_tree, _blotches, (2.0, 3.2), (2.0, 3.0)),
    "boulder": Kind(_boulder, _smooth, (1.5, 2.5), (1.2, 1.9), roundness=0.6),
    "tower": Kind(_tower, _windows, (4.0, 5.5), (2.2, 3.2), roundness=0.15),
    "fir": Kind(_fir, _zigzag, (3.0, 4.2), roundness=0.5),
    "silo": Kind(_silo, _lattice, (3.0, 4.5), (2.0, 2.8), roundness=0.5),
}
# Texture, and range of its period in metres.
SURFACES: dict[str, tuple[Texture, tuple[float, float]]] = {
    "paving": (_paving, (0.4, 0.8)),
    "grass": (_grass, (0.8, 1.2)),
    "water": (_water, (0.5, 0.9)),
    "brick wall": (_bricks, (0.6, 1.2)),
    "sky": (_clouds, (8.0, 12.0)),
}

BACKGROUNDS = tuple(SURFACES)
OBJECTS = tuple(KINDS)
CLASSES: tuple[str, ...] = BACKGROUNDS + OBJECTS
GROUNDS, BACKDROPS = BACKGROUNDS[:3], BACKGROUNDS[3:]
