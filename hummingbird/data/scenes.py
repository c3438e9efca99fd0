"""The embedded data set `scenes`: a toy world, rendered on demand, with exact masks and metric depth.

It serves the demo and the tests. It is a toy: never quote a number measured on it as a result.

A camera with a level optical axis and a shifted lens (so that verticals stay vertical) views a textured ground plane in
front of a wall or the sky. Flat cut-outs stand upright on the ground, facing the camera, and occlude one another. Three
choices make it a test of features rather than of colours:

- Colours are drawn per instance from one distribution shared by all classes, and every scene spreads the whole colour
  wheel over its surfaces, so colours identify neither classes nor scenes. They drift across each surface.
- A class is defined by its texture (stripes, checks, dots, rings, bricks ...) and, for objects, by its outline. Phase,
  tilt, period, contrast and which of the two colours is lighter are drawn per instance.
- A scene has a theme: one ground, one backdrop, and one or two object classes with several instances each. Recognising
  a scene therefore requires recognising textures and outlines.

An image label, for those who want one, is the object class that most of a scene's objects belong to. Labelled scene i
shows class i % 10, so that classes are balanced by construction; all else is as in the scene without a label.

Depth in metres is the distance along the optical axis: f * height / (row - horizon) on the ground, the distance of the
plane of an object or wall, and MAX_DEPTH for the sky and the ground behind it.
"""

from __future__ import annotations

import dataclasses
import os
import threading

import numpy as np

from hummingbird.data.interface import DenseItem
from hummingbird.data.scene_art import BACKDROPS, CLASSES, GROUNDS, KINDS, OBJECTS, SURFACES, Size, Texture
from hummingbird.errors import UserError

MAX_DEPTH = 20.0
# {kind of label: its layer of a rendered scene, class names}
LABELS = {"segmentation": ("mask", CLASSES), "depth": ("depth", ())}

Array = np.ndarray

# Drawing is many short NumPy calls, which hand Python's lock around: two threads draw 208 scenes of 96 px a second, one
# draws 322, 16 threads on two cores 146. So one thread of a process draws at a time.
_drawing = threading.Lock()


def _renew_lock() -> None:
    """Gives a forked process a lock of its own: another thread of its parent may have held the old one."""
    global _drawing
    _drawing = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


@dataclasses.dataclass(frozen=True)
class _Skin:
    """The texture parameters of one instance."""

    colours: Array  # [2 ends, 2, 3] in 0..1, at the left and the right end of the surface
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
    """A scene before it is drawn, in metres and fractions of the image, independent of the image size."""

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


def _deal_colours(rng: np.random.Generator, count: int) -> Array:
    """Draws two colours of different lightness for each surface, at its left and right end: [count, 2 ends, 2, 3].

    The hues at the left ends divide the colour wheel evenly. The same colour is the lighter one at both ends: across a
    surface the colours change, but not the texture.
    """
    left = (rng.permutation(count) + rng.random()) / count
    hue = np.stack([left, left + rng.uniform(-0.5, 0.5, count)], axis=1)[:, :, None]
    hue = hue + rng.uniform(-0.2, 0.2, (count, 2, 1)) * np.array([0.0, 1.0])
    wheel = np.cos(2 * np.pi * (hue[..., None] + np.array([0.0, 1 / 3, 2 / 3])))
    saturation, middle = rng.uniform(0.3, 1.0, (count, 2, 1, 1)), rng.uniform(0.42, 0.62, (count, 2, 1, 1))
    sign = np.where(rng.random((count, 1, 1, 1)) < 0.5, -1.0, 1.0)
    level = middle + rng.uniform(0.18, 0.36, (count, 2, 1, 1)) * sign * np.array([[1.0], [-1.0]])
    return np.clip(level * (1 + 0.55 * saturation * wheel), 0.02, 1.0).astype(np.float32)


def _skin(rng: np.random.Generator, colours: Array, period: tuple[float, float], tilt: float) -> _Skin:
    period_, across, up, turn = rng.random(4)
    return _Skin(colours, period[0] + (period[1] - period[0]) * period_, (8 * across, 8 * up), tilt * (2 * turn - 1))


def _plan(seed: int, index: int, label: int | None = None) -> _Plan:
    """Draws a scene; `label` is the class in `OBJECTS` of most of its objects, None: any."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index))))
    focal, camera_height, horizon = rng.uniform(1.0, 1.2), rng.uniform(2.0, 2.5), rng.uniform(0.2, 0.36)
    ground, backdrop = GROUNDS[rng.integers(len(GROUNDS))], BACKDROPS[rng.integers(len(BACKDROPS))]
    distance = MAX_DEPTH if backdrop == "sky" else rng.uniform(9.0, 14.0)
    theme = rng.permutation(len(OBJECTS))[: rng.integers(1, 3)]
    turns = theme  # the classes of the objects, in turn
    if label is not None:
        other = theme[-1] if theme[-1] != label else theme[0]
        turns = np.array([label, label, other])

    count = int(rng.integers(4, 7))
    nearest = focal * camera_height / (1.0 - horizon)  # where the ground meets the lower edge of the image
    columns = (rng.permutation(count) + rng.uniform(0.1, 0.9, count)) / count - 0.5
    spread = (np.arange(count) + rng.uniform(0, 1, count)) / count
    distances = nearest * 1.08 * (7.5 / nearest / 1.08) ** spread[::-1]  # even in log distance, hence in size
    colours = _deal_colours(rng, count + 2)
    things = []
    for i in range(count):
        name = OBJECTS[turns[i % len(turns)]]
        kind = KINDS[name]
        height, far = rng.uniform(*kind.height), distances[i]
        low, high = kind.periods
        skin = _skin(rng, colours[i], (0.75 / high, 1 / low), 0.45)
        if kind.centre is not None:
            skin = dataclasses.replace(skin, phase=(0.0, -kind.centre / skin.period), tilt=0.0)
        things.append(_Thing(name, columns[i] * far / focal, far, height, rng.random() < 0.5, skin))
    things.sort(key=lambda thing: -thing.distance)
    return _Plan(
        focal=focal,
        camera_height=camera_height,
        horizon=horizon,
        ground=ground,
        backdrop=backdrop,
        backdrop_distance=distance,
        ground_skin=_skin(rng, colours[-1], SURFACES[ground][1], 0.5),
        backdrop_skin=_skin(rng, colours[-2], SURFACES[backdrop][1], 0.3),
        things=tuple(things),
        light=rng.uniform(-1, 1),
        tint=(rng.uniform(0.8, 1.1) * rng.uniform(0.88, 1.08, 3)).astype(np.float32),
        haze=rng.uniform(0.55, 0.85, 3).astype(np.float32),
        haze_length=rng.uniform(18, 40),
    )


# ---------------------------------------------------------------- drawing
def _colour(skin: _Skin, texture: Texture, right: Array, up: Array, pixel: Size) -> Array:
    """Evaluates a texture at positions in metres (or object heights), where pixels are `pixel` wide.

    Returns:
      [3, rows, columns].
    """
    cos, sin = np.float32(np.cos(skin.tilt) / skin.period), np.float32(np.sin(skin.tilt) / skin.period)
    p = cos * right + sin * up + np.float32(skin.phase[0])
    q = cos * up - sin * right + np.float32(skin.phase[1])
    mix = texture(p, q, pixel / skin.period)
    along = np.arange(mix.shape[1], dtype=np.float32) * np.float32(1 / mix.shape[1])
    first, second = skin.colours[0, ..., None] + along * (skin.colours[1] - skin.colours[0])[..., None]  # [3, columns]
    return second[:, None] + mix * (first - second)[:, None]


def _ground_row(plan: _Plan, size: int, distance: float) -> float:
    """Returns the row (pixels from the top) of the ground at a distance."""
    return size * (plan.horizon + plan.focal * plan.camera_height / distance)


def _background(plan: _Plan, size: int) -> tuple[Array, Array, Array]:
    focal = plan.focal * size
    rows = np.arange(size, dtype=np.float32) + 0.5
    across = np.arange(size, dtype=np.float32) + (0.5 - size / 2)
    split = int(np.clip(np.ceil(_ground_row(plan, size, plan.backdrop_distance) - 0.5), 0, size))
    image = np.empty((3, size, size), np.float32)  # channels first: three times as fast as channels last
    mask = np.empty((size, size), np.int32)
    depth = np.empty((size, size), np.float32)

    far = np.float32(plan.backdrop_distance)
    texture, _ = SURFACES[plan.backdrop]
    up = (_ground_row(plan, size, plan.backdrop_distance) - rows[:split, None]) * (far / focal)
    right = across[None, :] * (far / focal)
    image[:, :split] = _colour(plan.backdrop_skin, texture, right, up, far / focal)
    mask[:split], depth[:split] = CLASSES.index(plan.backdrop), far

    texture, _ = SURFACES[plan.ground]
    z = (focal * plan.camera_height / (rows[split:, None] - plan.horizon * size)).astype(np.float32)
    pixel = z * z / (focal * plan.camera_height)  # along the ground, where foreshortening is strongest
    image[:, split:] = _colour(plan.ground_skin, texture, across[None, :] * (z / focal), z, pixel)
    mask[split:], depth[split:] = CLASSES.index(plan.ground), z
    return image, mask, depth


def _place(plan: _Plan, thing: _Thing, size: int) -> tuple[slice, slice, Array, Array, float] | None:
    """Finds the part of the image that an object may cover.

    Returns:
      Rows, columns, the x and y of their pixels in object heights, and pixels per object height; None if the object
      is outside of the image.
    """
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
    kind = KINDS[thing.name]
    inside = np.minimum(kind.outline(x, y), y)  # objects end at the ground
    colour = _colour(thing.skin, kind.texture, -x if thing.mirrored else x, y, 1.0 / scale)
    side = np.clip(x * (2 * plan.light), -1, 1) * kind.roundness
    shade = (1.0 + side) * (0.82 + 0.2 * y)
    cover = np.clip(0.5 + inside * scale, 0, 1)
    behind = image[:, rows, columns]
    behind += cover * (colour * shade - behind)
    solid = inside > 0
    mask[rows, columns][solid] = CLASSES.index(thing.name)
    depth[rows, columns][solid] = thing.distance


def _cast_shadow(plan: _Plan, thing: _Thing, size: int, image: Array) -> None:
    """Darkens a soft ellipse on the ground around the foot of an object."""
    foot, middle = _ground_row(plan, size, thing.distance), size * (0.5 + plan.focal * thing.x / thing.distance)
    wide = 0.55 * thing.height * plan.focal * size / thing.distance
    flat = 0.3 * wide
    top, bottom = max(int(foot - 0.3 * flat), 0), min(int(foot + 2 * flat), size)
    left, right = max(int(middle - 2 * wide), 0), min(int(middle + 2 * wide), size)
    if top >= bottom or left >= right:
        return
    dy = (np.arange(top, bottom, dtype=np.float32)[:, None] - foot) / flat
    dx = (np.arange(left, right, dtype=np.float32)[None, :] - middle + 0.4 * plan.light * wide) / wide
    image[:, top:bottom, left:right] *= 1 - 0.55 * np.exp(-(dx * dx)) * np.exp(-(dy * dy))


def _moved(plan: _Plan, right: float, forward: float) -> _Plan:
    """Moves the camera by so many metres; the sky stays where it is."""

    def shifted(skin: _Skin, across: float, up: float) -> _Skin:
        cos, sin = np.cos(skin.tilt) / skin.period, np.sin(skin.tilt) / skin.period
        phase = skin.phase[0] + cos * across + sin * up, skin.phase[1] + cos * up - sin * across
        return dataclasses.replace(skin, phase=phase)

    things = [dataclasses.replace(x, x=x.x - right, distance=x.distance - forward) for x in plan.things]
    near = plan.backdrop_distance - (forward if plan.backdrop != "sky" else 0.0)
    return dataclasses.replace(
        plan,
        backdrop_distance=near,
        ground_skin=shifted(plan.ground_skin, right, forward),
        backdrop_skin=shifted(plan.backdrop_skin, right, 0.0) if plan.backdrop != "sky" else plan.backdrop_skin,
        things=tuple(things),
    )


def render(
    seed: int, index: int, size: int, label: int | None = None, camera: tuple[float, float] = (0.0, 0.0)
) -> dict[str, Array]:
    """Renders scene `index` of world `seed`, a pure function of the arguments; the same scene at every size.

    Args:
      seed: of the world.
      index: number of the scene.
      size: side of the image, pixels.
      label: class in OBJECTS that at least two thirds of the objects belong to; None: any.
      camera: metres by which the camera is moved to the right and forward, for frames of one scene.

    Returns:
      {"image": uint8 [size, size, 3], "mask": int32 [size, size] indices into CLASSES, "depth": float32 [size, size]
      metres in (0, MAX_DEPTH]}. Every pixel has a class and a depth.

    Example:
      >>> scene = render(seed=0, index=0, size=32)
      >>> scene["image"].shape, CLASSES[scene["mask"][-1, 0]]
      ((32, 32, 3), 'paving')
    """
    with _drawing:
        return _render(_plan(seed, index, label), size, camera)


def _render(plan: _Plan, size: int, camera: tuple[float, float]) -> dict[str, Array]:
    plan = _moved(plan, *camera) if camera != (0.0, 0.0) else plan
    image, mask, depth = _background(plan, size)
    for thing in plan.things:
        _cast_shadow(plan, thing, size, image)
    for thing in plan.things:
        _draw(plan, thing, size, image, mask, depth)
    clear = np.exp(depth * np.float32(-1 / plan.haze_length))
    haze = plan.haze[:, None, None]
    image = (haze + clear * (image - haze)) * (255 * plan.tint[:, None, None]) + 0.5
    image = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return {"image": image, "mask": mask, "depth": depth}


class Scenes:
    """Scenes `first` to `first + length - 1` of world `seed`, as a dense source; `image_label` if they have labels.

    Disjoint ranges of indices (or different seeds) give disjoint prompt and query sets.
    """

    ignore = 255

    def __init__(
        self, seed: int, length: int, size: int, task: str = "segmentation", first: int = 0, labels: bool = False
    ):
        if task not in LABELS:
            raise UserError(f"scenes: task={task!r} is unknown; use one of {', '.join(LABELS)}")
        self.seed, self.length, self.size, self.task, self.first, self.labels = seed, length, size, task, first, labels
        self._layer, classes = LABELS[task]
        self.classes = list(classes)
        self.fingerprint = f"scenes-1 seed={seed} first={first} length={length} size={size} task={task}"
        self.fingerprint += " labels=objects" if labels else ""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> DenseItem:
        if not 0 <= i < self.length:
            raise IndexError(f"scene {i} of {self.length}")
        label = self.image_label(i)
        scene = render(self.seed, self.first + i, self.size, label if label >= 0 else None)
        return {"image": scene["image"], "label": scene[self._layer], "name": f"scene-{self.seed}-{self.first + i}"}

    def image_label(self, i: int) -> int:
        """Returns the class in `OBJECTS` of scene i, without rendering it; -1 without labels."""
        return (self.first + i) % len(OBJECTS) if self.labels else -1
