"""Dense nearest-neighbour retrieval with a frozen encoder: from two sources and an encoder to metrics (Sec. 3.1).

`evaluate` is what `hummingbird evaluate` runs; `measure` is the same without files, for notebooks and for hooks inside
pretraining.
"""

from __future__ import annotations

import functools
import gc
import os
import pathlib
import resource
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.data.interface import DenseSource
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.memory import MemoryBank
from hummingbird.retrieval.encode import Clock
from hummingbird.retrieval.index.build import Index
from hummingbird.retrieval.processes import first, own_part, together
from hummingbird.retrieval.prompt import make_bank, make_index
from hummingbird.retrieval.protocol import Protocol, build_protocol
from hummingbird.retrieval.query import answer, query_batches, query_images
from hummingbird.retrieval.samples import SampleCollector, save_samples
from hummingbird.retrieval.shared_encoding import Encoded
from hummingbird.run.files import versions, write_json
from hummingbird.tasks import build_task

# All that an evaluation may leave in its workdir.
FILES = ("metrics.json", "fractions.md", "fractions.json", "fractions.png", "samples.npz", "report.html")
# Below this an approximate index may move the result.
LOW_RECALL = 0.9
# Always told, 0 where nothing was to be done; steps of the parts of the prompt are told as "fractions" alone.
SECONDS = ("encode_prompt", "build_index", "encode_query", "search", "decode", "total")


def evaluate(
    encoder: Encoder,
    config: EvaluateConfig,
    workdir: str,
    sources: tuple[DenseSource, DenseSource] | None = None,
    encoded: Encoded | None = None,
) -> dict[str, Any]:
    """Measures a frozen encoder by retrieval and writes metrics.json, samples.npz and report.html.

    In a program of several processes all call it: each encodes and asks its part of the images, the first one writes.

    Args:
      encoder: callable uint8 [B, H, W, 3] -> features [B, h, w, D], with `.patch_size`.
      config: resolved "evaluate" config.
      workdir: folder for the results; made if it is not there.
      sources: prompt and query source; None builds those that the config names.
      encoded: see `measure`.

    Returns:
      The content of metrics.json.

    Raises:
      UserError: unwritable workdir, unusable data, or features that cannot be searched.
    """
    folder = together(lambda: make_workdir(workdir))
    if sources is None:
        from hummingbird.data.sources import build_dense_source

        sources = build_dense_source(config, "prompt"), build_dense_source(config, "query")
    result, samples = measure(encoder, config, *sources, collect=config.report.enabled, encoded=encoded)
    together(lambda: write_results(folder, result, samples) if first() else None)
    return result


def write_results(folder: pathlib.Path, result: dict[str, Any], samples: dict[str, Any] | None) -> None:
    """The files of an evaluation; those of an earlier one are removed first.

    Raises:
      UserError: a file cannot be written; the message names it, and holds the metrics if it is the one with them.
    """
    # The number first: whatever becomes of pictures, it is kept.
    writers: dict[str, Callable[[pathlib.Path], None]] = {"metrics.json": lambda path: write_json(path, result)}
    if "fractions" in result:
        from hummingbird.retrieval.report import parts

        writers |= {name: functools.partial(write, result) for name, write in parts.FILES.items()}
    if samples is not None:
        from hummingbird.retrieval import report

        writers["samples.npz"] = lambda path: save_samples(str(path), samples)
        writers["report.html"] = lambda path: report.write_report(str(path), result, samples)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for name, write in writers.items():
        try:
            write(folder / name)
        except OSError as error:
            for left in (name, f"{name}.part"):
                (folder / left).unlink(missing_ok=True)
            kept = "the metrics are in metrics.json"
            if name == "metrics.json":
                kept = ", ".join(f"{k}={v:.6g}" for k, v in result["metrics"].items() if isinstance(v, int | float))
            raise UserError(
                f"{folder / name}: cannot be written ({error.strerror or error}); make room and run again; {kept}"
            ) from error


def measure(
    encoder: Encoder,
    config: EvaluateConfig,
    prompt: DenseSource,
    query: DenseSource,
    collect: bool = False,
    encoded: Encoded | None = None,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The evaluation without files.

    Args:
      prompt, query: dense sources (see `hummingbird.data.interface`).
      collect: also gather what a report shows.
      encoded: prompt and queries that several evaluations share; None: encoded here, once for the evaluation and its
        `data.fractions`: into a sub-folder of `retrieval.bank`, or in memory.

    Returns:
      The content of metrics.json, and the samples for `report.write_report` or None.
    """
    check_sources(prompt, query)
    task = build_task(prompt, config)
    protocol = build_protocol(config, task, encoder.patch_size)
    clock, notes = Clock(), []
    if config.data.fractions:
        from hummingbird.retrieval import fractions  # imports matplotlib, which takes a second

        fractions.check_parts(len(prompt), protocol, config)
    with clock("total"):
        if encoded is None and config.data.fractions:
            protocols, folder = [protocol, *fractions.drawn_parts(protocol, config)], config.retrieval.bank
            encoded = Encoded(encoder, config, prompt, query, task, protocols, clock, folder)
        if encoded is not None:
            bank, folder = encoded.bank(protocol), encoded.index_folder(protocol) if config.retrieval.bank else ""
        else:
            bank, folder = make_bank(encoder, prompt, task, protocol, config, clock), config.retrieval.bank
        index = make_index(bank, protocol, config, clock, notes, folder)
        collector = SampleCollector(config, task, protocol, prompt, query, bank) if collect else None
        if encoded is not None:
            batches = encoded.queries.batches(protocol, config, clock, collector.wanted if collector else ())
        else:
            images = own_part(query_images(len(query), protocol))
            batches = query_batches(encoder, query, task, protocol, config, clock, images)
        scores, recall = answer(batches, query, bank, index, task, protocol, config, clock, collector)
        samples = collector.finish(encoder) if collector is not None else None
        if not index.exact and recall is not None and recall < LOW_RECALL:
            notes.append(
                f"the index found {recall:.1%} of the true neighbours: raise retrieval.scann.reorder (long banks need "
                "more candidates) or leaves_to_search"
            )
        described = describe_encoder(encoder, bank.keys.shape[1])
        memory = describe_memory(bank, index, protocol, config) | {"recall_at_k": recall}
        del bank, index, collector
        parts_scored = {}
        if encoded is not None and config.data.fractions:
            gc.collect()  # parts of the prompt have their own bank and index; the collector is a cycle that holds these
            with clock("fractions"):
                parts_scored["fractions"] = fractions.measure_fractions(
                    encoded, config, task, protocol, query, scores, notes
                )
    queries = len(query_images(len(query), protocol))
    result = {
        "task": task.kind,
        "dataset": config.data.name,
        "data": {
            "root": os.path.basename(str(config.data.root).rstrip("/")),
            "prompt": prompt.fingerprint,
            "query": query.fingerprint,
        },
        "encoder": described,
        "metrics": scores,
        "protocol": {"task": task.kind, **protocol.as_dict(), **task.choices},
        "memory": memory,
        "queries": {"images": queries, "patches": queries * protocol.grid**2},
        "seconds": dict.fromkeys(SECONDS, 0.0) | clock.seconds,
        "peak_memory_bytes": peak_memory(),
        "warnings": notes,
        "versions": versions(),
        **parts_scored,
    }
    return result, samples


# ---------------------------------------------------------------- around it
def check_sources(prompt: DenseSource, query: DenseSource) -> None:
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
    if "://" in str(workdir):
        raise UserError(f"--workdir={workdir}: an evaluation writes to local folders only; copy the results afterwards")
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


def describe_memory(bank: MemoryBank, index: Index, protocol: Protocol, config: EvaluateConfig) -> dict[str, Any]:
    """What is said of a bank and its index in the result."""
    return {
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
    }


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
