"""Settings of `hummingbird evaluate`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.data import EvaluationData
from hummingbird.config.features import Features
from hummingbird.config.images import Images
from hummingbird.config.schema import setting
from hummingbird.config.sequences import Sequences
from hummingbird.errors import UserError


@dataclasses.dataclass(frozen=True)
class EncoderSettings:
    """How the checkpoint is loaded."""

    network: Literal["online", "target"] = setting("online", "which network of a training checkpoint")
    dtype: Literal["float32", "tf32", "bfloat16"] = setting(
        "float32", "how the encoder computes: float32 in full on every backend, tf32 for faster products, or bfloat16"
    )
    family: str | None = setting(
        None, "project the weights come from (`hummingbird.weights.families` lists them); none: detected"
    )
    features: Literal["tokens", "query", "key", "value"] | None = setting(
        None, "imported encoder: output tokens of a layer, or a part of its attention; none: tokens"
    )
    layers: tuple[int, ...] = setting(
        (), "imported encoder: layers to concatenate, -1 is the last; empty: the last", low=-1000
    )
    norm: bool | None = setting(None, "imported encoder: apply the final layer norm to tokens; none: yes")
    heads: int | None = setting(None, "imported encoder: attention heads; none: inferred", low=1)
    grid: tuple[int, int] | None = setting(
        None, "weights file: rows and columns of its position table; none: a square", low=1
    )
    prefix: str | None = setting(
        None, "weights file that holds several networks: prefix of the one to use, such as state_dict; none: detected"
    )


@dataclasses.dataclass(frozen=True)
class Scann:
    """Settings of the ScaNN index (Table 6)."""

    preset: Literal["auto", "table6", "table6_few"] = setting(
        "auto",
        "what `auto` means for leaves, leaves_to_search and reorder: numbers that grow with the bank, so that at least "
        "95% of the neighbours are found, or those of Table 6: 512, 32, 120 (table6) and 512, 256, 1800 (table6_few)",
    )
    dimensions_per_block: int = setting(4, "dimensions per hashed block (Table 6)", low=1)
    leaves: int | None = setting(None, "partitions of the tree", low=1, none="auto")
    leaves_to_search: int | None = setting(None, "partitions to search", low=1, none="auto")
    reorder: int | None = setting(None, "candidates to re-score exactly", low=1, none="auto")
    anisotropic_threshold: float = setting(
        0.2, "threshold of anisotropic quantisation; our choice, not in the paper", low=0, high=1
    )
    training_sample: int = setting(25_000, "keys that tree and codes are trained on; our choice", low=1)
    autopilot: bool = setting(False, "let ScaNN choose tree and codes from the bank's size")


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The memory bank and the search in it."""

    memory_length: int = setting(10_240_000, "|M|, most entries in the bank (Table 6)", low=1)
    neighbours: int = setting(30, "k, nearest bank entries that vote (Table 6)", low=1, high=10_000)
    temperature: float = setting(0.02, "beta of Eq. 1 (Table 6)", above=0)
    augmentation_epochs: int | None = setting(
        None,
        "augmented passes over the prompt (Tables 6, 7); 0: one pass without augmentation; none: 2, or 0 for depth "
        "(App. A.1), at most 1 with features.gradients",
        low=0,
        high=255,
    )
    augmentation_scale: Literal["image", "input"] = setting(
        "image",
        "what the random scale of augmented prompts is relative to: the image as it is (Table 7), or squashed to the "
        "input size as queries are; they differ much where images are much larger than the input",
    )
    sampling: Literal["salient", "uniform", "all"] = setting(
        "salient", "which patches of an image to keep: by Eq. 5, at random, or all until the bank is full (Fig. 6)"
    )
    key_dtype: Literal["auto", "float32", "bfloat16"] = setting(
        "auto",
        "type of stored keys; auto: float32 up to 512 MiB, in the longest bank of runs that share an encoding, and "
        "always with distance=l2 or standardise, which would magnify rounding",
    )
    bank: str = setting(
        "",
        "folder that keeps the bank: reused if present, else built; with data.fractions, one bank for all subsets in a "
        "subfolder; empty: in memory",
        path=True,
    )
    index: Literal["auto", "exact", "scann", "device"] = setting("auto", "nearest-neighbour search")
    distance: Literal["cosine", "l2", "product"] = setting(
        "cosine",
        "which keys are the nearest; l2: by the distance of unnormalised features, exact search only; product: by the "
        "exact kernel of gradients, comes with features.projection=none",
    )
    standardise: bool = setting(False, "each feature gets mean 0 and variance 1 over the bank; exact search only")
    device_recall: float = setting(
        1.0,
        "index device: expected share of the true neighbours; below 1, jax.lax.approx_max_k finds them, faster on TPUs",
        above=0,
        high=1,
    )
    metric_resolution: Literal["original", "input"] = setting(
        "original", "size at which prediction and ground truth are compared"
    )
    recall_queries: int = setting(1024, "queries on which an approximate index is compared with the exact one", low=0)
    scann: Scann = Scann()

    @property
    def raw_keys(self) -> bool:
        """Whether the bank holds features that are not L2-normalised."""
        return self.distance != "cosine" or self.standardise

    @property
    def stored_dtype(self) -> str:
        """`key_dtype`, with "auto" decided where it does not depend on the size of the bank."""
        unscaled = self.distance == "l2" or self.standardise
        return "float32" if self.key_dtype == "auto" and unscaled else self.key_dtype


@dataclasses.dataclass(frozen=True)
class Depth:
    """Which depths count."""

    low: float = setting(1e-3, "smallest valid depth, metres; 0 is invalid", above=0)
    high: float = setting(10.0, "largest valid depth, metres", above=0)
    eigen_crop: bool = setting(False, "score only Eigen's crop of NYUv2")


@dataclasses.dataclass(frozen=True)
class Report:
    """The HTML report."""

    enabled: bool = setting(True, "write report.html and samples.npz beside metrics.json")
    queries: int = setting(8, "query images shown", low=1, high=64)
    patches: int = setting(3, "query patches per image, shown with their neighbours", low=0, high=16)
    neighbours: int = setting(8, "neighbours shown per patch", low=1, high=64)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """All settings of an evaluation."""

    seed: int = setting(0, "seed of augmentation and sampling", low=0, high=2**31 - 1)
    input_size: int = setting(512, "side that images are resized to, pixels; rounded to the patch size", low=8)
    resize: Literal["squash", "shorter"] = setting(
        "squash",
        "squash: images become squares; shorter: they keep their aspect, with a shorter side of input_size (augmented "
        "prompts are square parts in both)",
    )
    windows: Literal["pad", "slide"] = setting(
        "pad",
        "with resize=shorter, pad: the longer side is padded up to a multiple of a quarter of input_size, so that few "
        "shapes are compiled; slide: squares slide over it by two thirds of their side, their features are averaged",
    )
    batch_size: int = setting(16, "images encoded at a time; does not affect the result", low=1)
    protocol: Literal["paper", "open-hummingbird", "dip", "capi"] = setting(
        "paper",
        "named set of choices that affect the score; dip and capi change the defaults of other settings too "
        "(`hummingbird.config.presets`)",
    )
    data: EvaluationData = EvaluationData()
    encoder: EncoderSettings = EncoderSettings()
    features: Features = Features()
    retrieval: Retrieval = Retrieval()
    images: Images = Images()
    sequence: Sequences = Sequences()
    depth: Depth = Depth()
    report: Report = Report()
    progress: bool = setting(True, "show progress bars with the time left")

    def __post_init__(self) -> None:
        """Refuses combinations that no evaluation could use."""
        if self.depth.low >= self.depth.high:
            raise UserError(f"config key depth.low: {self.depth.low} is not below depth.high {self.depth.high}")
        if self.resize != "squash" and self.protocol != "paper":
            raise UserError(f"config key resize: {self.protocol} squashes images; use protocol=paper")
        if self.protocol == "capi" and self.retrieval.augmentation_epochs:
            raise UserError("config key retrieval.augmentation_epochs: capi does not augment; set it to 0 or none")
        if self.retrieval.raw_keys and self.retrieval.index == "scann" and self.retrieval.distance != "product":
            raise UserError(
                "config key retrieval.index: scann searches L2-normalised keys only; use exact or device with "
                "retrieval.distance=l2 or retrieval.standardise"
            )
        searched, leaves = self.retrieval.scann.leaves_to_search, self.retrieval.scann.leaves
        if searched is not None and leaves is not None and searched > leaves:
            raise UserError(f"config key retrieval.scann.leaves_to_search: {searched} is more than the {leaves} leaves")
