"""Dense nearest-neighbour retrieval with a frozen encoder: from two sources and an encoder to metrics (Sec. 3.1).

`hummingbird.retrieval.recognition` evaluates whole images, if `data.task` says so.

`evaluate` is what `hummingbird evaluate` runs, and `hb.evaluate` in Python; `measure` is its part that knows nothing of
files, for data sets that are open already.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import types
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax
import ml_collections
import numpy as np

from hummingbird import config as configs
from hummingbird.config import EvaluateConfig
from hummingbird.config.schema import One, Tree, Value, flatten
from hummingbird.config.sequences import SEQUENCES
from hummingbird.data.interface import DenseSource
from hummingbird.encoder import Encoder, build_encoder
from hummingbird.gradients.incontext import GradientEncoder
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.encodings import Encodings, build_encodings
from hummingbird.retrieval.evaluation import Evaluation, build_evaluation
from hummingbird.retrieval.fractions import check_parts, score_fractions
from hummingbird.retrieval.index.build import Index
from hummingbird.retrieval.processes import first, together
from hummingbird.retrieval.query import answer
from hummingbird.retrieval.result_files import make_workdir, write_results
from hummingbird.retrieval.results import Result, describe_encoder, peak_memory
from hummingbird.retrieval.sample_files import Samples
from hummingbird.retrieval.samples import SampleCollector
from hummingbird.retrieval.search import scann_settings
from hummingbird.retrieval.selection import query_images
from hummingbird.run.files import Json, versions
from hummingbird.tasks import WHOLE_IMAGE, Scores

log = logging.getLogger(__name__)

# Below this an approximate index may change the scores.
LOW_RECALL = 0.9
# Always reported, 0 if skipped.
SECONDS = ("encode_prompt", "build_index", "encode_query", "search", "decode", "total")

Settings: TypeAlias = "EvaluateConfig | str | Tree | ml_collections.ConfigDict"
Change: TypeAlias = "Value | Sequence[One] | Tree"
NOTHING: Tree = types.MappingProxyType({})


def evaluate(
    encoder: Encoder | str,
    config: Settings,
    workdir: str | os.PathLike[str] | None = None,
    sources: tuple[DenseSource, DenseSource] | None = None,
    encoded: Encodings | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    overrides: Tree = NOTHING,
    **settings: Change,
) -> Result:
    """Evaluates a frozen encoder: by dense retrieval or, where the config's `data.task` says so, on whole images.

    In a program of several processes all of them call it: each encodes and predicts its part of the images, the first
    one writes.

    Args:
      encoder: callable from images, uint8 [B, H, W, 3], to features [B, h, w, D], with `.patch_size`; or what
        `load_encoder` takes: the path of a checkpoint, "shipped:photographs", "random:vit_s16", "rgb:8".
      config: name of a shipped evaluation, such as "pascal_voc" or "pascal_voc:few"; path of a config file; a resolved
        evaluation config; or a dict or ConfigDict of what differs from the defaults.
      workdir: folder for metrics.json, samples.npz and report.html, made if missing; None: nothing is written.
      sources: prompt and query of dense retrieval; None: those that the config names.
      encoded: see `measure`.
      root: folder of the data set, `data.root`.
      overrides: other settings by key, dotted or nested: {"retrieval.neighbours": 90}.
      **settings: like `overrides`, for keys without a dot: input_size=448.

    Returns:
      The content of metrics.json.

    Raises:
      UserError: unknown config or setting, unwritable workdir, unusable data, or features that cannot be searched.

    Example:
      >>> small = {"prompt_images": 4, "query_images": 2, "size": 32}
      >>> result = evaluate("rgb:8", "scenes", overrides={"data.scenes": small}, input_size=32, progress=False)
      >>> result["dataset"], sorted(result["metrics"])[:2]
      ('scenes', ['mean_class_accuracy', 'miou'])
    """
    place: Tree = {} if root is None else {"data.root": os.fspath(root)}
    config = resolved(config, {**flatten(overrides), **flatten(settings), **place})
    if config.data.task in SEQUENCES:
        from hummingbird.retrieval.recognition.sequences import evaluate_sequences

        return evaluate_sequences(encoder, config, workdir)
    loaded = build_encoder(encoder, config.encoder) if isinstance(encoder, str) else encoder
    if config.data.task in WHOLE_IMAGE:
        from hummingbird.retrieval.recognition.evaluate import evaluate as evaluate_images

        return evaluate_images(loaded, config, workdir)
    folder = None if workdir is None else together(lambda: make_workdir(os.fspath(workdir)))
    if sources is None:
        from hummingbird.data.sources import build_dense_source

        sources = build_dense_source(config, "prompt"), build_dense_source(config, "query")
    collect = config.report.enabled and folder is not None
    result, samples = measure(loaded, config, *sources, collect=collect, encoded=encoded)
    if folder is not None:
        together(lambda: write_results(folder, result, samples) if first() else None)
    return result


def measure(
    encoder: Encoder,
    config: Settings,
    prompt: DenseSource,
    query: DenseSource,
    collect: bool = False,
    encoded: Encodings | None = None,
) -> tuple[Result, Samples | None]:
    """Evaluates a frozen encoder on two open sources, without writing files.

    Args:
      encoder: callable with `.patch_size`, as in `evaluate`.
      config: as in `evaluate`.
      prompt: annotated images to retrieve from.
      query: images to predict.
      collect: gather what a report shows.
      encoded: prompt and queries that several evaluations share; None: encoded here.

    Returns:
      The content of metrics.json, and the samples for `report.write_report` if they are collected.
    """
    config = resolved(config)
    evaluation = build_evaluation(encoder, config, prompt, query)
    check_parts(evaluation)
    for text in evaluation.warnings if first() else ():
        log.warning("%s", text)
    with evaluation.clock("total"):
        encodings = build_encodings(evaluation) if encoded is None else encoded
        whole = score(evaluation, encodings, collect)
        result = describe(evaluation, whole, config)
        if isinstance(evaluation.encoder, GradientEncoder):
            result["features"] = evaluation.encoder.describe()
        if evaluation.data.fractions:
            with evaluation.clock("fractions"):
                result["fractions"] = score_fractions(evaluation, encodings, whole.scores)
    result["seconds"] = dict.fromkeys(SECONDS, 0.0) | evaluation.clock.seconds
    result["peak_memory_bytes"] = peak_memory()
    return result, whole.samples


def resolved(config: Settings, changes: Tree = NOTHING) -> EvaluateConfig:
    """Returns the complete config of an evaluation, with changes. Raises UserError as `hummingbird.config.resolve`."""
    if isinstance(config, EvaluateConfig):
        return configs.replace(config, changes) if changes else config
    if isinstance(config, str):
        return configs.resolve("evaluate", config, changes)
    differences = configs.as_dict(config, "the evaluation's config is of type")
    return configs.resolve("evaluate", overrides={**flatten(differences), **flatten(changes)})


class Scored(NamedTuple):
    """An evaluation with the whole prompt."""

    scores: Scores
    memory: dict[str, str | int | float | bool | None]
    index: dict[str, Json]
    dim: int
    patches: int
    samples: Samples | None


def score(evaluation: Evaluation, encodings: Encodings, collect: bool) -> Scored:
    """Scores the whole prompt. Bank and index are freed when it returns, before parts of the prompt have theirs."""
    bank = encodings.bank(evaluation)
    index = encodings.index(evaluation, bank)
    collector = SampleCollector(evaluation, bank) if collect else None
    batches = encodings.query_batches(evaluation, collector.wanted if collector is not None else ())
    scores, recall, patches = answer(evaluation, batches, bank, index, collector)
    samples = collector.finish() if collector is not None else None
    if recall is not None and recall < LOW_RECALL:
        evaluation.warnings.append(
            f"the index found {recall:.1%} of the true neighbours: raise retrieval.scann.reorder (long banks need more "
            "candidates) or leaves_to_search"
        )
    described = describe_index(evaluation, index, len(bank), recall)
    memory, dim = describe_memory(evaluation, bank, index, recall), bank.keys.shape[1]
    return Scored(scores, memory, described, dim, patches, samples)


# ---------------------------------------------------------------- the result
def describe(evaluation: Evaluation, whole: Scored, config: EvaluateConfig) -> Result:
    """Returns the content of metrics.json, as far as it is known before parts of the prompt are scored."""
    task, protocol, data = evaluation.task, evaluation.protocol, evaluation.data
    queries = len(query_images(len(evaluation.query), protocol))
    return {
        "task": task.kind,
        "dataset": data.name,
        "data": {
            "root": os.path.basename(data.root.rstrip("/")),
            "prompt": evaluation.prompt.fingerprint,
            "query": evaluation.query.fingerprint,
        },
        "encoder": describe_encoder(evaluation.encoder, whole.dim),
        "metrics": whole.scores,
        "protocol": {"task": task.kind, **protocol.as_dict(), **task.choices},
        "memory": whole.memory,
        "index": whole.index,
        "queries": {"images": queries, "patches": whole.patches},
        "seconds": {},
        "peak_memory_bytes": 0,
        "warnings": evaluation.warnings,
        "versions": versions(),
        "config": {key: list(x) if isinstance(x, tuple) else x for key, x in configs.to_flat(config).items()},
    }


def describe_memory(
    evaluation: Evaluation, bank: PatchBank, index: Index, recall: float | None
) -> dict[str, str | int | float | bool | None]:
    """Returns what metrics.json says about a bank and its index."""
    return {
        "length": len(bank),
        "bytes": bank.nbytes,
        "keys_bytes": bank.keys_bytes,
        "labels_bytes": bank.labels.nbytes,
        "key_dtype": str(bank.keys.dtype),
        "capacity": evaluation.protocol.memory_length,
        "prompt_images": len(np.unique(bank.image)),
        "bank": evaluation.retrieval.bank or None,
        "index": index.kind,
        "index_exact": index.exact,
        "recall_at_k": recall,
    }


def describe_index(evaluation: Evaluation, index: Index, length: int, recall: float | None) -> dict[str, Json]:
    """Returns what metrics.json says about an index: settings that exact kinds ignore are left out."""
    settings: dict[str, Json] = {}
    if index.kind == "device":
        settings = {"device_recall": evaluation.retrieval.device_recall, "devices": jax.device_count()}
    elif not index.exact:
        settings = dataclasses.asdict(scann_settings(evaluation, length))
    return {"kind": index.kind, "exact": index.exact, "recall_at_k": recall, **settings}
