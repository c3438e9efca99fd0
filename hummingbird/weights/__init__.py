"""Weights of other projects in, ours out; `families` lists the projects."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hummingbird.weights.export import export_weights
    from hummingbird.weights.foreign import describe, import_weights, load, load_foreign
    from hummingbird.weights.sequences import load_sequence_model

__all__ = ["describe", "export_weights", "import_weights", "load", "load_foreign", "load_sequence_model"]

# Imported on first use: `weights.options` needs neither Flax nor the readers of files.
_MODULES = {"describe": "foreign", "export_weights": "export", "import_weights": "foreign", "load": "foreign"}
_MODULES |= {"load_foreign": "foreign", "load_sequence_model": "sequences"}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"hummingbird.weights.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'hummingbird.weights' has no attribute {name!r}")
