"""Gradients of frozen encoders as features (FUNGI: "No Train, all Gain", NeurIPS 2024)."""

from hummingbird.gradients.door import Door, of
from hummingbird.gradients.heads import Head, build_head
from hummingbird.gradients.images import Negatives, features, fit_negatives
from hummingbird.gradients.incontext import GradientEncoder, in_context
from hummingbird.gradients.losses import attraction, dino, info_nce, kl_to_uniform
from hummingbird.gradients.pca import Pca, fit_pca

__all__ = [
    "Door",
    "GradientEncoder",
    "Head",
    "Negatives",
    "Pca",
    "attraction",
    "build_head",
    "dino",
    "features",
    "fit_negatives",
    "fit_pca",
    "in_context",
    "info_nce",
    "kl_to_uniform",
    "of",
]
