"""Gradients of frozen encoders as features (FUNGI: "No Train, all Gain", NeurIPS 2024)."""

from hummingbird.gradients.heads import Head, build_head
from hummingbird.gradients.images import Negatives, features, fit_negatives
from hummingbird.gradients.losses import dino, info_nce, kl_to_uniform

__all__ = ["Head", "Negatives", "build_head", "dino", "features", "fit_negatives", "info_nce", "kl_to_uniform"]
