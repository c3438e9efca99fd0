"""What fitting a decoder starts from: the encoder, the data and the kind of label, checked against each other."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from hummingbird.config.finetune import FinetuneConfig
from hummingbird.data.interface import DenseSource
from hummingbird.data.sources import build_dense_source
from hummingbird.data.window import squashed
from hummingbird.decoders.host import from_callable
from hummingbird.decoders.inference import build_inference
from hummingbird.decoders.program import prepare_encoder
from hummingbird.encoder import Encoder, build_encoder, name_of
from hummingbird.errors import UserError
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.retrieval.evaluation import check_encoder, check_sources
from hummingbird.retrieval.selection import hold_out, subset
from hummingbird.run.files import Json
from hummingbird.tasks import Task, build_task
from hummingbird.tasks.class_metrics import check_classes

LABELLED = 8  # training images that are read first, to check their labels


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run consists of, before anything is compiled or written.

    Attributes:
      config: of the run.
      encoder: that the decoder is fitted on.
      prompt, query: images to train on and to predict.
      images: numbers of the prompt images to train on.
      held_out: numbers of those that are scored instead.
      task: kind of label.
      values: standard deviation and mean of values to predict; 1 and 0 for classes.
    """

    config: FinetuneConfig
    encoder: FrozenEncoder
    prompt: DenseSource
    query: DenseSource
    images: Sequence[int]
    held_out: Sequence[int]
    task: Task
    values: tuple[float, float] = (1.0, 0.0)

    @property
    def origin(self) -> dict[str, Json]:
        """Which encoder the decoder is on, as checkpoints record it."""
        return {"encoder": self.encoder.name, "fingerprint": self.encoder.fingerprint}


def build_setup(
    config: FinetuneConfig, encoder: Encoder | str, sources: tuple[DenseSource, DenseSource] | None = None
) -> Setup:
    """Loads the encoder and opens the data. Raises UserError where they do not fit each other or the config."""
    evaluation = config.evaluation()
    if isinstance(encoder, str):
        encoder = build_encoder(encoder, dataclasses.replace(config.encoder, dtype="float32"))
    check_encoder(encoder)
    if isinstance(encoder, FrozenEncoder):
        check_finite(encoder)
        encoder = prepared(config, encoder)
    elif config.decoder.train_encoder:
        raise UserError(
            f"config key decoder.train_encoder: encoder {name_of(encoder)} is a plain callable, which stays frozen; "
            "import its weights to train it"
        )
    prompt, query = sources or (build_dense_source(evaluation, "prompt"), build_dense_source(evaluation, "query"))
    check_sources(prompt, query)
    task = build_task(prompt, evaluation)
    images = subset(len(prompt), config.data.fraction, config.data.max_images, config.seed)
    images, held_out = hold_out(images, config.data.held_out, config.seed)
    if not images:
        raise UserError(f"config key data.held_out: {config.data.held_out} leaves no image to train on")
    values = labels_of(prompt, images, task, config)
    if not isinstance(encoder, FrozenEncoder):
        first = prompt[images[0]]
        height, width = first["image"].shape[:2]
        picture = squashed(height, width, config.input_size, config.input_size).picture(first["image"])
        encoder = prepared(config, from_callable(encoder, picture, first["name"]))
    build_inference(config, encoder.patch_size)
    return Setup(config, encoder, prompt, query, images, held_out, task, values)


def prepared(config: FinetuneConfig, encoder: FrozenEncoder) -> FrozenEncoder:
    """Returns an encoder as the config computes and trains it."""
    backbone, params = prepare_encoder(config, encoder.backbone, encoder.params)
    return dataclasses.replace(encoder, backbone=backbone, params=params)


def check_finite(encoder: FrozenEncoder) -> None:
    """Raises UserError if a parameter of the encoder is NaN or infinite, so that its features would be."""
    for path, x in jax.tree_util.tree_leaves_with_path(encoder.params):
        if not np.isfinite(np.asarray(x)).all():
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UserError(f"encoder {encoder.name}: its parameter {name} is not finite; use another checkpoint")


def labels_of(source: DenseSource, images: Sequence[int], task: Task, config: FinetuneConfig) -> tuple[float, float]:
    """Reads a few training images; returns standard deviation and mean of their labels, 1 and 0 for classes.

    Raises:
      UserError: none of them has a label, or a label holds a class that the task lacks.
    """
    chosen = np.linspace(0, len(images) - 1, min(LABELLED, len(images))).astype(int)
    items = [source[images[int(i)]] for i in chosen]
    if task.has_classes:
        for item in items:
            check_classes(item["label"], task.channels, int(task.void), f"label of image {item['name']}")
    labels = [item["label"] for item in items]
    found = [np.asarray(label)[task.valid(label)] for label in labels]
    if not any(values.size for values in found):
        raise UserError(
            f"data.name={config.data.name}: {len(chosen)} of the {len(images)} training images were read and none has "
            "a label; choose another data.prompt"
        )
    if task.has_classes:
        return 1.0, 0.0
    values = np.concatenate([x.ravel() for x in found]).astype(np.float64)
    return max(float(values.std()), 1e-6), float(values.mean())
