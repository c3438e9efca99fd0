"""The query half of an evaluation: from images to predictions, metrics and the recall of the index (App. A.2)."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.decode import attention_weights
from hummingbird.retrieval.encode import encode, refuse_features
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.examples import Example, prepare_query, smallest
from hummingbird.retrieval.index.auto import AutoIndex
from hummingbird.retrieval.index.build import Index, exact_version
from hummingbird.retrieval.index.device import DeviceIndex
from hummingbird.retrieval.index.interface import Neighbours
from hummingbird.retrieval.patch_features import PatchFeatures
from hummingbird.retrieval.processes import in_step, merge, together
from hummingbird.retrieval.progress import Clock, track
from hummingbird.retrieval.recall import measure_recall, pick_rows
from hummingbird.retrieval.samples import SampleCollector
from hummingbird.retrieval.selection import query_images
from hummingbird.retrieval.threads import cpu_count, in_order
from hummingbird.tasks import Metrics, Scores


class QueryBatch(NamedTuple):
    """Query images and the features of the patches of each, L2-normalised unless `retrieval.raw_keys`."""

    examples: list[Example]
    features: PatchFeatures


class Found(NamedTuple):
    """The k neighbours of each patch of a batch, best first; -1 and -inf for none."""

    ids: Int32[np.ndarray, "patches k"]
    similarity: Float32[np.ndarray, "patches k"]


class Predicted(NamedTuple):
    """What one query image adds to the result.

    Attributes:
      metrics: of this image.
      sampled: rows for `measure_recall`.
      shown: arguments of `SampleCollector.add`; None for images that no one needs the features of.
    """

    metrics: Metrics
    sampled: np.ndarray | None
    shown: tuple[Example, np.ndarray, np.ndarray, float, np.ndarray, np.ndarray, np.ndarray] | None


def encode_queries(evaluation: Evaluation, images: Sequence[int], shown: Collection[int] = ()) -> Iterator[QueryBatch]:
    """Encodes the query images `images` in batches; only the examples numbered in `shown` have their `original`.

    Many images wait to be encoded or scored, so each holds no more than is needed: its label in the smallest type.
    """

    def prepare(number: int) -> Example:
        example = prepare_query(evaluation.query, number, evaluation.task, evaluation.protocol)
        original = example.original if number in shown else None
        return dataclasses.replace(example, label=smallest(example.label), original=original)

    queries = track(in_order(prepare, images), len(images), "queries", evaluation.progress)
    window, raw = evaluation.protocol.window, evaluation.retrieval.raw_keys
    batches = encode(evaluation.encoder, queries, evaluation.batch_size, evaluation.clock, "query", window, raw)
    for batch, features, zero in batches:
        refuse_features(zero, batch, "zero")
        yield QueryBatch(batch, features)


class Answer(NamedTuple):
    """What an evaluation finds.

    Attributes:
      scores: of all query images.
      recall: on a sample of query patches; None if the index is exact, or it was not measured.
      patches: of all query images.
    """

    scores: Scores
    recall: float | None
    patches: int


def answer(
    evaluation: Evaluation,
    batches: Iterable[QueryBatch],
    bank: PatchBank,
    index: Index,
    collector: SampleCollector | None = None,
    recall: bool = True,
) -> Answer:
    """Predicts every query image and compares it with the truth.

    Args:
      evaluation: says how.
      batches: this process's query images.
      bank: holds the labels.
      index: finds neighbours among the bank's keys.
      collector: gathers what a report shows.
      recall: measure the recall of an approximate index.
    """
    kind = index.kind
    # A device compares with every key; that it only rounds in bfloat16 needs no confirmation.
    sample = recall and not index.exact and (kind != "device" or evaluation.retrieval.device_recall < 1)
    predictor = Predictor(evaluation, bank, collector, sample)
    dim = bank.keys.shape[1]
    together(lambda: predict_all(evaluation, batches, index, predictor, dim))
    if index.kind != kind:
        evaluation.warnings.append(f"index: the devices ran out of memory, the rest was searched with {index.kind}")
    predictor.merge()
    found = None
    if predictor.sampled:
        with evaluation.clock("recall"):
            truth, most = exact_version(index, bank.keys), evaluation.retrieval.recall_queries
            found = measure_recall(predictor.sampled, truth, evaluation.protocol.neighbours, most)
    return Answer(predictor.metrics.result(), found, sum(predictor.patches))


def predict_all(
    evaluation: Evaluation, batches: Iterable[QueryBatch], index: Index, predictor: Predictor, dim: int
) -> None:
    """Searches and predicts all batches; one batch is predicted while the next is encoded and searched."""
    shared = isinstance(index, DeviceIndex) and index.together
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        last: concurrent.futures.Future[None] | None = None

        def finish(batch: QueryBatch | None, wait: Callable[[], Neighbours]) -> Found:
            found = finish_search(batch, wait, evaluation.clock)
            if last is not None:
                last.result()
            return found

        for searching in search_all(evaluation, in_step(iter(batches)) if shared else batches, index, dim):
            batch, work = searching[0], functools.partial(finish, *searching)
            found = together(work) if shared else work()  # processes that search together end together
            last = pool.submit(predictor.add, batch, found) if batch is not None else None
        if last is not None:
            last.result()


def search_all(
    evaluation: Evaluation, batches: Iterable[QueryBatch | None], index: Index, dim: int
) -> Iterator[tuple[QueryBatch | None, Callable[[], Neighbours]]]:
    """Begins to search all batches; on devices, the next search begins before the neighbours of one are waited for.

    Args:
      evaluation: says how.
      batches: query images; None where only other processes have some.
      index: finds the neighbours.
      dim: features of a patch.

    Yields:
      A batch, and the function that waits for its neighbours.
    """
    k, clock = evaluation.protocol.neighbours, evaluation.clock
    ahead = 1 if index.kind == "device" else 0
    begun: collections.deque[tuple[QueryBatch | None, Callable[[], Neighbours]]] = collections.deque()
    for batch in batches:
        with clock("search"):
            begun.append((batch, start_search(index, batch, k, dim)))
        if len(begun) > ahead:
            yield begun.popleft()
    yield from begun


def start_search(index: Index, batch: QueryBatch | None, k: int, dim: int) -> Callable[[], Neighbours]:
    """Begins to search a batch if the index is on devices; an index on the host searches it at once."""
    maps = None if batch is None else batch.features.on_devices
    if isinstance(index, DeviceIndex | AutoIndex):
        if maps is not None:
            return index.start(maps, k)
        return index.start(np.zeros((0, dim), np.float32) if batch is None else np.concatenate(batch.features), k)
    assert batch is not None
    found = index.search(np.concatenate(batch.features), k)
    return lambda: found


def finish_search(batch: QueryBatch | None, wait: Callable[[], Neighbours], clock: Clock) -> Found:
    """Waits for the neighbours of a batch, and drops those of padding."""
    with clock("search"):
        ids, similarity = wait()
    rows = 0 if batch is None else sum(batch.features.counts)
    return Found(ids[:rows], similarity[:rows])


class Predictor:
    """Turns neighbours into predictions and scores them.

    Args:
      evaluation: says how.
      bank: holds the labels.
      collector: gathers what a report shows.
      sample: keep query patches for `measure_recall`.

    Attributes:
      metrics: of the images so far.
      sampled: query patches with their neighbours.
      patches: of each image.
    """

    def __init__(self, evaluation: Evaluation, bank: PatchBank, collector: SampleCollector | None, sample: bool):
        self.evaluation, self.bank, self.collector = evaluation, bank, collector
        self.metrics = evaluation.task.metrics()
        self.sampled: list[np.ndarray] = []
        self.patches: list[int] = []
        count = len(query_images(len(evaluation.query), evaluation.protocol))
        self.rows_per_image = -(-evaluation.retrieval.recall_queries // count) if sample else 0

    def add(self, batch: QueryBatch, found: Found) -> None:
        """Predicts a batch and compares it with the truth, several images at once."""
        with self.evaluation.clock("decode"):
            counts = batch.features.counts
            self.patches.extend(counts)
            ids, similarity = (np.split(x, np.cumsum(counts)[:-1]) for x in found)
            features = [batch.features[i] if self.needs(x) else None for i, x in enumerate(batch.examples)]
            jobs = zip(batch.examples, features, ids, similarity, strict=True)
            for predicted in in_order(lambda job: self.predict(*job), jobs, cpu_count()):
                self.metrics.merge(predicted.metrics)
                if predicted.sampled is not None:
                    self.sampled.append(predicted.sampled)
                if self.collector is not None and predicted.shown is not None:
                    self.collector.add(*predicted.shown)

    def needs(self, example: Example) -> bool:
        """Returns whether the features of an image are needed on the host."""
        shown = self.collector is not None and example.index in self.collector.wanted
        return shown or self.rows_per_image > 0

    def predict(
        self,
        example: Example,
        features: Float32[np.ndarray, "N D"] | None,
        ids: Int32[np.ndarray, "N k"],
        similarity: Float32[np.ndarray, "N k"],
    ) -> Predicted:
        """Predicts one image and compares it with the truth; changes nothing."""
        task, protocol = self.evaluation.task, self.evaluation.protocol
        example = dataclasses.replace(example, label=example.label.astype(task.label_dtype, copy=False))
        weights = attention_weights(similarity, protocol.temperature)
        votes = self.bank.labels.vote(ids, weights).reshape(*example.cells.grid, -1)
        (rows, columns), (height, width) = example.cells.shown, example.label.shape[:2]
        prediction = task.predict(np.ascontiguousarray(votes[:rows, :columns]), *example.canvas)[:height, :width]
        metrics = task.metrics()
        score = metrics.add(example.label, prediction)
        count = self.rows_per_image
        if features is None:
            return Predicted(metrics, None, None)
        sampled = pick_rows(features, ids, count, protocol.seed, example.index) if count else None
        return Predicted(metrics, sampled, (example, features, prediction, score, ids, similarity, weights))

    def merge(self) -> None:
        """Adds what the other processes found, in the order of the images."""
        self.metrics.parts = merge(self.metrics.parts)
        self.sampled, self.patches = merge(self.sampled), merge(self.patches)
        if self.collector is not None:
            self.collector.merge()
