"""Sweeps: many pretrainings or evaluations from one file of overrides, and one table of what came out."""

from typing import Any

from hummingbird.sweep.evaluations import EVALUATIONS
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

__all__ = [
    "EVALUATIONS",
    "Sweep",
    "chain",
    "choice",
    "cross",
    "draw",
    "grid",
    "integers",
    "log_uniform",
    "run",
    "uniform",
    "zipped",
]


def run(*arguments: Any, **named: Any) -> int:
    """Runs a sweep; see `hummingbird.sweep.runner.run`."""
    # Loaded here, so that sweep files and workers do not wait for the plots.
    from hummingbird.sweep.runner import run as run_sweep

    return run_sweep(*arguments, **named)
