"""Sweeps: many pretrainings, evaluations or decoders from one file of overrides, and one table of their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hummingbird.sweep.evaluations import EVALUATIONS, paper_scores
from hummingbird.sweep.figures import Curve, Figure, PaperTable, Pick
from hummingbird.sweep.spec import (
    Sweep,
    chain,
    choice,
    cross,
    draw,
    grid,
    integers,
    log_uniform,
    uniform,
    zipped,
)

if TYPE_CHECKING:
    from hummingbird.sweep.runner import run

__all__ = [
    "EVALUATIONS",
    "Curve",
    "Figure",
    "PaperTable",
    "Pick",
    "Sweep",
    "chain",
    "choice",
    "cross",
    "draw",
    "grid",
    "integers",
    "log_uniform",
    "paper_scores",
    "run",
    "uniform",
    "zipped",
]


def __getattr__(name: str) -> Callable[..., int]:
    """Loads `run` when it is used, so that sweep files and workers do not wait for tables and launchers."""
    if name != "run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hummingbird.sweep.runner import run

    return run
