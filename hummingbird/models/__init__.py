"""Models: the ViT encoder and what pretraining puts on top of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hummingbird.models.context import context_attention
    from hummingbird.models.vit import ViT, build_vit

__all__ = ["ViT", "build_vit", "context_attention"]

# Imported on first use: `models.frozen` needs neither Flax nor the pretraining network.
_NAMES = {"ViT": "vit", "build_vit": "vit", "context_attention": "context"}


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(importlib.import_module(f"hummingbird.models.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'hummingbird.models' has no attribute {name!r}")
