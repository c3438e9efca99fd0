"""Sweep files: the runs of a sweep, written with a few helpers that make lists of overrides.

    from hummingbird.sweep import Sweep, cross, grid

    def get_sweep(variant=""):
        return Sweep("pretrain", grid({"context.weight": [0.0, 0.2, 0.5], "seed": [0, 1, 2]}),
                     evaluate={"scenes": "evaluate/scenes"})

A point is a flat dict from config key to value. Keys that start with "evaluate." belong to the evaluations that the
sweep names: "evaluate.retrieval.neighbours" to all of them, "evaluate.voc.data.root" to the one called voc; keys that
start with "finetune." belong to its decoders in the same way. Some keys are not settings: "name" (the run's name in
tables and folders), "stages" (the evaluations and decoders that the run consists of; without it, all) and, unless the
sweep pretrains, "checkpoint".
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from hummingbird.errors import UserError
from hummingbird.sweep.figures import Figure, PaperTable

T = TypeVar("T")
Value: TypeAlias = "bool | int | float | str | np.generic | np.ndarray | Sequence[Value] | None"
Point: TypeAlias = dict[str, Value]
Axes: TypeAlias = Mapping[str, Sequence[Value] | np.ndarray]
Draw: TypeAlias = Callable[[np.random.Generator], Value]
JOBS = ("pretrain", "evaluate", "finetune")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
      job: kind of the command's --config: "pretrain", "evaluate" or "finetune".
      points: overrides of each run.
      evaluate: configs, files or shipped ones, of evaluations by name: those that follow each pretraining or, in a
        sweep without pretraining, those of each encoder; the command then takes no --config.
      finetune: the same for decoders: each is trained on the encoder and scored.
      checkpoint: the encoder of a sweep without pretraining, unless the command gives one.
      objective: metric to sort runs by, such as "voc.miou"; empty: the first evaluation's headline score.
      maximise: whether larger is better; None: known from the metric.
      repeat: keys that only repeat a setting; tables and plots average over them.
      published: scores to show beside those measured: {name of a run: {"voc.miou": 70.5}}. Names that no run has
        become rows of their own.
      compare: pairs of named runs; the page shows the first minus the second over runs that repeat the same settings,
        with a 95% confidence interval.
      figures, tables: of the paper; the page shows them first, with both measured and published numbers.
    """

    job: str
    points: Sequence[Point]
    evaluate: Mapping[str, str] = dataclasses.field(default_factory=dict)
    finetune: Mapping[str, str] = dataclasses.field(default_factory=dict)
    checkpoint: str | None = None
    objective: str = ""
    maximise: bool | None = None
    repeat: tuple[str, ...] = ("seed",)
    published: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    compare: Sequence[tuple[str, str]] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[PaperTable] = ()

    def __post_init__(self) -> None:
        if self.job not in JOBS:
            raise UserError(f"sweep: job {self.job!r} is not known, expected one of {', '.join(JOBS)}")
        twice = self.evaluate.keys() & self.finetune.keys()
        if twice:
            raise UserError(f"sweep: an evaluation and a decoder are both called {shown(twice)}; rename one")
        names = {str(point["name"]) for point in self.points if "name" in point}
        for name in (name for pair in self.compare for name in pair):
            if name not in names:
                raise UserError(f"sweep: compare names {name!r}, which no run is called; the names: {shown(names)}")
        for table in self.tables:
            for name, entries in table.rows.items():
                if len(entries) != len(table.heads):
                    raise UserError(
                        f"sweep: row {name!r} of the table {table.title!r} has {len(entries)} entries for "
                        f"{len(table.heads)} columns"
                    )


def shown(names: Collection[str]) -> str:
    """Lists names for an error."""
    return ", ".join(sorted(names)) or "none"


def grid(axes: Axes) -> list[Point]:
    """Returns every combination of the values; the last key varies fastest.

    Example:
      >>> grid({"seed": [0, 1], "pooling": ["qk"]})
      [{'seed': 0, 'pooling': 'qk'}, {'seed': 1, 'pooling': 'qk'}]
    """
    columns = _columns("grid", axes)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*columns)]


def zipped(axes: Axes) -> list[Point]:
    """Combines the first values of all keys, the second values, and so on.

    Example:
      >>> zipped({"batch_size": [256, 512], "optimizer.learning_rate": [0.1, 0.2]})[1]
      {'batch_size': 512, 'optimizer.learning_rate': 0.2}
    """
    columns = _columns("zipped", axes)
    lengths = {key: len(values) for key, values in zip(axes, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        raise UserError(f"sweep: zipped needs as many values for each key, got {lengths}")
    return [dict(zip(axes, values, strict=True)) for values in zip(*columns, strict=True)]


def chain(*parts: Sequence[Point]) -> list[Point]:
    """Concatenates lists of points."""
    return [dict(point) for part in parts for point in part]


def cross(*parts: Sequence[Point]) -> list[Point]:
    """Combines every point of each list with every point of the others; names are joined.

    Example:
      >>> cross([{"name": "a"}, {"name": "b"}], grid({"seed": [0]}))
      [{'name': 'a', 'seed': 0}, {'name': 'b', 'seed': 0}]
    """
    points = []
    for combination in itertools.product(*parts):
        merged: Point = {}
        for point in combination:
            twice = sorted(set(merged) & set(point) - {"name"})
            if twice:
                raise UserError(f"sweep: cross sets {', '.join(twice)} twice in one run")
            names = [str(p["name"]) for p in (merged, point) if "name" in p]
            merged |= point
            if names:
                merged["name"] = " ".join(names)
        points.append(merged)
    return points


def draw(count: int, axes: Mapping[str, Draw], seed: int = 0) -> list[Point]:
    """Draws random points.

    Args:
      count: number of points; with a larger count the first ones stay the same.
      axes: how to draw each config key: `uniform`, `log_uniform`, `integers` or `choice`.
      seed: decides the points.
    """
    if not axes:
        raise UserError("sweep: draw needs at least one key")
    return [
        {key: axis(np.random.default_rng([seed, i, j])) for j, (key, axis) in enumerate(axes.items())}
        for i in range(count)
    ]


def uniform(low: float, high: float) -> Callable[[np.random.Generator], float]:
    """Draws a number in [low, high), to three significant digits."""
    _check_range("uniform", low, high, -math.inf)
    return lambda rng: _round(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Callable[[np.random.Generator], float]:
    """Draws a number in [low, high) with a uniform logarithm, to three significant digits; for rates, temperatures."""
    _check_range("log_uniform", low, high, 0)
    return lambda rng: _round(math.exp(rng.uniform(math.log(low), math.log(high))))


def integers(low: int, high: int) -> Callable[[np.random.Generator], int]:
    """Draws a whole number in [low, high]."""
    _check_range("integers", low, high + 1, -math.inf)
    return lambda rng: int(rng.integers(low, high + 1))


def choice(values: Sequence[T]) -> Callable[[np.random.Generator], T]:
    """Draws one of the values."""
    if not len(values):
        raise UserError("sweep: choice needs at least one value")
    return lambda rng: values[int(rng.integers(len(values)))]


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _columns(name: str, axes: Axes) -> list[list[Value]]:
    """Returns the values of each key; UserError if they are not a list."""
    columns = []
    for key, values in axes.items():
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise UserError(f"sweep: {name} needs a list of values for {key}, got {values!r}")
        columns.append(list(listed))
    return columns


def _check_range(name: str, low: float, high: float, above: float) -> None:
    if not (low < high and low > above and math.isfinite(high)):
        raise UserError(f"sweep: {name}({low}, {high}) is not a range")


def load_sweep(path: str) -> Sweep:
    """Loads the sweep that `get_sweep(variant="")` of a file returns.

    Args:
      path: file, or name of a shipped one ("sweeps/table5"), with ":variant" if it takes one.

    Raises:
      UserError: missing or broken file, unknown variant, no runs.
    """
    from hummingbird.config.files import call  # workers read no sweep file

    file, sweep = call(path, "sweeps", "get_sweep")
    if not isinstance(sweep, Sweep):
        raise UserError(
            f"sweep file {file}: get_sweep returned {type(sweep).__name__}, expected a hummingbird.sweep.Sweep"
        )
    if not sweep.points:
        raise UserError(f"sweep file {file} has no runs; give each swept key at least one value")
    return sweep
