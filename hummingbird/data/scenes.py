"""The embedded data set `scenes`: a toy world, rendered on the spot, with exact masks and metric depth.

It serves the demo, the tests and first contact. It is a toy: never quote a number measured on it as a result.

A camera with a level optical axis and a shifted lens (so verticals stay vertical) looks over a textured ground plane at
a wall or the sky. Flat cut-outs stand upright on the ground, facing the camera, and hide one another. What makes it a
test of features rather than of colours:

- Every object, ground and backdrop draws its colours per instance from one distribution shared by all classes.
- A class is its texture (stripes, checks, dots, rings, bricks ...) and, for objects, its outline. Phase, tilt, period,
  contrast and which of the two colours is the lighter one are drawn per instance.
- A scene has a theme: one ground, one backdrop, two or three object classes with several instances each. Telling scenes
  apart therefore means recognising textures and outlines.

Depth in metres is the distance along the optical axis: on the ground f * height / (row - horizon), for an object or wall
the plane it stands in, MAX_DEPTH for the sky and the ground beyond.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

BACKGROUNDS = ("paving", "grass", "water", "brick wall", "sky")
OBJECTS = ("barrel", "tent", "crate", "mushroom", "target", "tree", "boulder", "tower", "pot", "silo")
CLASSES: tuple[str, ...] = BACKGROUNDS + OBJECTS
MAX_DEPTH = 20.0
TASKS = ("segmentation", "depth")

_GROUNDS = ("paving", "grass", "water")
_BACKDROPS = ("brick wall", "sky")
_TILE = 256  # side of the noise tiles, a power of two so that wrapping is a bit mask

Array = np.ndarray


def _smoothed(noise: Array, sigma: float) -> Array:
    """Gaussian blur with wrap-around, by FFT, so that the tile repeats without a seam."""
    freq = np.fft.fftfreq(_TILE)
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (freq[:, None] ** 2 + freq[None, :] ** 2))
    out = np.fft.ifft2(np.fft.fft2(noise) * kernel).real
    return (out / out.std()).astype(np.float32)


@functools.cache
def _noise() -> tuple[Array, Array]:
    """Two fixed noise tiles of unit variance, [256, 256]: fine grain, and blobs about eight texels across."""
    white = np.random.Generator(np.random.PCG64(20231)).standard_normal((_TILE, _TILE))
    return _smoothed(white, 0.6), _smoothed(white, 3.0)


def _look_up(tile: Array, x: Array, y: Array) -> Array:
    return tile[y.astype(np.int32) & (_TILE - 1), x.astype(np.int32) & (_TILE - 1)]


# ---------------------------------------------------------------- textures
# texture(p, q, soft) -> mix in [0, 1] of the instance's two colours. p runs right, q up, both in texture periods;
# `soft` is the size of a pixel in periods: it widens the edges so that distant textures fade instead of aliasing.
def _step(value: Array, soft: Array | float) -> Array:
    """Soft threshold of a wave of amplitude about one: its edge is about a pixel wide."""
    gain = np.clip(0.16 / np.maximum(soft, 1e-3), 0.25, 3.0)
    return np.clip(0.5 + gain * value, 0.0, 1.0)


_TAU = np.float32(2 * np.pi)


def _bands(p, q, soft):
    return _step(np.sin(_TAU * q), soft)


def _stripes(p, q, soft):
    return _step(np.sin(_TAU * p), soft)


def _checks(p, q, soft):
    return _step(1.5 * np.sin(_TAU / 2 * p) * np.sin(_TAU / 2 * q), soft)


def _dots(p, q, soft):
    return _step(np.cos(_TAU * p) + np.cos(_TAU * q) - 0.6, soft)


def _rings(p, q, soft):
    return _step(np.sin(_TAU * np.sqrt(p * p + q * q)), soft)


def _blotches(p, q, soft):
    return np.clip(0.5 + 0.6 * _look_up(_noise()[1], p * 10 + 640, q * 10 + 640), 0, 1)


def _smooth(p, q, soft):
    return np.clip(0.5 + 0.2 * q, 0, 1)


def _windows(p, q, soft):
    return _step(1.4 * np.minimum(np.cos(_TAU * p), np.cos(_TAU / 1.4 * q)) - 0.1, soft)


def _zigzag(p, q, soft):
    return _step(np.sin(_TAU * (q + np.abs(2 * (p - np.floor(p)) - 1))), soft)


def _lattice(p, q, soft):
    u, v = _TAU / 2 * (p + q), _TAU / 2 * (p - q)
    return _step(1.6 * (0.35 - np.minimum(np.abs(np.sin(u)), np.abs(np.sin(v)))) * 1.5, soft)


def _bricks(p, q, soft):
    row = np.floor(q)
    along = np.abs(np.sin(_TAU / 4 * (p + (row % 2)))) * 2
    joint = np.minimum(along, np.abs(np.sin(_TAU / 2 * q)))
    return _step(1.4 * (joint - 0.35), soft)


def _paving(p, q, soft):
    return _step(1.2 * (np.minimum(np.abs(np.sin(_TAU / 2 * p)), np.abs(np.sin(_TAU / 2 * q))) - 0.3), soft)


def _grass(p, q, soft):
    return np.clip(0.5 + 0.35 * _look_up(_noise()[0], p * 12 + 1280, q * 6 + 1280), 0, 1)


def _water(p, q, soft):
    wobble = 0.25 * np.sin(_TAU * 0.31 * p) + 0.15 * np.sin(_TAU * 0.73 * p + 1.0)
    return np.clip(0.5 + np.clip(0.25 / np.maximum(soft, 1e-3), 0, 0.5) * np.sin(_TAU * (q + wobble)), 0, 1)


def _clouds(p, q, soft):
    return np.clip(0.5 + 0.25 * q + 0.12 * _look_up(_noise()[1], p * 4 + 640, q * 8 + 640), 0, 1)


# ---------------------------------------------------------------- outlines
# outline(x, y) -> signed distance in object heights, positive inside. x across from the middle, y up from the ground to 1.
def _box(x, y, half):
    return np.minimum(half - np.abs(x), np.minimum(y, 1 - y))


def _disc(x, y, cx, cy, radius):
    return radius - np.sqrt((x - cx) ** 2 + (y - cy) ** 2)


def _barrel(x, y):
    return np.minimum(0.36 - 0.35 * (y - 0.5) ** 2 - np.abs(x), np.minimum(y, 1 - y))


def _tent(x, y):
    return np.minimum((0.62 * (1 - y) + 0.02 - np.abs(x)) * 0.85, y)


def _crate(x, y):
    return _box(x, y, 0.5)


def _mushroom(x, y):
    cap = np.minimum(1 - np.sqrt((x / 0.55) ** 2 + ((y - 0.42) / 0.58) ** 2), (y - 0.42) * 2) * 0.5
    return np.maximum(cap, _box(x, y + 0.1, 0.14))


def _target(x, y):
    return np.maximum(_disc(x, y, 0.0, 0.58, 0.42), np.minimum(_box(x, y, 0.06), 0.5 - y))


def _tree(x, y):
    crown = np.maximum(_disc(x, y, -0.2, 0.52, 0.26), _disc(x, y, 0.2, 0.55, 0.26))
    return np.maximum(np.maximum(crown, _disc(x, y, 0.0, 0.72, 0.28)), np.minimum(_box(x, y, 0.08), 0.6 - y))


def _boulder(x, y):
    return np.minimum((1 - np.sqrt((x / 0.68) ** 2 + ((y - 0.2) / 0.8) ** 2)) * 0.6, y)


def _tower(x, y):
    notch = 0.9 + 0.1 * (np.sin(_TAU * 3.0 * x + 1.57) > 0)
    return np.minimum(0.36 - np.abs(x), np.minimum(y, notch - y))


def _pot(x, y):
    return np.minimum(0.26 + 0.2 * np.sin(4.6 * y + 0.3) - np.abs(x), np.minimum(y, 1 - y))


def _silo(x, y):
    body = _box(x, y, 0.38)
    return np.minimum(body, np.maximum(_disc(x, y, 0.0, 0.62, 0.38), 0.62 - y))


@dataclasses.dataclass(frozen=True)
class _Kind:
    """An object class: its outline, its texture, texture periods per object height, height range in metres."""

    outline: Callable[[Array, Array], Array]
    texture: Callable[[Array, Array, float], Array]
    periods: tuple[float, float]
    height: tuple[float, float] = (1.7, 2.5)
    centred: bool = False  # texture centred on the object (no random phase)
    roundness: float = 0.3  # strength of the side shading


_KINDS: dict[str, _Kind] = {
    "barrel": _Kind(_barrel, _bands, (3.5, 5.0), roundness=0.5),
    "tent": _Kind(_tent, _stripes, (3.5, 5.0)),
    "crate": _Kind(_crate, _checks, (4.0, 6.0), (1.4, 2.1), roundness=0.1),
    "mushroom": _Kind(_mushroom, _dots, (3.5, 4.6), roundness=0.4),
    "target": _Kind(_target, _rings, (4.0, 5.5), centred=True, roundness=0.1),
    "tree": _Kind(_tree, _blotches, (2.0, 3.2), (2.0, 3.0)),
    "boulder": _Kind(_boulder, _smooth, (1.5, 2.5), (1.2, 1.9), roundness=0.6),
    "tower": _Kind(_tower, _windows, (4.0, 5.5), (2.2, 3.2), roundness=0.15),
    "pot": _Kind(_pot, _zigzag, (3.0, 4.2), roundness=0.5),
    "silo": _Kind(_silo, _lattice, (3.0, 4.5), (2.0, 2.8), roundness=0.5),
}
# texture, its period in metres (range)
_SURFACES: dict[str, tuple[Callable[[Array, Array, Array], Array], tuple[float, float]]] = {
    "paving": (_paving, (0.8, 1.2)),
    "grass": (_grass, (0.8, 1.2)),
    "water": (_water, (0.7, 1.1)),
    "brick wall": (_bricks, (0.8, 1.2)),
    "sky": (_clouds, (8.0, 12.0)),
}


@dataclasses.dataclass(frozen=True)
class _Skin:
    """How one instance wears its texture."""

    colours: Array  # [2 ends, 2, 3] in 0..1: at the left end of the surface and at its right end
    period: float
    phase: tuple[float, float]
    tilt: float


@dataclasses.dataclass(frozen=True)
class _Thing:
    name: str
    x: float  # metres right of the optical axis
    distance: float  # metres along it
    height: float  # metres
    mirrored: bool
    skin: _Skin


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A scene before it is drawn, in metres and fractions of the image: the same at every size."""

    focal: float  # in image sides
    camera_height: float  # metres
    horizon: float  # fraction of the image, from the top
    ground: str
    backdrop: str
    backdrop_distance: float
    ground_skin: _Skin
    backdrop_skin: _Skin
    things: tuple[_Thing, ...]  # far to near
    light: float  # -1 from the left .. 1 from the right
    tint: Array  # [3], gain of the light
    haze: Array  # [3]
    haze_length: float  # metres


def _palette(hue: float, rng: np.random.Generator) -> Array:
    """Two colours [2, 3] about a hue, apart in lightness; the same distribution for everything in the world."""
    hues = hue + np.array([0.0, rng.uniform(-0.2, 0.2)])
    saturation, middle = rng.uniform(0.3, 1.0), rng.uniform(0.42, 0.62)
    contrast = rng.uniform(0.12, 0.28) * (1 if rng.random() < 0.5 else -1)
    wheel = np.cos(2 * np.pi * (hues[:, None] + np.array([0.0, 1 / 3, 2 / 3])))
    level = middle + contrast * np.array([1.0, -1.0])
    return np.clip(level[:, None] * (1 + 0.55 * saturation * wheel), 0.02, 1.0).astype(np.float32)


def _skin(rng: np.random.Generator, hue: float, period: tuple[float, float], tilt: float) -> _Skin:
    colours = np.stack([_palette(hue, rng), _palette(hue + rng.uniform(-0.5, 0.5), rng)])
    # the texture does not change across a surface, its colours do: keep the lighter of the two the lighter one
    if np.subtract(*colours[0].sum(1)) * np.subtract(*colours[1].sum(1)) < 0:
        colours[1] = colours[1, ::-1]
    phase = (rng.uniform(0, 8), rng.uniform(0, 8))
    return _Skin(colours, rng.uniform(*period), phase, rng.uniform(-tilt, tilt))


def _plan(seed: int, index: int) -> _Plan:
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index))))
    focal, camera_height, horizon = rng.uniform(1.0, 1.2), rng.uniform(2.0, 2.5), rng.uniform(0.2, 0.36)
    ground, backdrop = _GROUNDS[rng.integers(len(_GROUNDS))], _BACKDROPS[rng.integers(len(_BACKDROPS))]
    distance = MAX_DEPTH if backdrop == "sky" else rng.uniform(9.0, 14.0)
    theme = rng.permutation(len(OBJECTS))[: rng.integers(2, 4)]

    count = int(rng.integers(5, 8))
    nearest = focal * camera_height / (1.0 - horizon)  # where the ground leaves the image
    columns = (rng.permutation(count) + rng.uniform(0.1, 0.9, count)) / count - 0.5
    spread = (np.arange(count) + rng.uniform(0, 1, count)) / count
    distances = nearest * 1.08 * (8.5 / nearest / 1.08) ** spread[::-1]  # even in log distance, hence in size
    # every scene deals the whole colour wheel over what it holds, so that scenes don't differ in their colours
    hues = (rng.permutation(count + 2) + rng.random()) / (count + 2)
    things = []
    for i in range(count):
        name = OBJECTS[theme[i % len(theme)]]
        kind = _KINDS[name]
        height, far = rng.uniform(*kind.height), distances[i]
        low, high = kind.periods
        skin = _skin(rng, hues[i], (1 / high, 1 / low), 0.0 if kind.centred else 0.25)
        things.append(_Thing(name, columns[i] * far / focal, far, height, rng.random() < 0.5, skin))
    things.sort(key=lambda thing: -thing.distance)
    return _Plan(
        focal=focal,
        camera_height=camera_height,
        horizon=horizon,
        ground=ground,
        backdrop=backdrop,
        backdrop_distance=distance,
        ground_skin=_skin(rng, hues[-1], _SURFACES[ground][1], 0.5),
        backdrop_skin=_skin(rng, hues[-2], _SURFACES[backdrop][1], 0.15),
        things=tuple(things),
        light=rng.uniform(-1, 1),
        tint=(rng.uniform(0.8, 1.1) * rng.uniform(0.88, 1.08, 3)).astype(np.float32),
        haze=rng.uniform(0.55, 0.85, 3).astype(np.float32),
        haze_length=rng.uniform(18, 40),
    )


# ---------------------------------------------------------------- drawing
def _wear(skin: _Skin, texture, right: Array, up: Array, pixel) -> Array:
    """Colours [..., 3] of a texture at places given in metres (or object heights); `pixel` is a pixel's size there."""
    cos, sin = np.float32(np.cos(skin.tilt) / skin.period), np.float32(np.sin(skin.tilt) / skin.period)
    p = cos * right + sin * up + np.float32(skin.phase[0])
    q = cos * up - sin * right + np.float32(skin.phase[1])
    mix = texture(p, q, pixel / skin.period)[..., None]
    along = np.linspace(0, 1, mix.shape[1], dtype=np.float32)[:, None]
    first, second = skin.colours[0, :, None] + along * (skin.colours[1] - skin.colours[0])[:, None]  # [columns, 3] each
    return second + mix * (first - second)


def _ground_row(plan: _Plan, size: int, distance: float) -> float:
    """Row (pixels from the top) where the ground is that far away."""
    return size * (plan.horizon + plan.focal * plan.camera_height / distance)


def _background(plan: _Plan, size: int) -> tuple[Array, Array, Array]:
    focal = plan.focal * size
    rows = np.arange(size, dtype=np.float32) + 0.5
    across = np.arange(size, dtype=np.float32) + (0.5 - size / 2)
    split = int(np.clip(np.ceil(_ground_row(plan, size, plan.backdrop_distance) - 0.5), 0, size))
    image = np.empty((size, size, 3), np.float32)
    mask = np.empty((size, size), np.int32)
    depth = np.empty((size, size), np.float32)

    far = np.float32(plan.backdrop_distance)
    texture, _ = _SURFACES[plan.backdrop]
    up = (_ground_row(plan, size, plan.backdrop_distance) - rows[:split, None]) * (far / focal)
    right = across[None, :] * (far / focal)
    image[:split] = _wear(plan.backdrop_skin, texture, right, up, far / focal)
    mask[:split], depth[:split] = CLASSES.index(plan.backdrop), far

    texture, _ = _SURFACES[plan.ground]
    z = (focal * plan.camera_height / (rows[split:, None] - plan.horizon * size)).astype(np.float32)
    pixel = z * z / (focal * plan.camera_height)  # along the ground, where foreshortening is strongest
    image[split:] = _wear(plan.ground_skin, texture, across[None, :] * (z / focal), z, pixel)
    mask[split:], depth[split:] = CLASSES.index(plan.ground), z
    return image, mask, depth


def _place(plan: _Plan, thing: _Thing, size: int):
    """Window of the image an object may cover, and there x, y in object heights; None when out of sight."""
    scale = thing.height * plan.focal * size / thing.distance  # pixels per object height
    foot, middle = _ground_row(plan, size, thing.distance), size * (0.5 + plan.focal * thing.x / thing.distance)
    top, bottom = max(int(foot - scale - 1), 0), min(int(foot + 1), size)
    left, right = max(int(middle - 0.75 * scale), 0), min(int(middle + 0.75 * scale + 1), size)
    if top >= bottom or left >= right:
        return None
    y = (foot - np.arange(top, bottom, dtype=np.float32)[:, None] - 0.5) / scale
    x = (np.arange(left, right, dtype=np.float32)[None, :] + (0.5 - middle)) / scale
    return slice(top, bottom), slice(left, right), x.astype(np.float32), y.astype(np.float32), scale


def _draw(plan: _Plan, thing: _Thing, size: int, image: Array, mask: Array, depth: Array) -> None:
    place = _place(plan, thing, size)
    if place is None:
        return
    rows, columns, x, y, scale = place
    kind = _KINDS[thing.name]
    inside = kind.outline(x, y)
    if kind.centred:
        skin = dataclasses.replace(thing.skin, phase=(0.0, -0.58 / thing.skin.period))
    else:
        skin = thing.skin
    colour = _wear(skin, kind.texture, -x if thing.mirrored else x, y, 1.0 / scale)
    side = np.clip(x * (2 * plan.light), -1, 1) * kind.roundness
    shade = (1.0 + side) * (0.82 + 0.2 * y)
    cover = np.clip(0.5 + inside * scale, 0, 1)[..., None]
    image[rows, columns] += cover * (colour * shade[..., None] - image[rows, columns])
    solid = inside > 0
    mask[rows, columns][solid] = CLASSES.index(thing.name)
    depth[rows, columns][solid] = thing.distance


def _cast_shadow(plan: _Plan, thing: _Thing, size: int, image: Array) -> None:
    """Soft dark ellipse on the ground around the foot of an object."""
    foot, middle = _ground_row(plan, size, thing.distance), size * (0.5 + plan.focal * thing.x / thing.distance)
    wide = 0.55 * thing.height * plan.focal * size / thing.distance
    flat = 0.3 * wide
    top, bottom = max(int(foot - 0.3 * flat), 0), min(int(foot + 2 * flat), size)
    left, right = max(int(middle - 2 * wide), 0), min(int(middle + 2 * wide), size)
    if top >= bottom or left >= right:
        return
    dy = (np.arange(top, bottom, dtype=np.float32)[:, None] - foot) / flat
    dx = (np.arange(left, right, dtype=np.float32)[None, :] - middle + 0.4 * plan.light * wide) / wide
    image[top:bottom, left:right] *= (1 - 0.55 * np.exp(-(dx * dx + dy * dy)))[..., None]


def render(seed: int, index: int, size: int) -> dict[str, Array]:
    """Scene `index` of world `seed`; the same scene at every size.

    Returns {"image": uint8 [size, size, 3], "mask": int32 [size, size] indices into CLASSES,
    "depth": float32 [size, size] metres in (0, MAX_DEPTH]}. Every pixel has a class and a depth. A pure function: nothing
    but the arguments decides the result.
    """
    plan = _plan(seed, index)
    image, mask, depth = _background(plan, size)
    for thing in plan.things:
        _cast_shadow(plan, thing, size, image)
    for thing in plan.things:
        _draw(plan, thing, size, image, mask, depth)
    clear = np.exp(depth * np.float32(-1 / plan.haze_length))[..., None]
    image = (plan.haze + clear * (image - plan.haze)) * plan.tint
    return {"image": (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), "mask": mask, "depth": depth}


class Scenes:
    """`length` scenes of world `seed` from `first` on, as a dense source: a sequence without state.

    Items are {"image": uint8 [size, size, 3], "label": int32 mask or float32 depth [size, size], "name": str}. Disjoint
    ranges of indices (or different seeds) give disjoint prompt and query sets.
    """

    ignore = 255

    def __init__(self, seed: int, length: int, size: int, task: str = "segmentation", first: int = 0):
        if task not in TASKS:
            raise ValueError(f"task={task!r}: one of {', '.join(TASKS)}")
        self.seed, self.length, self.size, self.task, self.first = seed, length, size, task, first
        self.classes = list(CLASSES) if task == "segmentation" else []
        self.fingerprint = f"scenes-1 seed={seed} first={first} length={length} size={size} task={task}"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> dict[str, Array | str]:
        if not 0 <= i < self.length:
            raise IndexError(f"scene {i} of {self.length}")
        scene = render(self.seed, self.first + i, self.size)
        label = scene["mask"] if self.task == "segmentation" else scene["depth"]
        return {"image": scene["image"], "label": label, "name": f"scene-{self.seed}-{self.first + i}"}
