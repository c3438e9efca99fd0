"""Weights of other projects in, ours out (see `families` for whose)."""

from hummingbird.weights.export import export_weights
from hummingbird.weights.foreign import describe, import_weights, load, load_foreign

__all__ = ["describe", "export_weights", "import_weights", "load", "load_foreign"]
