"""Refuses evaluations of whole images that would fail, before anything is encoded."""

from __future__ import annotations

import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.data.labelled import Splits
from hummingbird.errors import UserError
from hummingbird.retrieval.capacity import available_memory
from hummingbird.retrieval.recognition.few_shot import check_shots
from hummingbird.retrieval.recognition.inputs import Encoding, LabelledInputs
from hummingbird.retrieval.recognition.prepare import Preparation


def check_config(config: EvaluateConfig) -> None:
    """Raises UserError for settings that are for dense retrieval alone, or contradict each other."""
    if config.data.fractions:
        raise UserError("config key data.fractions is for dense labels; set images.shots for few training images")
    if config.retrieval.index == "scann":
        raise UserError("config key retrieval.index: whole images are searched exactly; use auto, exact or device")
    if not config.images.classifiers:
        raise UserError("config key images.classifiers is empty; name at least one, such as knn")
    if "attentive" in config.images.classifiers and config.images.pooling != "patches":
        raise UserError("config key images.classifiers: attentive attends to patches; set images.pooling=patches")
    if config.images.pooling == "patches" and config.images.crop == "aspect":
        raise UserError("config key images.crop: pooling=patches needs images of one size; use centre or squash")
    for key in (
        "classifiers",
        "vote_neighbours",
        "logistic.penalties",
        "linear.learning_rates",
        "attentive.learning_rates",
    ):
        group, _, name = key.rpartition(".")
        values = getattr(getattr(config.images, group) if group else config.images, name)
        if not values or len(set(values)) < len(values):
            raise UserError(f"config key images.{key}: give at least one value, each once")


def check_memory(images: int, dim: int, encoding: Encoding) -> None:
    """Raises UserError if the patches of all images do not fit the memory.

    Args:
      images: of all splits.
      dim: features of a patch.
      encoding: how images become features.
    """
    if encoding.pooling != "patches":
        return
    needed, free = 2 * 4 * images * encoding.parts * dim, available_memory()  # as unit vectors, and as they are
    if free is not None and needed > free:
        raise UserError(
            f"config key images.pooling: {encoding.parts} patches of {images} images need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB of memory are free; lower data.max_images or input_size, or use cls or mean"
        )


def check_splits(splits: Splits, config: EvaluateConfig, preparation: Preparation) -> None:
    """Raises UserError for images that cannot be classified: one class only, too few images, unreadable ones."""
    train, test, images = splits.train, splits.test, config.images
    for part, key in ((train, "data.prompt"), (test, "data.query")):
        if not len(part):
            raise UserError(f"config key {key}: no images")
    if len(train.classes) < 2:
        raise UserError(f"{config.data.name}: there is one class only, {train.classes[0]!r}; nothing to classify")
    check_neighbours(len(train), len(train.classes), config)
    if train.knows_labels:
        counts = np.bincount(train.labels, minlength=len(train.classes))
        if np.count_nonzero(counts) < 2:
            name = train.classes[int(counts.argmax())]
            raise UserError(f"{config.data.name}: all training images are of one class, {name!r}; nothing to classify")
        if images.shots is not None:
            check_shots(train.labels, train.classes, images.shots)
    for part in filter(None, splits[:3]):
        inputs = LabelledInputs(part, preparation)
        for index in {0, len(part) - 1}:
            inputs[index]


def check_neighbours(count: int, classes: int, config: EvaluateConfig, samples: str = "images") -> None:
    """Raises UserError for more neighbours than there are training `samples` or, in few shots, than are drawn."""
    images = config.images
    smallest = min(count, images.shots * classes if images.shots else count)
    least = {"neighbours": images.neighbours, "vote_neighbours": min(images.vote_neighbours)}
    for name, key in (("knn", "neighbours"), ("weighted_knn", "vote_neighbours")):
        if name in images.classifiers and least[key] > smallest:
            shots = f"images.shots={images.shots} of {classes} classes gives"
            few = shots if smallest < count else "there are"
            raise UserError(
                f"config key images.{key}: {least[key]} is more than the training {samples}; {few} {smallest}; lower it"
            )
