"""Classification of texts and sounds with a frozen encoder, by the classifiers of whole images."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Sequence

import numpy as np

from hummingbird import config as configs
from hummingbird.config import EvaluateConfig
from hummingbird.data.names import names_fingerprint
from hummingbird.data.sounds import BINS, build_sounds, sound_input
from hummingbird.data.texts import Classified, SequenceSplits, build_texts
from hummingbird.data.tokens import build_tokenizer, pad
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.gradients.samples import AUDIO, TEXT, Reader, SampleFeatures, build_features
from hummingbird.gradients.sequences import delete_words, noise_and_shift
from hummingbird.models.audio import Ssast
from hummingbird.models.params import leaf
from hummingbird.models.text import Bert
from hummingbird.retrieval.bank.keys import key_dtype
from hummingbird.retrieval.progress import Clock, track
from hummingbird.retrieval.recognition.classifiers import Problem
from hummingbird.retrieval.recognition.embed import Embedded
from hummingbird.retrieval.recognition.evaluate import classify, few_shot_scores, full_scores, headline_metric
from hummingbird.retrieval.recognition.few_shot import check_shots
from hummingbird.retrieval.recognition.knn import index_kind
from hummingbird.retrieval.recognition.preflight import check_config, check_neighbours
from hummingbird.retrieval.result_files import make_workdir, write_results
from hummingbird.retrieval.results import Result, peak_memory
from hummingbird.retrieval.selection import subset
from hummingbird.run.files import versions
from hummingbird.weights.sequences import SequenceModel, load_sequence_model

LENGTHS = {"text": 128, "audio": 1024}  # tokens, frames
SAMPLES = {"text": "texts", "audio": "sounds"}  # what errors call them
AT_A_TIME = 64  # samples per batch; the views of a batch are in memory at the same time


def evaluate_sequences(
    checkpoint: Encoder | str, config: EvaluateConfig, workdir: str | os.PathLike[str] | None
) -> Result:
    """Classifies the texts or sounds that a config names.

    Args:
      checkpoint: what `load_sequence_model` takes.
      config: resolved, with `data.task` text or audio.
      workdir: folder for metrics.json; None: nothing is written.

    Returns:
      The content of metrics.json.

    Raises:
      UserError: unusable settings, data or weights, or an unwritable workdir.
    """
    if not isinstance(checkpoint, str):
        raise UserError("config key data.task: text and audio need the path or the name of an encoder")
    check_config(config)
    if config.images.pooling != "auto":
        raise UserError("config key images.pooling is for images; texts and sounds have one embedding, leave it out")
    folder = None if workdir is None else make_workdir(os.fspath(workdir))
    clock = Clock()
    with clock("total"):
        splits = limited(build_splits(config), config)
        samples = SAMPLES[str(config.data.task)]
        check_neighbours(len(splits.train.labels), len(splits.classes), config, samples)
        if config.images.shots is not None:
            check_shots(splits.train.labels, splits.classes, config.images.shots, samples)
        model = load_sequence_model(checkpoint, config.sequence.stride)
        problem = build_problem(config, splits, model, clock)
        outcomes = classify(config, problem, clock)
        metrics = full_scores(config, outcomes, problem.test, splits.classes)
        if config.images.shots is not None:
            with clock("few_shot"):
                metrics |= few_shot_scores(config, problem, splits.classes)
    result: Result = {
        "task": "classification",
        "dataset": config.data.name,
        "data": {
            "root": os.path.basename(config.data.root.rstrip("/")),
            "prompt": identify(splits.train, config.data.task),
            "query": identify(splits.test, config.data.task),
        },
        "encoder": {"name": model.name, "fingerprint": model.fingerprint, "dim": problem.train.units.shape[1]},
        "metrics": metrics,
        "protocol": {
            "kind": config.data.task,
            "length": config.sequence.length or LENGTHS[str(config.data.task)],
            "layer": model.network.layer,
            "gradients": list(config.features.gradients),
            "pca": config.features.pca,
            "train_samples": len(splits.train.labels),
            "classes": problem.classes,
            "metric": headline_metric(config),
            "classifiers": list(config.images.classifiers),
            "neighbours": config.images.neighbours,
        },
        "memory": {
            "length": len(splits.train.labels),
            "bytes": 4 * problem.train.units.size,
            "key_dtype": problem.key_dtype,
        },
        "index": {"kind": index_kind(config.retrieval.index), "exact": True, "recall_at_k": None},
        "queries": {"images": len(splits.test.labels)},
        "seconds": clock.seconds,
        "peak_memory_bytes": peak_memory(),
        "warnings": [],
        "versions": versions(),
        "config": {key: list(x) if isinstance(x, tuple) else x for key, x in configs.to_flat(config).items()},
    }
    if folder is not None:
        write_results(folder, result, None)
    return result


def build_splits(config: EvaluateConfig) -> SequenceSplits:
    """Reads the texts of `data.name`, or finds its sounds; UserError for a set of the other kind."""
    data = config.data
    if data.task == "audio":
        return build_sounds(data.name, data.root)
    return build_texts(data.name, data.root, data.prompt, data.query)


def limited(splits: SequenceSplits, config: EvaluateConfig) -> SequenceSplits:
    """Returns the samples that `data.fraction`, `data.max_images` and `data.max_queries` leave."""
    data = config.data
    most = data.max_queries if data.max_queries is not None else data.max_images

    def some(part: Classified, share: float, count: int | None) -> Classified:
        rows = np.asarray(subset(len(part.labels), share, count, config.seed))
        return Classified([part.items[row] for row in rows], part.labels[rows])

    train, test = some(splits.train, data.fraction, data.max_images), some(splits.test, 1.0, most)
    return splits._replace(train=train, test=test)


def identify(part: Classified, task: str | None) -> str:
    """Returns a checksum of samples and labels: texts, or the names of files and their folders."""
    names = ("/".join(item.rsplit("/", 2)[-2:]) if task == "audio" else item for item in part.items)
    return names_fingerprint(f"{name} {label}" for name, label in zip(names, part.labels, strict=True))


def build_problem(config: EvaluateConfig, splits: SequenceSplits, model: SequenceModel, clock: Clock) -> Problem:
    """Encodes all samples."""
    with clock("negatives"):
        features = build(config, splits, model)
    parts: list[Embedded] = []
    for name, part in (("train", splits.train), ("test", splits.test)):
        with clock(f"encode_{name}"):
            parts.append(embed(features, part, f"{name} samples", config))
    dtype = key_dtype(config.retrieval.key_dtype, *parts[0].units.shape).name
    pca, index = config.features.pca, config.retrieval.index
    return Problem(parts[0], parts[1], None, len(splits.classes), pca, config.seed, index, dtype)


Features = SampleFeatures[str] | SampleFeatures[np.ndarray]


def build(config: EvaluateConfig, splits: SequenceSplits, model: SequenceModel) -> Features:
    """Builds the features of texts, or of spectrograms."""
    task = str(config.data.task)
    length, chosen = config.sequence.length or LENGTHS[task], config.features
    if isinstance(model.network, Ssast) != (task == "audio"):
        raise UserError(f"{model.name} is an encoder of {'text' if task == 'audio' else 'sound'}; data.task is {task}")
    if chosen.projection != "dense":
        raise UserError("config key features.projection: texts and sounds need dense")
    given = {"dim": chosen.dim, "seed": config.seed}
    if isinstance(model.network, Ssast):
        high = model.network.patch[0] * model.network.grid[0]
        if high != BINS:
            raise UserError(f"{model.name} takes spectrograms of {high} bins; ours have {BINS}")
        if length < model.network.patch[1]:
            raise UserError(
                f"config key sequence.length: {length} frames are less than a patch of {model.name}, "
                f"{model.network.patch[1]}"
            )
        load = functools.partial(sound_input, length=length, mean=config.sequence.mean, std=config.sequence.std)
        sounds = Reader(load, np.stack, noise_and_shift, AUDIO)
        return build_features(model, sounds, chosen.gradients, splits.train.items, **given)
    bert = isinstance(model.network, Bert)
    table = ("embeddings", "word_embeddings") if bert else ("shared",)
    rows = leaf(model.params, "embeddings", "position_embeddings", "embedding").shape[0] if bert else length
    if length > rows:
        raise UserError(f"config key sequence.length: {model.name} has positions for {rows} tokens, not {length}")
    tokenize = build_tokenizer(model.folder, leaf(model.params, *table, "embedding").shape[0], length)

    def batch(texts: Sequence[str]) -> dict[str, np.ndarray]:
        ids, mask = pad(tokenize(texts), length)
        return {"ids": ids, "mask": mask}

    def view(rng: np.random.Generator, text: str) -> str:
        return " ".join(delete_words(rng, text.split()))

    return build_features(model, Reader(str, batch, view, TEXT), chosen.gradients, splits.train.items, **given)


def embed(features: Features, part: Classified, text: str, config: EvaluateConfig) -> Embedded:
    """Computes the features of samples; UserError if some are not finite."""
    numbers = [zlib.crc32(item.encode("utf-8", "surrogateescape")) for item in part.items]
    found: list[np.ndarray] = []
    starts = range(0, len(part.items), AT_A_TIME)
    for start in track(starts, len(starts), text, config.progress, "batches"):
        rows = slice(start, start + AT_A_TIME)
        found.append(features(part.items[rows], numbers[rows]))
    rows = np.concatenate(found)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise UserError(
            f"encoder: the features of {len(bad)} samples are NaN or infinite, such as those of {part.items[bad[0]]!r}"
        )
    norms = np.ones(len(rows), np.float32)
    if not config.features.gradients:
        norms = np.linalg.norm(rows, axis=1).astype(np.float32)
        rows = rows / np.where(norms > 0, norms, 1)[:, None]
    return Embedded(rows, norms, part.labels)
