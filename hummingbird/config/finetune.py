"""Settings of `hummingbird finetune`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.data import EvaluationData, InputPipeline
from hummingbird.config.evaluate import Depth, EncoderSettings, EvaluateConfig, Report
from hummingbird.config.pretrain import Mesh
from hummingbird.config.schema import setting
from hummingbird.errors import UserError


@dataclasses.dataclass(frozen=True)
class FinetuneData(InputPipeline, EvaluationData):
    """Which images are trained on (the prompt) and which are predicted (the queries), and how fast they are read."""

    held_out: float = setting(
        0.0,
        "share of the training images that is scored instead of trained on: to choose settings without the queries",
        low=0,
        high=0.9,
    )
    cache: int = setting(
        1024, "MiB of decoded images and labels kept in memory, per process; 0: none", low=0, resumable=True
    )


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The head, what it is fitted on, and how it predicts whole images."""

    name: Literal["linear", "bn_linear", "segmenter", "upernet", "depth_bins", "regression"] = setting(
        "bn_linear",
        "head: linear (1x1), bn_linear (batch norm, 1x1), segmenter (1x1, its own initialisation), upernet "
        "(MAE's pyramid and auxiliary head), depth_bins (256 bins), regression (numbers, also depth)",
    )
    preset: Literal[
        "own",
        "segmenter",
        "ub",
        "dinov2",
        "dinov2_ms",
        "dinov2_depth",
        "dinov3",
        "dinov3_depth",
        "mae_upernet",
        "neco100",
    ] = setting(
        "own",
        "defaults of other settings: our own, or a project's; the page of configs/finetune lists what each sets",
    )
    train_encoder: bool = setting(False, "train the encoder too (end to end); false: it stays frozen")
    layers: tuple[int, ...] = setting(
        (), "encoder outputs that the head takes, -1 is the last; empty: the head's own", low=-1000
    )
    dropout: float | None = setting(
        None,
        "probability that a channel is dropped before the last layer; none: the head's own",
        low=0,
        high=0.9,
    )
    width: int | None = setting(None, "channels of upernet; none: 768", low=8)
    batch_norm: bool | None = setting(
        None, "batch norm before depth_bins and regression; none: regression only", resumable=False
    )
    drop_path: float = setting(
        0.0,
        "stochastic depth of a trained encoder: drop rate of the last layer, rising linearly from 0 at the first",
        low=0,
        high=0.95,
    )
    relative_bias: bool = setting(
        False, "a trained ViT gets a table of relative positions in each layer, zero at first (MAE's fine-tuning)"
    )
    layer_scale: bool = setting(False, "a trained ViT gets LayerScale, 1 at first, if it has none (MAE's fine-tuning)")
    remat: bool = setting(
        True, "recompute each layer of a trained encoder in the backward pass: less memory", resumable=True
    )
    loss_over: Literal["valid", "all"] = setting(
        "valid", "pixels that the cross-entropy is divided by: those with a label, or all (mmseg)"
    )
    gradient_weight: float = setting(0.5, "depth: weight of the gradient loss besides SigLoss; 0: SigLoss alone", low=0)
    cache_features: int = setting(
        0,
        "frozen encoders: encode this many augmented passes over the images once and train on them; 0: encode every "
        "batch",
        low=0,
        high=255,
    )
    inference: Literal["whole", "slide"] = setting(
        "whole",
        "whole: images are squashed to squares of input_size, as retrieval does; slide: their shorter side becomes "
        "input_size and windows slide over them",
        resumable=True,
    )
    window: int | None = setting(None, "side of a sliding window, pixels; none: input_size", low=1, resumable=True)
    stride: int | None = setting(
        None, "pixels between sliding windows; none: two thirds of a window", low=1, resumable=True
    )
    scales: tuple[float, ...] = setting(
        (1.0,), "sizes of the images to average predictions over", above=0, high=8, resumable=True
    )
    flip: bool = setting(False, "average predictions over images and their mirror images", resumable=True)
    metric_size: int = setting(
        0,
        "side of the squares that predictions and labels are resized to before they are compared; 0: compared at the "
        "size of the image",
        low=0,
        resumable=True,
    )


@dataclasses.dataclass(frozen=True)
class DenseAugment:
    """How images and labels are augmented together."""

    crop: Literal["scale", "area", "squash"] = setting(
        "scale",
        "scale: the image is resized by a random factor, then a random square is cut out (mmseg); area: a random box "
        "is cut out and resized (Inception); squash: the whole image becomes a square",
    )
    scale: tuple[float, float] = setting(
        (0.5, 2.0), "crop=scale: range of the factor; 1 makes the shorter side input_size", above=0
    )
    longest: int = setting(2048, "crop=scale: at a factor of 1, the longer side is at most this long, pixels", low=8)
    area: tuple[float, float] = setting((0.3, 1.0), "crop=area: range of the box's share of the image", above=0, high=1)
    aspect: tuple[float, float] = setting((3 / 4, 4 / 3), "crop=area: range of width / height", above=0)
    most_of_a_class: float = setting(
        0.75,
        "crop=scale, classes: another crop is drawn, ten times at most, where one class covers more than this share of "
        "its labelled pixels; 1: never",
        above=0,
        high=1,
    )
    flip: float = setting(0.5, "probability of a left-right flip", low=0, high=1)
    colours: Literal["none", "mmseg", "depth"] = setting(
        "mmseg",
        "mmseg: brightness, contrast, saturation and hue are changed with probability 0.5 each; depth: gamma, "
        "brightness and colour balance with probability 0.5 (BTS)",
    )


@dataclasses.dataclass(frozen=True)
class DecoderOptimizer:
    """The optimiser, and how the learning rate changes."""

    name: Literal["adamw", "adam", "sgd"] = setting(
        "adamw", "adamw, adam (weight decay as part of the gradient), or sgd"
    )
    learning_rate: float = setting(1e-3, "peak learning rate of the head", above=0, high=10)
    encoder_rate: float = setting(
        1.0, "learning rate of a trained encoder's last layer as a share of the head's", above=0, high=1
    )
    layer_decay: float = setting(
        1.0, "factor of the learning rate from each layer of a trained encoder to the one before it", above=0, high=1
    )
    schedule: Literal["poly", "cosine", "step"] = setting("poly", "how the learning rate decays")
    power: float = setting(1.0, "poly: exponent", above=0)
    final: float = setting(0.0, "learning rate at the last step as a share of the peak; of `step`: of each drop", low=0)
    drops: tuple[float, ...] = setting((0.8,), "step: where the rate is multiplied by `final`", above=0, high=1)
    warmup_steps: int | None = setting(None, "linear warm-up, steps; none: from warmup", low=0)
    warmup: float = setting(0.0375, "linear warm-up, share of all steps", low=0, high=1)
    warmup_from: float = setting(1e-6, "learning rate at the first step as a share of the peak", low=0, high=1)
    weight_decay: float = setting(1e-4, "not on biases, norms, position embeddings and [CLS]", low=0)
    clip_norm: float | None = setting(None, "largest global norm of the gradient; none: no limit", above=0)
    momentum: float = setting(0.9, "sgd: momentum", low=0, high=0.99999)
    nesterov: bool = setting(True, "sgd: Nesterov's momentum")
    b1: float = setting(0.9, "adam, adamw: beta 1", low=0, high=0.99999)
    b2: float = setting(0.999, "adam, adamw: beta 2", low=0, high=0.99999)


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """All settings of a decoder and its training."""

    seed: int = setting(0, "seed of initialisation, data order, augmentation and subsets", low=0, high=2**31 - 1)
    input_size: int = setting(512, "side of the square training crops, pixels; padded to whole patches", low=8)
    batch_size: int = setting(16, "images in the global batch", low=1)
    micro_batches: int = setting(
        1, "parts of the batch that are computed one after the other: less memory (batch norm sees a part)", low=1
    )
    epochs: float = setting(
        60.0, "passes over the training images; ignored when total_steps is set", above=0, resumable=True
    )
    total_steps: int | None = setting(None, "optimiser steps; none: from epochs", low=1, resumable=True)
    data: FinetuneData = FinetuneData()
    encoder: EncoderSettings = EncoderSettings()
    decoder: Decoder = Decoder()
    augment: DenseAugment = DenseAugment()
    optimizer: DecoderOptimizer = DecoderOptimizer()
    depth: Depth = Depth()
    dtype: Literal["float32", "bfloat16"] = setting(
        "float32", "compute type in training; parameters and losses stay float32"
    )
    mesh: Mesh = Mesh()
    checkpoint_every: int = setting(
        1000, "steps between checkpoints; the last step is always saved", low=1, resumable=True
    )
    keep_checkpoints: int = setting(1, "newest checkpoints to keep", low=1, resumable=True)
    log_every: int = setting(50, "steps between log lines", low=1, resumable=True)
    report: Report = Report()
    progress: bool = setting(True, "show progress bars with the time left", resumable=True)

    def __post_init__(self) -> None:
        """Refuses combinations that no run could use."""
        decoder, parts = self.decoder, self.micro_batches
        if self.batch_size % parts:
            raise UserError(f"config key micro_batches: {parts} does not divide batch_size {self.batch_size}")
        if self.data.fractions:
            raise UserError("config key data.fractions: a decoder is trained on one part at a time; use data.fraction")
        if decoder.cache_features and decoder.train_encoder:
            raise UserError("config key decoder.cache_features is for frozen encoders; leave decoder.train_encoder out")
        if not decoder.train_encoder:
            for key, given in (
                ("drop_path", decoder.drop_path),
                ("relative_bias", decoder.relative_bias),
                ("layer_scale", decoder.layer_scale),
            ):
                if given:
                    raise UserError(f"config key decoder.{key} changes a trained encoder; set decoder.train_encoder")
        if self.depth.low >= self.depth.high:
            raise UserError(f"config key depth.low: {self.depth.low} is not below depth.high {self.depth.high}")
        if not decoder.scales:
            raise UserError("config key decoder.scales is empty; 1 predicts images as they are")
        for name in ("scale", "area", "aspect"):
            low, high = getattr(self.augment, name)
            if low > high:
                raise UserError(f"config key augment.{name}: {low} is above {high}, expected the lower number first")

    def evaluation(self) -> EvaluateConfig:
        """Returns the settings of data and labels as those of an evaluation."""
        names = [field.name for field in dataclasses.fields(EvaluationData)]
        return EvaluateConfig(
            seed=self.seed,
            input_size=self.input_size,
            data=EvaluationData(**{name: getattr(self.data, name) for name in names}),
            encoder=self.encoder,
            depth=self.depth,
            report=self.report,
            progress=self.progress,
        )
