"""Classification of whole images with a frozen encoder: from labelled images and an encoder to scores.

`measure` knows nothing of files; `evaluate` is what `hummingbird evaluate` runs for `data.task=classification` and
`image_retrieval`, through `hummingbird.retrieval.evaluate`.
"""

from __future__ import annotations

import logging
import os
import statistics

import numpy as np

from hummingbird import config as configs
from hummingbird.config import EvaluateConfig
from hummingbird.data.image_sets import SETS, build_labelled
from hummingbird.data.labelled import Labelled, Splits
from hummingbird.encoder import Encoder
from hummingbird.gradients.pca import skipped
from hummingbird.retrieval.bank.keys import key_dtype
from hummingbird.retrieval.processes import first, together
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.recognition import landmarks
from hummingbird.retrieval.recognition.classifiers import CLASSIFIERS, Outcome, Problem
from hummingbird.retrieval.recognition.embed import Embedded
from hummingbird.retrieval.recognition.few_shot import draw_shots
from hummingbird.retrieval.recognition.inputs import Encoding, LabelledInputs, build_encoding
from hummingbird.retrieval.recognition.knn import index_kind
from hummingbird.retrieval.recognition.pictures import collect
from hummingbird.retrieval.recognition.preflight import check_config, check_memory, check_splits
from hummingbird.retrieval.recognition.scores import per_class
from hummingbird.retrieval.result_files import make_workdir, write_results
from hummingbird.retrieval.results import Result, describe_encoder, peak_memory
from hummingbird.retrieval.sample_files import ImageSamples
from hummingbird.retrieval.selection import subset
from hummingbird.run.files import Json, versions
from hummingbird.tasks import Scores

log = logging.getLogger(__name__)

FEW_SHOT_SCORES = ("top1", "mean_per_class", "top5")


def evaluate(encoder: Encoder, config: EvaluateConfig, workdir: str | os.PathLike[str] | None = None) -> Result:
    """Evaluates a frozen encoder on the whole images that a config names.

    In a program of several processes all of them call it: each encodes its part of the images, the first one writes.

    Args:
      encoder: callable with `.patch_size`, as in `hummingbird.retrieval.evaluate`.
      config: resolved, with `data.task` classification or image_retrieval.
      workdir: folder for metrics.json, images.npz and report.html, made if missing; None: nothing is written.

    Returns:
      The content of metrics.json.

    Raises:
      UserError: unusable settings or data, unwritable workdir, or features that are not finite.
    """
    folder = None if workdir is None else together(lambda: make_workdir(os.fspath(workdir)))
    collecting = config.report.enabled and folder is not None
    if config.data.task == "image_retrieval":
        result, samples = landmarks.measure(encoder, config, landmarks.build_landmarks(config.data), collecting)
    else:
        check_config(config)
        result, samples = measure(encoder, config, build_labelled(config), collecting)
    if folder is not None:
        together(lambda: write_results(folder, result, samples) if first() else None)
    return result


def measure(
    encoder: Encoder, config: EvaluateConfig, splits: Splits, collecting: bool = False
) -> tuple[Result, ImageSamples | None]:
    """Classifies the test images of a data set that is open already, without writing files.

    Args:
      encoder: callable with `.patch_size`.
      config: all settings.
      splits: the images.
      collecting: gather what a report shows.

    Returns:
      The content of metrics.json, and the samples for `report.write_report` if they are collected.
    """
    clock, warnings = Clock(), list[str]()
    with clock("total"):
        splits = limited(splits, config)
        encoding = build_encoding(encoder, config, clock)
        check_splits(splits, config, encoding.preparation)
        check_memory(sum(len(part) for part in splits[:3] if part), int(getattr(encoder, "dim", 0)), encoding)
        encoding = encoding.fitted(splits.train)
        train, test = embed(encoding, splits.train, "train"), embed(encoding, splits.test, "test")
        validation = None if splits.validation is None else embed(encoding, splits.validation, "validation")
        problem = build_problem(config, train, test, validation, len(splits.train.classes), encoding)
        outcomes = classify(config, problem, clock)
        metrics = full_scores(config, outcomes, test, splits.train.classes)
        if config.images.shots is not None:
            with clock("few_shot"):
                metrics |= few_shot_scores(config, problem, splits.train.classes)
        main = outcomes[config.images.classifiers[0]]
        samples = None
        if collecting and first():
            name = str(describe_encoder(encoder, problem.train.units.shape[1])["name"])
            samples = collect(name, splits, problem, main.predicted, config.report, config.seed)
    if not train.norms.all() or not test.norms.all():
        warnings.append("the features of some images are zero, so their neighbours are arbitrary")
    for text in warnings if first() else ():
        log.warning("%s", text)
    dim = train.units.shape[1]
    result: Result = {
        "task": "classification",
        "dataset": config.data.name,
        "data": {
            "root": os.path.basename(config.data.root.rstrip("/")),
            "prompt": splits.train.fingerprint,
            "query": splits.test.fingerprint,
        },
        "encoder": describe_encoder(encoder, dim),
        "metrics": metrics,
        "protocol": protocol(config, splits, encoding, problem, outcomes),
        "memory": {"length": len(train.labels), "bytes": 4 * train.units.size, "key_dtype": problem.key_dtype},
        "index": {"kind": index_kind(config.retrieval.index), "exact": True, "recall_at_k": None},
        "queries": {"images": len(test.labels)},
        "seconds": clock.seconds,
        "peak_memory_bytes": peak_memory(),
        "warnings": warnings,
        "versions": versions(),
        "config": {key: list(x) if isinstance(x, tuple) else x for key, x in configs.to_flat(config).items()},
    }
    return result, samples


def embed(encoding: Encoding, images: Labelled, name: str) -> Embedded:
    """Encodes the images of a split; `name` is what progress bars and times call it."""
    return encoding.embedded(LabelledInputs(images, encoding.preparation, encoding.whole), f"{name} images", name)


def limited(splits: Splits, config: EvaluateConfig) -> Splits:
    """Returns the images that `data.fraction`, `data.max_images` and `data.max_queries` leave."""
    data, seed = config.data, config.seed
    most = data.max_queries if data.max_queries is not None else data.max_images
    train = np.asarray(subset(len(splits.train), data.fraction, data.max_images, seed))
    test = np.asarray(subset(len(splits.test), 1.0, most, seed))
    kept = splits.train if len(train) == len(splits.train) else splits.train.take(train)
    asked = splits.test if len(test) == len(splits.test) else splits.test.take(test)
    return splits._replace(train=kept, test=asked)


def build_problem(
    config: EvaluateConfig,
    train: Embedded,
    test: Embedded,
    validation: Embedded | None,
    classes: int,
    encoding: Encoding,
) -> Problem:
    """Builds what the classifiers are given."""
    dtype = key_dtype(config.retrieval.key_dtype, *train.units.shape).name
    how = (config.features.pca, config.seed, config.retrieval.index, dtype)
    return Problem(train, test, validation, classes, *how, encoding.pooling, encoding.parts)


def classify(config: EvaluateConfig, problem: Problem, clock: Clock) -> dict[str, Outcome]:
    """Runs the classifiers on all training images; PCA is fitted once for all that take it."""
    reduced = problem.reduced()
    outcomes = {}
    for name in config.images.classifiers:
        with clock(name):
            given = reduced if CLASSIFIERS[name].reduced else problem
            outcomes[name] = CLASSIFIERS[name].run(given, config.images)
    return outcomes


def headline_metric(config: EvaluateConfig) -> str:
    """Returns the score that stands for all: "top1" or "mean_per_class"."""
    known = SETS.get(config.data.name)
    return config.images.metric if config.images.metric != "auto" else known.metric if known else "top1"


def full_scores(config: EvaluateConfig, outcomes: dict[str, Outcome], test: Embedded, classes: list[str]) -> Scores:
    """Returns the scores of all classifiers, with the headline of the first one as "accuracy"."""
    main = outcomes[config.images.classifiers[0]]
    scores: Scores = {"accuracy": main.scores[headline_metric(config)]}
    for name, found in outcomes.items():
        scores |= {f"{name}_{score}": value for score, value in found.scores.items()}
    return {**scores, "per_class_accuracy": per_class(test.labels, main.predicted, classes)}


def few_shot_scores(config: EvaluateConfig, problem: Problem, classes: list[str]) -> Scores:
    """Returns mean and standard deviation of the scores with a few training images of each class."""
    images = config.images
    assert images.shots is not None
    found: dict[str, list[float]] = {}
    for number in range(1 if images.draw == "first" else images.draws):
        rows = draw_shots(problem.train.labels, classes, images.shots, images.draw, config.seed + number)
        # Official validation images would be many more labels than those of a few shots.
        few = problem._replace(train=problem.train.take(rows), validation=None, seed=config.seed + number)
        for name, one in classify(config, few, Clock()).items():
            for score, value in one.scores.items():
                if score in FEW_SHOT_SCORES:
                    found.setdefault(f"few_shot_{name}_{score}", []).append(value)
    main = found[f"few_shot_{images.classifiers[0]}_{headline_metric(config)}"]
    found = {"few_shot_accuracy": main, **found}
    scores: Scores = {name: statistics.fmean(values) for name, values in found.items()}
    spreads = {f"{name}_std": statistics.stdev(values) for name, values in found.items() if len(values) > 1}
    return {**scores, **spreads}


def protocol(
    config: EvaluateConfig, splits: Splits, encoding: Encoding, problem: Problem, outcomes: dict[str, Outcome]
) -> dict[str, Json]:
    """Returns every choice that affects the scores."""
    images, preparation = config.images, encoding.preparation
    samples, dim = problem.train.units.shape
    without_pca = skipped(config.features.pca, samples, dim)
    shots: dict[str, Json] = {}
    if images.shots is not None:
        few_samples = images.shots * problem.classes
        shots = {
            "shots": images.shots,
            "draw": images.draw,
            "draws": 1 if images.draw == "first" else images.draws,
            "few_shot_pca": None if skipped(config.features.pca, few_samples, dim) else config.features.pca,
        }
    resized = round(preparation.size / preparation.fraction) if preparation.crop == "centre" else preparation.size
    return {
        "task": "classification",
        "seed": config.seed,
        "input_size": preparation.size,
        "crop": preparation.crop,
        "resized_to": resized,
        "interpolation": "bicubic",
        "exif": "upright" if preparation.upright else "stored",
        "pooling": encoding.pooling,
        "features": "L2-normalised; as they are for `linear`",
        **encoding.gradients,
        "pca": None if without_pca else config.features.pca,
        "split": splits.choice,
        "train_images": samples,
        "classes": problem.classes,
        "validation": "official" if problem.validation is not None else f"{images.validation:g} of each training class",
        "metric": headline_metric(config),
        "classifiers": list(images.classifiers),
        "neighbours": images.neighbours,
        "distance": "euclidean",
        "vote_temperature": images.vote_temperature,
        **{f"{name}.{key}": value for name, found in outcomes.items() for key, value in found.chosen.items()},
        **shots,
    }
