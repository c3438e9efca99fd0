"""The query half of an evaluation: from images to predictions, metrics and the recall of the index (App. A.2)."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.data.interface import DenseSource
from hummingbird.encoder import Encoder
from hummingbird.retrieval.bank.memory import MemoryBank
from hummingbird.retrieval.decode import attention_weights
from hummingbird.retrieval.encode import (
    Clock,
    Example,
    encode,
    in_order,
    prepare_query,
    refuse_features,
    stream,
    subset,
    track,
)
from hummingbird.retrieval.index.build import Index, build_index
from hummingbird.retrieval.processes import merge, together
from hummingbird.retrieval.protocol import Protocol
from hummingbird.retrieval.samples import SampleCollector
from hummingbird.tasks import Scores, Task

QueryBatch = tuple[list[Example], np.ndarray]


def query_images(length: int, protocol: Protocol) -> Sequence[int]:
    """Which of `length` query images are asked."""
    return subset(length, 1.0, protocol.max_queries, protocol.seed)


def query_batches(
    encoder: Encoder,
    source: DenseSource,
    task: Task,
    protocol: Protocol,
    config: EvaluateConfig,
    clock: Clock,
    images: Sequence[int],
) -> Iterator[QueryBatch]:
    """The query `images` with their features float32 [n, h*w, D], L2-normalised, in batches."""

    def prepare(number: int) -> Example:
        return prepare_query(source, number, task, protocol)

    queries = track(in_order(prepare, images), len(images), "queries", config.progress)
    for batch, features, zero in encode(encoder, queries, config.batch_size, clock, "query"):
        refuse_features(zero, batch, "zero")
        yield batch, features


def answer(
    batches: Iterable[QueryBatch],
    source: DenseSource,
    bank: MemoryBank,
    index: Index,
    task: Task,
    protocol: Protocol,
    config: EvaluateConfig,
    clock: Clock,
    collector: SampleCollector | None = None,
    recall: bool = True,
) -> tuple[Scores, float | None]:
    """Predicts every query image and compares it with the truth; `batches` are this process's part of them.

    Returns:
      The metrics, and the recall of an approximate index on a sample, or None; None too unless `recall` is asked for.
    """
    metrics = task.metrics()
    sampled: list[np.ndarray] = []
    count = len(query_images(len(source), protocol))
    rows_wanted = -(-config.retrieval.recall_queries // count) if recall and not index.exact else 0

    def decode(batch: list[Example], features: np.ndarray, ids: np.ndarray, similarity: np.ndarray) -> None:
        with clock("decode"):
            weights = attention_weights(similarity, protocol.temperature)
            votes = bank.labels.vote(ids, weights).reshape(len(batch), protocol.grid, protocol.grid, -1)
            found = [x.reshape(len(batch), protocol.grid**2, -1) for x in (ids, similarity, weights)]
            for i, example in enumerate(batch):
                prediction = task.predict(votes[i], *example.label.shape[:2])
                score = metrics.add(example.label, prediction)
                if rows_wanted:
                    sampled.append(pick_rows(features[i], found[0][i], rows_wanted, protocol.seed, example.index))
                if collector is not None:
                    collector.add(example, features[i], prediction, score, *(x[i] for x in found))

    def loop() -> None:
        # One batch is decoded while the next is encoded and searched.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            last: concurrent.futures.Future[None] | None = None
            for batch, features in batches:
                with clock("search"):
                    ids, similarity = index.search(features.reshape(-1, features.shape[-1]), protocol.neighbours)
                if last is not None:
                    last.result()
                last = pool.submit(decode, batch, features, ids, similarity)
            if last is not None:
                last.result()

    together(loop)
    metrics.parts = merge(metrics.parts)
    sampled = merge(sampled)
    if collector is not None:
        collector.merge()
    found = None
    if sampled:
        with clock("recall"):
            found = measure_recall(sampled, bank, protocol.neighbours, config.retrieval.recall_queries)
    return metrics.result(), found


def pick_rows(features: np.ndarray, ids: np.ndarray, count: int, seed: int, image: int) -> np.ndarray:
    """A few query patches of an image with their neighbours, [n, D + k], for `measure_recall`."""
    rows = stream(seed, image, 0, 2).choice(len(features), min(count, len(features)), replace=False)
    return np.concatenate([features[rows], ids[rows].astype(np.float64)], axis=1)


def measure_recall(sampled: list[np.ndarray], bank: MemoryBank, k: int, most: int) -> float:
    """Share of the true k nearest neighbours that an approximate index found, on sampled query patches."""
    rows = np.concatenate(sampled)[:most]
    truth, _ = build_index(bank.keys, "exact").search(rows[:, :-k].astype(np.float32), k)
    found = rows[:, -k:].astype(np.int64)
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(truth, found, strict=True)]))
