"""What a new session shows: rendered scenes with a few strokes, or the annotated images of --prompt."""

from __future__ import annotations

import pathlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int32, Shaped, UInt8

from hummingbird.config.segment import PromptFiles
from hummingbird.data import scenes
from hummingbird.data.annotations import read_annotations
from hummingbird.data.label_files import IGNORE
from hummingbird.errors import UserError
from hummingbird.incontext import files
from hummingbird.incontext.app.exports import CLASSES
from hummingbird.incontext.app.session import MOST_CLASSES, Event
from hummingbird.incontext.app.store import MOST_IMAGES, SessionFolder, encode_picture
from hummingbird.run.files import Json
from hummingbird.tasks.drawing import css

# Scenes of world 0, each as four frames of a moving camera: even raw pixels find the surfaces of one frame in another.
SCENES = (43, 15)
CAMERAS = ((0.0, 0.0), (0.35, 0.2), (-0.4, 0.3), (0.8, 0.1))  # metres to the right and forward
SIZE = 384  # pixels
BRUSH = 14.0  # widest opening stroke, pixels


class Annotated(NamedTuple):
    """An image with class values, `IGNORE` where void."""

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    mask: UInt8[np.ndarray, "H W"]


# ---------------------------------------------------------------- rendered scenes
def open_scenes(session: SessionFolder) -> None:
    """Fills a session with frames of rendered scenes; the first frame of each has strokes."""
    events: list[Event] = []
    known: dict[str, str] = {}
    for scene in SCENES:
        for number, camera in enumerate(CAMERAS):
            rendered = scenes.render(0, scene, SIZE, camera=camera)
            image = session.add_image(
                encode_picture(rendered["image"], "PNG"), f"scene-{scene}-{number + 1}.png", example=True
            )
            if number == 0:
                events += annotate(image, rendered["mask"], known)
    session.append(events)


def annotate(image: str, mask: Int32[np.ndarray, "H W"], known: dict[str, str]) -> Iterator[Event]:
    """Yields events that add the classes of a scene, and one stroke on each region of a fair size."""
    for number in np.unique(mask).tolist():
        name = scenes.CLASSES[number]
        if name not in known:
            known[name] = f"scene{number}"
            yield {"type": "class.add", "key": secrets.token_hex(8), "id": known[name], "name": name}
        for stroke in _strokes(mask == number):
            stroke = {**stroke, "tool": "brush", "class": known[name]}
            yield {"type": "stroke.add", "key": secrets.token_hex(8), "image": image, "stroke": stroke}


def _strokes(region: Shaped[np.ndarray, "H W"]) -> Iterator[dict[str, Json]]:
    """Yields strokes along the middle of each connected part of a region: one, or two where there is room."""
    count, parts = cv2.connectedComponents(region.astype(np.uint8))
    for number in range(1, count):
        inside = np.pad((parts == number).astype(np.uint8), 1)  # the border of the image ends a region
        for least in (6, BRUSH):
            depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
            if depth.max() < least:
                break
            size = round(min(BRUSH, float(depth.max())), 1)
            points = _middle(depth, size)
            yield {"id": secrets.token_hex(6), "size": size, "points": [value for point in points for value in point]}
            line = np.array(points, np.int32)[:, None]
            cv2.polylines(inside, [line], isClosed=False, color=0, thickness=round(2 * BRUSH))


def _middle(depth: Shaped[np.ndarray, "H W"], size: float) -> list[tuple[float, float]]:
    """Follows the middle of a region from its innermost pixel to both sides, as a hand would."""
    inner = np.argwhere(depth > 0.85 * depth.max())
    start = inner[np.abs(inner - np.argwhere(depth > 0).mean(axis=0)).sum(axis=1).argmin()]
    path = [(int(start[1]), int(start[0]))]
    for step in (-1, 1):
        column, row = path[0] if step == 1 else path[-1]
        side: list[tuple[int, int]] = []
        while len(side) < 0.36 * SIZE and 0 <= column + step < depth.shape[1]:
            column += step
            rows = range(max(row - 1, 0), min(row + 2, depth.shape[0]))
            row = max(rows, key=lambda r: (depth[r, column], -abs(r - row)))
            if depth[row, column] < 0.8 * size:
                break
            side.append((column, row))
        path = side[::-1] + path if step == -1 else path + side
    return [(column + 0.5, row + 0.5) for column, row in path[::6] + path[-1:]]


# ---------------------------------------------------------------- annotated images
class Entry(NamedTuple):
    """A class: its value in masks, its name, and its colour as "#rrggbb" ("": chosen by the page)."""

    value: int
    name: str
    colour: str


class Given(NamedTuple):
    """Annotated images to begin with: their classes, their number, and what reads them one by one."""

    classes: Sequence[Entry]
    count: int
    images: Callable[[], Iterator[Annotated]]


def open_annotated(session: SessionFolder, given: Given) -> None:
    """Fills a session with annotated images.

    Raises:
      UserError: an image cannot be used, or a class has no name of its own.
    """
    for entry in given.classes:
        event = {"type": "class.add", "key": secrets.token_hex(8), "id": f"class{entry.value}", **entry._asdict()}
        if refused := session.append([event])[0]:
            raise UserError(f"--prompt: {refused}")
    for annotated in given.images():
        session.add_image(encode_picture(annotated.image, "PNG"), annotated.name, annotated.mask)


def build_opening(prompt: str | None) -> Callable[[SessionFolder], None]:
    """Returns what fills a new session.

    Args:
      prompt: annotated images as `hummingbird segment --prompt` takes them, or a file of `Prompt.save`; None: rendered
        scenes.

    Raises:
      UserError: it cannot be read, or holds too many images or classes.
    """
    if prompt is None:
        return open_scenes
    path = pathlib.Path(prompt)
    given = (_from_file if path.suffix == ".npz" else _from_folder)(path)
    if given.count > MOST_IMAGES:
        raise UserError(f"--prompt={prompt} holds {given.count} images; the page shows at most {MOST_IMAGES}")
    wrong = [entry.value for entry in given.classes if not 0 <= entry.value < MOST_CLASSES]
    if wrong:
        raise UserError(f"--prompt={prompt}: class id {wrong[0]} is not between 0 and {MOST_CLASSES - 1}")
    return lambda session: open_annotated(session, given)


def _from_folder(path: pathlib.Path) -> Given:
    named = path.is_dir() and (path / CLASSES).is_file()
    found = read_annotations(str(path), PromptFiles(classes=CLASSES if named else ""))
    source, classes = found.source, found.classes
    assert classes is not None, "the default task has classes"
    ids = classes.ids if max(classes.ids) < IGNORE else range(len(classes.ids))
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    table[: len(classes.ids)] = ids
    entries = [Entry(*entry) for entry in zip(ids, classes.names, map(css, classes.colours), strict=True)]

    def images() -> Iterator[Annotated]:
        for number in range(len(source)):
            item = source[number]
            yield Annotated(item["name"], item["image"], table[np.asarray(item["label"])])

    return Given(entries, len(source), images)


def _from_file(path: pathlib.Path) -> Given:
    stored = files.read(path)
    if stored.task != "segmentation":
        raise UserError(f"--prompt={path} holds labels of task={stored.task}; the page paints classes")
    void = stored.options.get("void", IGNORE)

    def images() -> Iterator[Annotated]:
        for number, annotated in enumerate(stored.images, 1):
            mask = np.where(annotated.label == void, IGNORE, annotated.label).astype(np.uint8)
            yield Annotated(f"prompt-{number}.png", annotated.image, mask)

    found = {int(value) for x in stored.images for value in np.unique(x.label)} - {void}
    names = stored.classes or {value: f"class {value}" for value in sorted(found)}
    colours = {value: css(np.array(colour, np.uint8)) for value, colour in stored.palette.items()}
    entries = [Entry(value, name, colours.get(value, "")) for value, name in names.items()]
    return Given(entries, len(stored.images), images)
