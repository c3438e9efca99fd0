"""Dense nearest-neighbour retrieval with a frozen encoder: from two sources and an encoder to metrics (Sec. 3.1).

`evaluate` is what `hummingbird evaluate` runs; `measure` is the same without files, for notebooks and for hooks inside
pretraining.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import resource
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.decode import attention_weights, upsample, upsampled_argmax
from hummingbird.retrieval.encode import (
    Clock,
    Encoder,
    Example,
    encode,
    in_order,
    prepare_query,
    refuse_features,
    stream,
    subset,
    track,
)
from hummingbird.retrieval.index import Index, build_index
from hummingbird.retrieval.memory import MemoryBank
from hummingbird.retrieval.metrics import DepthMetrics, SegmentationMetrics
from hummingbird.retrieval.prompt import make_bank, make_index
from hummingbird.retrieval.protocol import Protocol, build_protocol
from hummingbird.retrieval.samples import SampleCollector, save_samples
from hummingbird.retrieval.store import write_json

# Below this an approximate index may move the result.
LOW_RECALL = 0.9

Metrics = SegmentationMetrics | DepthMetrics
QueryBatch = tuple[list[Example], np.ndarray]


def evaluate(encoder: Encoder, config: Any, workdir: str, sources: tuple[Any, Any] | None = None) -> dict[str, Any]:
    """Measures a frozen encoder by retrieval and writes metrics.json, samples.npz and report.html.

    Args:
      encoder: callable uint8 [B, H, W, 3] -> features [B, h, w, D], with `.patch_size`.
      config: resolved "evaluate" config.
      workdir: folder for the results; made if it is not there.
      sources: prompt and query source; None builds those that the config names.

    Returns:
      The content of metrics.json.

    Raises:
      UserError: unwritable workdir, unusable data, or features that cannot be searched.
    """
    folder = make_workdir(workdir)
    if sources is None:
        from hummingbird.data.sources import build_dense_source

        sources = build_dense_source(config, "prompt"), build_dense_source(config, "query")
    result, samples = measure(encoder, config, *sources, collect=config.report.enabled)
    if config.data.fractions:
        from hummingbird.retrieval import few

        result["fractions"] = few.measure_fractions(encoder, config, *sources)
        few.write_table(folder, result)
    if samples is not None:
        from hummingbird.retrieval import report

        save_samples(str(folder / "samples.npz"), samples)
        report.write_report(str(folder / "report.html"), result, samples)
    # Last, so that a metrics.json is there only when everything else is.
    write_json(folder / "metrics.json", result)
    return result


def measure(
    encoder: Encoder, config: Any, prompt: Any, query: Any, collect: bool = False
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The evaluation without files.

    Args:
      prompt, query: dense sources (see `hummingbird.data.sources`).
      collect: also gather what a report shows.

    Returns:
      The content of metrics.json, and the samples for `report.write_report` or None.
    """
    check_sources(prompt, query)
    protocol = build_protocol(config, prompt.task, encoder.patch_size)
    clock, notes = Clock(), []
    with clock("total"):
        bank = make_bank(encoder, prompt, protocol, config, clock)
        index = make_index(bank, protocol, config, clock, notes, config.retrieval.bank)
        collector = SampleCollector(config, protocol, prompt, query, bank) if collect else None
        batches = query_batches(encoder, query, protocol, config, clock)
        scores, recall = answer(batches, query, bank, index, protocol, config, clock, collector)
    samples = collector.finish(encoder) if collector is not None else None
    queries = len(query_images(len(query), protocol))
    memory = {
        "length": len(bank),
        "bytes": bank.nbytes,
        "keys_bytes": bank.keys.nbytes,
        "labels_bytes": bank.labels.nbytes,
        "key_dtype": str(bank.keys.dtype),
        "capacity": protocol.memory_length,
        "prompt_images": len(np.unique(bank.image)),
        "bank": config.retrieval.bank or None,
        "index": index.kind,
        "index_exact": index.exact,
        "recall_at_k": recall,
    }
    if not index.exact and recall is not None and recall < LOW_RECALL:
        notes.append(f"the index found {recall:.1%} of the true neighbours: raise retrieval.scann.leaves_to_search")
    result = {
        "task": protocol.task,
        "dataset": config.data.name,
        "data": {"prompt": prompt.fingerprint, "query": query.fingerprint},
        "encoder": describe_encoder(encoder, bank.keys.shape[1]),
        "metrics": scores,
        "protocol": protocol.as_dict(),
        "memory": memory,
        "queries": {"images": queries, "patches": queries * protocol.grid**2},
        "seconds": clock.seconds,
        "peak_memory_bytes": peak_memory(),
        "warnings": notes,
        "versions": versions(),
    }
    return result, samples


# ---------------------------------------------------------------- queries
def query_images(length: int, protocol: Protocol) -> Sequence[int]:
    """Which of `length` query images are asked."""
    return subset(length, 1.0, protocol.max_queries, protocol.seed)


def query_batches(encoder: Encoder, source: Any, protocol: Protocol, config: Any, clock: Clock) -> Iterator[QueryBatch]:
    """Query images with their features float32 [n, h*w, D], L2-normalised, in batches."""
    images = query_images(len(source), protocol)

    def prepare(number: int) -> Example:
        return prepare_query(source, number, protocol.input_size, protocol.metric_resolution, protocol.preparation)

    queries = track(in_order(prepare, images), len(images), "queries", config.progress)
    for batch, features, zero in encode(encoder, queries, config.batch_size, clock, "query"):
        refuse_features(zero, batch, "zero")
        yield batch, features


def answer(
    batches: Iterable[QueryBatch],
    source: Any,
    bank: MemoryBank,
    index: Index,
    protocol: Protocol,
    config: Any,
    clock: Clock,
    collector: SampleCollector | None = None,
) -> tuple[dict[str, Any], float | None]:
    """Predicts every query image and compares it with the truth.

    Returns:
      The metrics, and the recall of an approximate index on a sample, or None.
    """
    metrics = build_metrics(protocol, source)
    grid = protocol.grid
    sampled: list[np.ndarray] = []
    count = len(query_images(len(source), protocol))
    rows_wanted = -(-config.retrieval.recall_queries // count) if not index.exact else 0
    for batch, features in batches:
        with clock("search"):
            ids, similarity = index.search(features.reshape(-1, features.shape[-1]), protocol.neighbours)
        with clock("decode"):
            weights = attention_weights(similarity, protocol.temperature)
            votes = bank.labels.vote(ids, weights).reshape(len(batch), grid, grid, -1)
            found = [x.reshape(len(batch), grid * grid, -1) for x in (ids, similarity, weights)]
        for i, example in enumerate(batch):
            with clock("decode"):
                prediction = predict(votes[i], protocol.task, *example.label.shape)
                score = metrics.add(example.label, prediction)
            if rows_wanted:
                sampled.append(pick_rows(features[i], found[0][i], rows_wanted, protocol.seed, example.index))
            if collector is not None:
                collector.add(example, features[i], prediction, score, *(x[i] for x in found))
    recall = None
    if sampled:
        with clock("recall"):
            recall = measure_recall(sampled, bank, protocol.neighbours, config.retrieval.recall_queries)
    return metrics.result(), recall


def build_metrics(protocol: Protocol, source: Any) -> Metrics:
    """Empty metrics for the protocol's task."""
    if protocol.task == "depth":
        assert protocol.depth_low is not None and protocol.depth_high is not None
        return DepthMetrics(protocol.depth_low, protocol.depth_high, bool(protocol.eigen_crop))
    return SegmentationMetrics(source.classes, source.ignore, protocol.absent_classes, protocol.matching)


def predict(votes: np.ndarray, task: str, height: int, width: int) -> np.ndarray:
    """Votes [h, w, C] upsampled to class ids int32, or metres float32, [height, width]."""
    if task == "depth":
        return upsample(votes[..., 0], height, width)
    return upsampled_argmax(votes, height, width)


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


# ---------------------------------------------------------------- around it
def check_sources(prompt: Any, query: Any) -> None:
    """UserError unless prompt and query speak of the same task and classes."""
    for name, source in (("prompt", prompt), ("query", query)):
        if not len(source):
            raise UserError(f"the {name} set holds no image: check data.root")
    if prompt.task != query.task:
        raise UserError(f"the prompt set is for {prompt.task}, the query set for {query.task}")
    if len(prompt.classes) != len(query.classes):
        raise UserError(f"the prompt set has {len(prompt.classes)} classes, the query set {len(query.classes)}")


def make_workdir(workdir: str) -> pathlib.Path:
    """The folder, made if needed; UserError if nothing can be written there."""
    folder = pathlib.Path(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir={workdir}: cannot be written ({error.strerror}); choose another folder") from error
    return folder


def describe_encoder(encoder: Any, dim: int) -> dict[str, Any]:
    """{"name", "fingerprint", "patch_size", "dim"} of an encoder; its type's name where it has none."""
    name = getattr(encoder, "name", None) or getattr(encoder, "__name__", type(encoder).__name__)
    fingerprint = getattr(encoder, "fingerprint", None)
    return {"name": name, "fingerprint": fingerprint, "patch_size": encoder.patch_size, "dim": dim}


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    found = {"python": platform.python_version(), "opencv": cv2.__version__}
    for package in ("numpy", "jax", "flax", "scann"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
