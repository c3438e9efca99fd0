"""Reads a sample of a data set, and counts what is in it and what is broken."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import rich.console
import rich.progress
from jaxtyping import Shaped

from hummingbird.data.image_files import decode_image
from hummingbird.data.interface import DenseSource, ImageSource, Unreadable, image_name
from hummingbird.run.files import Json
from hummingbird.tasks import Task
from hummingbird.tasks.drawing import Picture

SAMPLE = 200  # items read by default
SHOWN = 8  # items kept for a picture
BLOCK = 32  # items read ahead
Item = TypeVar("Item")
console = rich.console.Console()


class Shown(NamedTuple):
    """An item that is kept for a picture.

    Attributes:
      index: number in the source.
      image: decoded.
      name: of the item; "" if it has none.
      label: dense label; None for images to pretrain on.
    """

    index: int
    image: Picture
    name: str = ""
    label: Shaped[np.ndarray, "H W *C"] | None = None


@dataclasses.dataclass
class Facts:
    """What a split holds.

    Attributes:
      task: kind of label, or "pretrain".
      images: number of images.
      fingerprint: of the source.
      read: number of images that were read, broken ones included.
      sizes: (height, width) of each image that could be read.
      broken: a line for each image that could not be read.
      labels: statistics of the labels, for data.json.
      rows: the same for people, as (name, text).
      lines: more text about the labels.
      all_void: names of images without a single annotated pixel.
      shown: items for a picture.
    """

    task: str
    images: int
    fingerprint: str
    read: int = 0
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)
    labels: dict[str, Json] = dataclasses.field(default_factory=dict)
    rows: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    lines: list[str] = dataclasses.field(default_factory=list)
    all_void: list[str] = dataclasses.field(default_factory=list)
    shown: list[Shown] = dataclasses.field(default_factory=list)

    def ranges(self) -> dict[str, tuple[int, int, int]]:
        """Returns the smallest, median and largest "height" and "width"; empty if no image could be read."""
        sides = dict(zip(("height", "width"), zip(*self.sizes, strict=True), strict=False))
        return {name: (min(values), int(np.median(values)), max(values)) for name, values in sides.items()}

    def to_json(self) -> dict[str, Json]:
        """Returns the content of data.json for this split."""
        return {
            "task": self.task,
            "images": self.images,
            "read": self.read,
            **{name: list(values) for name, values in self.ranges().items()},
            **self.labels,
            "broken": self.broken,
            "fingerprint": self.fingerprint,
        }


def check_dense(split: str, source: DenseSource, task: Task, everything: bool) -> Facts:
    """Checks images with dense labels.

    Args:
      split: name for the progress bar.
      source: the images.
      task: kind of their labels.
      everything: read all items instead of a sample.
    """
    facts = Facts(task.kind, len(source), source.fingerprint)
    census, void, pixels = task.census(), 0, 0
    numbers = _sample(len(source), everything)
    for number, item in _read(numbers, source.__getitem__, f"reading {split}", facts):
        label = item["label"]
        annotated = task.annotated(label)
        facts.sizes.append(label.shape[:2])
        pixels += annotated.size
        void += int((~annotated).sum())
        if not annotated.any():
            facts.all_void.append(item["name"])
        census.add(label)
        if _is_shown(number, numbers, facts):
            facts.shown.append(Shown(number, item["image"], item["name"], label))
    share = void / max(1, pixels)
    facts.labels = {"void_share": share, "all_void": facts.all_void, **census.facts()}
    facts.rows = [("void", f"{share:.1%} of pixels; {len(facts.all_void)} images are entirely void")]
    facts.lines = census.lines()
    return facts


def check_images(source: ImageSource, lenient: bool, everything: bool) -> Facts:
    """Checks images to pretrain on.

    Args:
      source: the images.
      lenient: accept damaged JPEGs as far as they decode.
      everything: read all items instead of a sample.
    """

    def read(number: int) -> tuple[Picture, int]:
        item = source[number]
        image = item["image"]
        if isinstance(image, bytes):
            image = decode_image(image, image_name(source, number), lenient)
        return image, item["label"]

    facts = Facts("pretrain", len(source), source.fingerprint)
    labelled = 0
    numbers = _sample(len(source), everything)
    for number, (image, label) in _read(numbers, read, "reading images", facts):
        facts.sizes.append((image.shape[0], image.shape[1]))
        labelled += label >= 0
        if _is_shown(number, numbers, facts):
            facts.shown.append(Shown(number, image))
    share, classes = labelled / max(1, len(facts.sizes)), len(getattr(source, "classes", []))
    facts.labels = {"labelled_share": share, "classes_named": classes}
    facts.rows = [("labels", f"{share:.0%} of images, {classes} classes")]
    return facts


def _sample(length: int, everything: bool) -> Sequence[int]:
    """Returns the numbers of the items to read, evenly spaced."""
    if everything:
        return range(length)
    return np.unique(np.linspace(0, length - 1, min(SAMPLE, length)).astype(int)).tolist()


def _is_shown(number: int, numbers: Sequence[int], facts: Facts) -> bool:
    """Returns whether an item belongs to the evenly spaced ones that are kept for a picture."""
    return number in numbers[:: max(1, len(numbers) // SHOWN)] and len(facts.shown) < SHOWN


def _read(numbers: Sequence[int], read: Callable[[int], Item], title: str, facts: Facts) -> Iterator[tuple[int, Item]]:
    """Reads items on threads behind a progress bar; yields them with their numbers and notes the broken ones."""

    def attempt(number: int) -> Item | Unreadable:
        try:
            return read(number)
        except Unreadable as error:
            return error

    facts.read = len(numbers)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # In blocks, since an executor would read everything ahead of a slow consumer and keep it.
        for start in rich.progress.track(range(0, len(numbers), BLOCK), title, console=console, transient=True):
            block = numbers[start : start + BLOCK]
            for number, item in zip(block, pool.map(attempt, block), strict=True):
                if isinstance(item, Unreadable):
                    facts.broken.append(str(item))
                else:
                    yield number, item
