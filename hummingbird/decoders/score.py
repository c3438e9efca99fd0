"""Scores a decoder on query images: predictions at their own resolution, by the metrics of the task."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from hummingbird.data.interface import DenseSource
from hummingbird.decoders.inference import Inference, View, as_votes, assemble, label_at, views
from hummingbird.decoders.trained import Decoder
from hummingbird.errors import UserError
from hummingbird.retrieval.processes import merge, own_part, together
from hummingbird.retrieval.progress import Clock, track
from hummingbird.retrieval.sample_files import Query, Samples
from hummingbird.retrieval.threads import cpu_count, in_order
from hummingbird.tasks import Metrics, Scores, Task


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What is predicted and how.

    Attributes:
      source: images with labels.
      images: those of them to predict.
      task: kind of label.
      inference: how images are split into windows.
      metric_size: side of the squares at which predictions are compared; 0: the image's own size.
      batch_size: windows that are predicted at a time.
      shown: images that a report shows.
      progress: show a progress bar.
    """

    source: DenseSource
    images: Sequence[int]
    task: Task
    inference: Inference
    metric_size: int
    batch_size: int
    shown: Collection[int] = ()
    progress: bool = True


class Pending(NamedTuple):
    """A query image that is not predicted yet, and its parts."""

    index: int
    name: str
    image: UInt8[np.ndarray, "H W 3"]
    label: Shaped[np.ndarray, "H W *C"]
    parts: list[View]


def score(decoder: Decoder, scoring: Scoring, clock: Clock) -> tuple[Scores, list[Query]]:
    """Predicts the images and compares them with their labels; each process does its part, and all get the result.

    Returns:
      The scores, and the images to show.

    Raises:
      UserError: outputs are not finite, or no image has a label.
    """
    task = scoring.task
    metrics, shown = task.metrics(), list[Query]()

    def finish(job: tuple[Pending, list[np.ndarray]]) -> tuple[Metrics, Query | None]:
        pending, outputs = job
        return compare(pending, outputs, scoring)

    def run() -> None:
        for found, query in in_order(finish, predict(decoder, scoring, clock), cpu_count()):
            metrics.merge(found)
            if query is not None:
                shown.append(query)

    together(run)
    metrics.parts = merge(metrics.parts)
    gathered = merge(shown)
    if gathered:
        squares = np.stack([scoring_input(query["image"], scoring.inference) for query in gathered])
        for query, features in zip(gathered, decoder.features(squares), strict=True):
            query["features"] = features.astype(np.float16)
    return metrics.result(), gathered


def predict(decoder: Decoder, scoring: Scoring, clock: Clock) -> Iterator[tuple[Pending, list[np.ndarray]]]:
    """Yields this process's images with the outputs of their parts, which are predicted in batches of one shape."""

    def prepare(index: int) -> Pending:
        item = scoring.source[index]
        return Pending(index, item["name"], item["image"], item["label"], views(item["image"], scoring.inference))

    own = own_part(scoring.images)
    images = track(in_order(prepare, own), len(own), "queries", scoring.progress)
    waiting, done = collections.deque[Pending](), collections.deque[np.ndarray]()
    for output in outputs_of(decoder, scoring, clock, waiting, images):
        done.append(output)
        while waiting and len(done) >= len(waiting[0].parts):
            pending = waiting.popleft()
            yield pending, [done.popleft() for _ in pending.parts]


def outputs_of(
    decoder: Decoder,
    scoring: Scoring,
    clock: Clock,
    waiting: collections.deque[Pending],
    images: Iterable[Pending],
) -> Iterator[Float32[np.ndarray, "h w C"]]:
    """Yields the output of every part in order; an image joins `waiting` before its first part is predicted."""
    batch, names = list[View](), list[str]()

    def run() -> Iterator[np.ndarray]:
        size = scoring.batch_size
        pictures = np.stack([part.picture for part in batch] + [batch[-1].picture] * (size - len(batch)))
        with clock("predict"):
            outputs = decoder(pictures)[: len(batch)]
        for name, output in zip(names, outputs, strict=True):
            if not np.isfinite(output).all():
                raise UserError(
                    f"{decoder.name}: its outputs are not finite for image {name}; the encoder's features or the "
                    "trained head hold NaN or infinite numbers"
                )
        batch.clear()
        names.clear()
        yield from outputs

    for pending in images:
        waiting.append(pending)
        for part in pending.parts:
            if batch and (len(batch) == scoring.batch_size or batch[0].picture.shape != part.picture.shape):
                yield from run()
            batch.append(part)
            names.append(pending.name)
    if batch:
        yield from run()


def compare(pending: Pending, outputs: list[np.ndarray], scoring: Scoring) -> tuple[Metrics, Query | None]:
    """Compares the prediction of an image with its label: its metrics, and what a report shows of it."""
    task = scoring.task
    label = label_at(pending.label, scoring.metric_size, task)
    height, width = label.shape[:2]
    prediction = predicted(pending.image, pending.parts, outputs, scoring, height, width)
    metrics = task.metrics()
    value = metrics.add(label, prediction)
    if pending.index not in scoring.shown:
        return metrics, None
    image = pending.image
    if scoring.metric_size:
        image = scoring_input(image, dataclasses.replace(scoring.inference, mode="whole", size=scoring.metric_size))
    return metrics, {
        "index": pending.index,
        "name": pending.name,
        "image": image,
        "truth": label,
        "prediction": prediction,
        "error": task.error(label, prediction),
        "score": value,
        "features": np.zeros((1, 1, 1), np.float16),
        "attention": None,
        "neighbours": [],
    }


def predicted(
    image: UInt8[np.ndarray, "H W 3"],
    parts: list[View],
    outputs: list[np.ndarray],
    scoring: Scoring,
    height: int,
    width: int,
) -> Shaped[np.ndarray, "h w *C"]:
    """Returns the prediction of an image from the outputs of its parts, at a size."""
    votes = as_votes(assemble(image, parts, outputs, scoring.inference, scoring.task), scoring.task)
    return scoring.task.predict(np.ascontiguousarray(votes), height, width)


def predict_image(
    decoder: Decoder, image: UInt8[np.ndarray, "H W 3"], scoring: Scoring
) -> Shaped[np.ndarray, "H W *C"]:
    """Predicts the labels of one image, at its size."""
    parts, (height, width) = views(image, scoring.inference), image.shape[:2]
    outputs = [decoder(part.picture[None])[0] for part in parts]
    return predicted(image, parts, outputs, scoring, height, width)


def scoring_input(image: UInt8[np.ndarray, "H W 3"], inference: Inference) -> UInt8[np.ndarray, "S S 3"]:
    """Returns the whole image as a square of the input size."""
    return views(image, dataclasses.replace(inference, mode="whole", scales=(1.0,), flip=False))[0].picture


def samples_of(decoder: Decoder, scoring: Scoring, shown: list[Query]) -> Samples:
    """Returns what a report shows."""
    size = scoring.inference.size
    side = -(-size // decoder.patch_size)
    return {
        "task": scoring.task.kind,
        "classes": list(scoring.task.classes),
        "ignore": int(scoring.source.ignore),
        "patch": decoder.patch_size,
        "grid": (side, side),
        "input_size": (size, size),
        "encoder": decoder.name,
        "queries": shown,
    }
