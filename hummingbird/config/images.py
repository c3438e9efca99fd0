"""Settings of evaluations of whole images: k-NN, few-shot and linear classification, and image retrieval."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.schema import setting

# Values of `data.task` that are for whole images.
WHOLE_IMAGE = ("classification", "image_retrieval")
# 13 learning rates for 256 images a batch (DINOv2, eval/linear.py).
DINOV2_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
# 5 values at equal distances in [5e-6, 5e-4] (FUNGI, App. A.3).
FUNGI_PENALTIES = (5e-6, 1.2875e-4, 2.525e-4, 3.7625e-4, 5e-4)


@dataclasses.dataclass(frozen=True)
class Logistic:
    """L2-regularised multinomial logistic regression: mean loss + penalty / 2 |W|^2."""

    penalties: tuple[float, ...] = setting(
        FUNGI_PENALTIES, "penalties to choose from (FUNGI, App. A.3)", above=0, high=1e6
    )
    inverse_penalties: tuple[float, ...] = setting(
        (), "C of scikit-learn instead: penalty = 1 / (C images); empty: penalties", above=0
    )
    intercept: bool = setting(False, "learn a bias for each class, which is not penalised")
    iterations: int = setting(300, "most steps of L-BFGS", low=1)
    tolerance: float = setting(1e-5, "largest entry of the gradient at which to stop", above=0)


@dataclasses.dataclass(frozen=True)
class Linear:
    """A linear layer trained by SGD with momentum 0.9, for all learning rates at once (DINOv2's linear probing)."""

    learning_rates: tuple[float, ...] = setting(
        DINOV2_RATES, "learning rates to choose from, for a batch of 256; they scale with batch_size", above=0
    )
    batch_size: int = setting(1024, "images in a batch", low=1)
    steps: int = setting(12_500, "SGD steps; the learning rate falls to 0 along a cosine", low=1)
    selected_on: Literal["validation", "test"] = setting(
        "validation", "images that the learning rate is chosen on; test, as DINOv2 does, flatters the score"
    )


@dataclasses.dataclass(frozen=True)
class Attentive:
    """Attention pooling with a learned query per head, then a linear layer (AIM's probe); needs pooling=patches."""

    learning_rates: tuple[float, ...] = setting(
        (1e-4, 3e-4, 1e-3, 3e-3), "AdamW's learning rates to choose from", above=0
    )
    weight_decay: float = setting(0.1, "of AdamW, not on the bias", low=0)
    batch_size: int = setting(256, "images in a batch", low=1)
    steps: int = setting(2000, "AdamW steps; the learning rate falls to 0 along a cosine", low=1)
    heads: int = setting(12, "attention heads; they have to divide the features of a patch", low=1)


@dataclasses.dataclass(frozen=True)
class Images:
    """Evaluation of whole images, for `data.task` classification and image_retrieval."""

    pooling: Literal["auto", "cls", "mean", "cls_mean", "qkv", "layers", "patches"] = setting(
        "auto",
        "how an image becomes features: cls: the [CLS] token after the final norm; mean: the mean of the patches; "
        "cls_mean: both; qkv: a training run's own attention pooling; layers: the [CLS] tokens of the last four blocks "
        "and the mean of the patches, from which `linear` makes four sets of features (DINOv2); patches: every patch, "
        "for `attentive`; auto: cls where there is one, else mean",
    )
    crop: Literal["centre", "squash", "aspect"] = setting(
        "centre",
        "centre: the shorter side becomes input_size / crop_fraction, then a central square is cut out; squash: the "
        "whole image becomes a square; aspect: the longer side becomes input_size and the shorter one keeps the aspect",
    )
    crop_fraction: float = setting(0.875, "crop=centre: side of the square by the shorter side", above=0, high=1)
    classifiers: tuple[Literal["knn", "weighted_knn", "logistic", "linear", "attentive"], ...] = setting(
        ("knn", "weighted_knn"), "classifiers to score; the first one gives the headline score"
    )
    metric: Literal["auto", "top1", "mean_per_class"] = setting(
        "auto", "headline score; auto: mean_per_class for pets, flowers102 and aircraft, else top1"
    )
    neighbours: int = setting(20, "knn: k of the majority vote by Euclidean distance", low=1, high=10_000)
    vote_neighbours: tuple[int, ...] = setting((10, 20, 100, 200), "weighted_knn: each k to score (DINO)", low=1)
    vote_temperature: float = setting(0.07, "weighted_knn: T of the weights exp(cosine / T) (DINO)", above=0)
    logistic: Logistic = Logistic()
    linear: Linear = Linear()
    attentive: Attentive = Attentive()
    validation: float = setting(
        0.2,
        "share of each training class to choose penalties and rates on, without an official split",
        above=0,
        high=0.9,
    )
    shots: int | None = setting(None, "train on this many images of each class; none: on all of them only", low=1)
    draws: int = setting(5, "seeded draws of the few-shot images; mean and standard deviation are reported", low=1)
    draw: Literal["random", "first"] = setting(
        "random", "few-shot images: seeded draws, or once the first ones of each class, as in FUNGI's code"
    )
    classes: str = setting(
        "", "file that lists the classes to use (folder or class names), one per line; empty: all", path=True
    )
    test_share: float = setting(
        0.2, "share of each class to test on where a data set has no test split (EuroSAT)", above=0, high=0.9
    )
    cache: str = setting(
        "", "folder that keeps features by what they depend on, and resumes encoding; empty: in memory", path=True
    )
    crop_query: bool = setting(
        True, "image_retrieval: crop queries to their boxes, as the official protocol does; DINO and FUNGI do not"
    )
    renormalise: bool = setting(
        True, "image_retrieval: L2-normalise features after PCA, so that scores are cosines; FUNGI's code does not"
    )
