"""Models: the ViT encoder and what pretraining puts on top of it."""

from hummingbird.models.context import context_attention
from hummingbird.models.vit import ViT, build_vit

__all__ = ["ViT", "build_vit", "context_attention"]
