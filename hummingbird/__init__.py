"""Hummingbird: contextual self-supervised pretraining, and dense retrieval evaluation of any vision encoder.

Example:
  >>> import hummingbird as hb
  >>> encoder = hb.load_encoder("rgb:16")
  >>> config = hb.config.resolve("evaluate", overrides={"data.scenes.query_images": 4})
  >>> config.data.name, encoder.patch_size
  ('scenes', 16)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hummingbird import config, data, decoders, gradients, models, objectives, retrieval, sweep
    from hummingbird.encoder import load_encoder
    from hummingbird.incontext.prompt import Prompt
    from hummingbird.retrieval import evaluate
    from hummingbird.weights.published import list_models

__version__ = "0.1.0"
__all__ = [
    "Prompt",
    "config",
    "data",
    "decoders",
    "evaluate",
    "gradients",
    "list_models",
    "load_encoder",
    "models",
    "objectives",
    "retrieval",
    "sweep",
]

# Loaded on first use: `import hummingbird` stays fast, and retrieval works where a training dependency is missing.
_HOME = {
    "Prompt": "hummingbird.incontext.prompt",
    "evaluate": "hummingbird.retrieval",
    "list_models": "hummingbird.weights.published",
    "load_encoder": "hummingbird.encoder",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in __all__:
        return importlib.import_module(f"hummingbird.{name}")
    raise AttributeError(f"module 'hummingbird' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
