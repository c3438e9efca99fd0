"""Settings of single objectives of `hummingbird pretrain`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.schema import setting

# Objectives that learn from a teacher's prototypes, which warm up.
DISTILLED = ("dino", "ibot", "dinov2")
# Objectives that replace patches by a mask token, which the encoder then has.
MASKED = ("ibot", "dinov2", "maskfeat")


@dataclasses.dataclass(frozen=True)
class Dino:
    """Self-distillation (Caron et al. 2021); dino, ibot and dinov2 share these. The defaults are DINO's."""

    hidden_dim: int = setting(2048, "width of the two hidden layers of the head", low=1)
    bottleneck_dim: int = setting(256, "width of the normalised vectors that are compared with the prototypes", low=1)
    prototypes: int = setting(65_536, "K, outputs of the head", low=2)
    student_temperature: float = setting(0.1, "tau_s of Eq. 1", above=0)
    teacher_temperature: float = setting(0.07, "tau_t after its warm-up", above=0)
    warmup_teacher_temperature: float = setting(0.04, "tau_t at the first step", above=0)
    warmup_epochs: float = setting(30.0, "linear warm-up of tau_t, epochs", low=0)
    frozen_epochs: float = setting(1.0, "epochs during which the prototypes stay as they are", low=0)
    centring: Literal["centre", "sinkhorn"] = setting(
        "centre", "what keeps the teacher from collapsing: a running centre (Eq. 4), or Sinkhorn-Knopp (DINOv2)"
    )
    centre_momentum: float = setting(0.9, "m of Eq. 4", low=0, high=1)


@dataclasses.dataclass(frozen=True)
class Ibot:
    """Masked patches (Zhou et al. 2022); ibot and dinov2 share these, besides `dino`. The defaults are iBOT's."""

    weight: float = setting(1.0, "weight of the loss of masked patches (Eq. 3)", low=0)
    separate_head: bool = setting(False, "patches have a head of their own (DINOv2)")
    mask_probability: float = setting(0.5, "share of the global views that are masked", low=0, high=1)
    mask_ratio: tuple[float, float] = setting((0.1, 0.5), "range of the share of masked patches", low=0, high=1)
    koleo_weight: float = setting(0.1, "weight of KoLeo, for dinov2", low=0)
    chunk: int = setting(
        64, "masked patches of a view that pass the head at a time; only memory", low=1, resumable=True
    )


@dataclasses.dataclass(frozen=True)
class Mae:
    """Masked autoencoders (He et al. 2022)."""

    mask_ratio: float = setting(0.75, "share of the patches that the encoder does not see", above=0, high=1)
    decoder_dim: int = setting(512, "width of the decoder", low=8)
    decoder_depth: int = setting(8, "blocks of the decoder", low=1)
    decoder_heads: int = setting(16, "attention heads of the decoder", low=1)
    normalise_pixels: bool = setting(True, "targets are normalised by the mean and deviation of their patch")


@dataclasses.dataclass(frozen=True)
class MaskFeat:
    """Masked feature prediction (Wei et al. 2022): histograms of oriented gradients."""

    mask_ratio: float = setting(0.4, "share of the patches that are masked, in blocks", above=0, high=1)
    bins: int = setting(9, "orientations of a histogram", low=2)
    cell: int = setting(8, "side of a cell with one histogram, pixels; divides the patch size", low=1)


@dataclasses.dataclass(frozen=True)
class Loca:
    """Location-aware training (Caron et al. 2022): positions and clusters of the patches of query crops."""

    queries: int = setting(10, "query crops per image", low=1)
    query_size: int = setting(96, "side of a query crop, pixels", low=1)
    query_area: tuple[float, float] = setting(
        (0.05, 0.32), "area of a query, as a fraction of the view", above=0, high=1
    )
    mask_ratio: float = setting(0.8, "share of the reference patches that a query does not see", low=0, high=1)
    prototypes: int = setting(4096, "clusters of patches", low=2)
    cluster_weight: float = setting(1.0, "weight of the loss of clusters", low=0)
    student_temperature: float = setting(0.1, "temperature of the predicted clusters", above=0)
    teacher_temperature: float = setting(0.05, "temperature of Sinkhorn's assignment", above=0)


@dataclasses.dataclass(frozen=True)
class SimSiam:
    """SimSiam (Chen and He 2021); the other widths are those of `heads`."""

    bottleneck_dim: int = setting(512, "hidden width of the predictor", low=1)


@dataclasses.dataclass(frozen=True)
class DenseCL:
    """DenseCL (Wang et al. 2021). The defaults are the paper's."""

    queue_length: int = setting(65_536, "keys in each of the two queues; a multiple of batch_size", low=1)
    grid: int = setting(7, "S, places along a side of a view (Sec. 3.3); divides the patches along a side", low=1)
    weight: float = setting(0.5, "lambda of Eq. 3, weight of the dense loss", low=0, high=1)
