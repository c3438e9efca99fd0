"""Images of a dense source, prepared on threads and encoded in batches of one size."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import rich.console
import rich.progress

from hummingbird.data.interface import DenseSource
from hummingbird.data.prompt_augment import augment_prompt
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.retrieval import open_hummingbird
from hummingbird.retrieval.bank.memory import normalise
from hummingbird.retrieval.processes import first
from hummingbird.retrieval.protocol import Protocol as EvalProtocol
from hummingbird.tasks import Task

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass
class Example:
    """One image as the encoder sees it.

    Attributes:
      index: number in the whole source. epoch: augmentation pass. name: the source's name of it.
      image: uint8 [S, S, 3]. label: class ids int32 or metres float32, [S, S] for prompt images, at metric resolution
      for queries. original: the image at metric resolution, uint8 [H, W, 3] (queries only).
    """

    index: int
    epoch: int
    name: str
    image: np.ndarray
    label: np.ndarray
    original: np.ndarray | None = None


class Clock:
    """Seconds spent in each named part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def stream(seed: int, index: int, epoch: int, purpose: int) -> np.random.Generator:
    """The random numbers of one image, pass and purpose: the same whatever the batch size, order or subset."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, epoch, purpose]))


# ---------------------------------------------------------------- preparing
def prepare_prompt(source: DenseSource, index: int, epoch: int, task: Task, protocol: EvalProtocol) -> Example:
    """Prompt image `index`: squashed to the input size, or augmented (Table 7) in pass `epoch`."""
    item, size = source[index], protocol.input_size
    prepare = PREPARATIONS[protocol.preparation]
    image, label = item["image"], item["label"]
    if protocol.augmentation_epochs > 0:
        image, label = prepare.augment(stream(protocol.seed, index, epoch, 0), image, label, size, task)
    else:
        image, label = prepare.squash(image, size), resize_label(label, size, task, prepare.nearest)
    return Example(index, epoch, item["name"], image, label)


def prepare_query(source: DenseSource, index: int, task: Task, protocol: EvalProtocol) -> Example:
    """Query image `index`, squashed to the input size; truth and picture at the size that the metric is taken at."""
    item, size = source[index], protocol.input_size
    prepare = PREPARATIONS[protocol.preparation]
    image, label = prepare.squash(item["image"], size), item["label"]
    if protocol.metric_resolution == "input":
        return Example(index, 0, item["name"], image, resize_label(label, size, task, prepare.nearest), image)
    return Example(index, 0, item["name"], image, label, item["image"])


def squash(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [size, size, 3], whatever the aspect; averaged over areas where it shrinks."""
    if image.shape[:2] == (size, size):
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def nearest(length: int, size: int) -> np.ndarray:
    """For each of `size` pixels over `length` ones, the pixel that its centre lies in: int [size]."""
    return ((np.arange(size) + 0.5) * length / size).astype(int)


def resize_label(
    label: np.ndarray, size: int, task: Task, nearest: Callable[[int, int], np.ndarray] = nearest
) -> np.ndarray:
    """The label at [size, size]."""
    height, width = label.shape[:2]
    if (height, width) == (size, size):
        return label
    return task.move(label, nearest(height, size), nearest(width, size), (size / height, size / width))


class Preparation(NamedTuple):
    """augment(rng, image, label, size, task) -> image, label; squash(image, size); nearest(length, size)."""

    augment: Callable[[np.random.Generator, np.ndarray, np.ndarray, int, Task], tuple[np.ndarray, np.ndarray]]
    squash: Callable[[np.ndarray, int], np.ndarray]
    nearest: Callable[[int, int], np.ndarray]


PREPARATIONS = {
    "paper": Preparation(augment_prompt, squash, nearest),
    "open-hummingbird": Preparation(open_hummingbird.augment, open_hummingbird.squash, open_hummingbird.floor_nearest),
}


def in_order(function: Callable[[T], R], jobs: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """function(job) for every job, in order, computed ahead on threads (OpenCV and NumPy release the lock)."""
    workers = workers or min(8, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque[concurrent.futures.Future[R]] = collections.deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


# ---------------------------------------------------------------- encoding
def encode(
    encoder: Encoder, examples: Iterator[Example], batch_size: int, clock: Clock, name: str
) -> Iterator[tuple[list[Example], np.ndarray, np.ndarray]]:
    """Batches of examples with their features.

    The last batch is padded to `batch_size` and cut again, so that a compiled encoder sees one shape.

    Yields:
      n examples, their features float32 [n, h*w, D], L2-normalised, and which of them are zero, bool [n, h*w]; see
      `refuse_features`.

    Raises:
      UserError: features of a wrong shape, or NaN or infinite ones (the images are named).
    """
    while True:
        with clock(f"prepare_{name}"):
            batch = [example for _, example in zip(range(batch_size), examples, strict=False)]
        if not batch:
            return
        with clock(f"encode_{name}"):
            images = np.zeros((batch_size, *batch[0].image.shape), np.uint8)
            for slot, example in enumerate(batch):
                images[slot] = example.image
            features = np.asarray(encoder(images), np.float32)
            check_shape(features, images, encoder.patch_size)
            features = features[: len(batch)].reshape(len(batch), -1, features.shape[-1])
            unit, norm = normalise(features)
            refuse_features(~np.isfinite(norm), batch, "NaN or infinite")
        yield batch, unit, norm == 0


def refuse_features(bad: np.ndarray, batch: Sequence[Example], what: str) -> None:
    """UserError that counts the bad patches, bool [n, h*w], and names their images, if there are any."""
    if bad.any():
        names = [example.name for example, wrong in zip(batch, bad, strict=True) if wrong.any()]
        raise UserError(
            f"encoder: {int(bad.sum())} patch features are {what}, in {len(names)} image(s): {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}; check the checkpoint and its data type"
        )


def check_shape(features: np.ndarray, images: np.ndarray, patch: int) -> None:
    """UserError unless features are [B, H / patch, W / patch, D]."""
    expected = (len(images), images.shape[1] // patch, images.shape[2] // patch)
    if features.ndim != 4 or features.shape[:3] != expected:
        raise UserError(
            f"encoder: features have shape {features.shape}, expected ({', '.join(map(str, expected))}, D) for images "
            f"of {images.shape[1]}x{images.shape[2]} and patch_size {patch}"
        )


def track(items: Iterable[T], total: int, text: str, enabled: bool) -> Iterator[T]:
    """The items, under a progress bar with the time left (on stderr)."""
    console = rich.console.Console(stderr=True)
    return iter(rich.progress.track(items, text, total=total, console=console, disable=not (enabled and first())))


def subset(length: int, fraction: float, most: int | None, seed: int) -> Sequence[int]:
    """Image numbers, ascending: all, or a random part that depends on seed and length alone (nested in fraction)."""
    wanted = max(1, round(length * fraction))
    wanted = min(wanted, most) if most is not None else wanted
    if wanted >= length:
        return range(length)
    order = np.random.default_rng(np.random.SeedSequence([seed, length])).permutation(length)
    return sorted(order[:wanted].tolist())
