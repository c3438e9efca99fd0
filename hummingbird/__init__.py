"""Hummingbird: pretraining that attends within and across images, and dense retrieval evaluation of any encoder."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use: `import hummingbird` stays fast and retrieval works where a training dependency is missing.
_MODULES = ("models", "objectives", "retrieval", "data", "sweep")
_NAMES = {"load_encoder": "hummingbird.encoder"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"hummingbird.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'hummingbird' has no attribute {name!r}")
