"""What a sweep file says: which runs there are, written with a few helpers that make lists of override dicts.

    from hummingbird.sweep import Sweep, cross, grid

    def get_sweep(variant=""):
        return Sweep("pretrain", grid({"context.weight": [0.0, 0.2, 0.5], "seed": [0, 1, 2]}),
                     evaluate={"scenes": "configs/evaluate/scenes.py"})

A point is a flat dict from config key to value. Keys that begin with "evaluate." belong to the evaluations that follow
a pretraining: "evaluate.retrieval.neighbours" to all of them, "evaluate.voc.data.root" to the one called voc. Two more
keys are no settings: "name" (what tables and folders call the run) and, in evaluation sweeps, "checkpoint".
"""

import dataclasses
import importlib.util
import inspect
import itertools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hummingbird.errors import UserError

if TYPE_CHECKING:  # NumPy is loaded by `draw` alone: workers begin without it
    import numpy as np

Point = dict[str, Any]
JOBS = ("pretrain", "evaluate")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
      job: "pretrain" or "evaluate": what the command's --config is for.
      points: one override dict for each run.
      evaluate: after each pretraining, the evaluations by name, each a config file.
      checkpoint: the encoder of an evaluation sweep, if the command gives none.
      objective: the metric that runs are sorted by, such as "voc.miou"; empty: the first evaluation's headline number.
      maximise: whether larger is better; None: known from the metric.
      repeat: keys that only repeat a setting; tables and plots average over them.
    """

    job: str
    points: Sequence[Point]
    evaluate: Mapping[str, str] = dataclasses.field(default_factory=dict)
    checkpoint: str | None = None
    objective: str = ""
    maximise: bool | None = None
    repeat: tuple[str, ...] = ("seed",)

    def __post_init__(self):
        if self.job not in JOBS:
            raise UserError(f"sweep: job {self.job!r} is not known, expected one of {', '.join(JOBS)}")


def grid(axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the values; the last key varies fastest."""
    _check_axes("grid", axes)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def zipped(axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """The first values together, the second values together, and so on."""
    _check_axes("zipped", axes)
    lengths = {key: len(values) for key, values in axes.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"sweep: zipped needs as many values for each key, got {lengths}")
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def chain(*parts: Sequence[Point]) -> list[Point]:
    """One list of points after the other."""
    return [dict(point) for part in parts for point in part]


def cross(*parts: Sequence[Point]) -> list[Point]:
    """Every point of the first with every point of the second, and so on; a name joins the names."""
    points = []
    for combination in itertools.product(*parts):
        merged: Point = {}
        for point in combination:
            twice = sorted(set(merged) & set(point) - {"name"})
            if twice:
                raise UserError(f"sweep: cross sets {', '.join(twice)} twice in one run")
            names = [p["name"] for p in (merged, point) if "name" in p]
            merged |= point
            if names:
                merged["name"] = " ".join(names)
        points.append(merged)
    return points


def draw(count: int, axes: Mapping[str, Callable[["np.random.Generator"], Any]], seed: int = 0) -> list[Point]:
    """`count` random points; the same seed gives the same points, and more of them when `count` grows.

    Args:
      axes: config key -> how to draw it: `uniform`, `log_uniform`, `integers` or `choice`.
    """
    import numpy as np

    if not axes:
        raise UserError("sweep: draw needs at least one key")
    return [
        {key: axis(np.random.default_rng([seed, i, j])) for j, (key, axis) in enumerate(axes.items())}
        for i in range(count)
    ]


def uniform(low: float, high: float) -> Callable[["np.random.Generator"], float]:
    """A number in [low, high), three significant digits."""
    _check_range("uniform", low, high, -math.inf)
    return lambda rng: _round(rng.uniform(low, high))


def log_uniform(low: float, high: float) -> Callable[["np.random.Generator"], float]:
    """A number in [low, high) whose logarithm is uniform, three significant digits; for rates and temperatures."""
    _check_range("log_uniform", low, high, 0)
    return lambda rng: _round(math.exp(rng.uniform(math.log(low), math.log(high))))


def integers(low: int, high: int) -> Callable[["np.random.Generator"], int]:
    """A whole number in [low, high]."""
    _check_range("integers", low, high + 1, -math.inf)
    return lambda rng: int(rng.integers(low, high + 1))


def choice(values: Sequence[Any]) -> Callable[["np.random.Generator"], Any]:
    """One of the values."""
    if not len(values):
        raise UserError("sweep: choice needs at least one value")
    return lambda rng: values[int(rng.integers(len(values)))]


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _check_axes(name: str, axes: Mapping[str, Sequence[Any]]) -> None:
    for key, values in axes.items():
        if isinstance(values, str) or not (isinstance(values, Sequence) or hasattr(values, "__array__")):
            raise UserError(f"sweep: {name} needs a list of values for {key}, got {values!r}")


def _check_range(name: str, low: float, high: float, above: float) -> None:
    if not (low < high and low > above and math.isfinite(high)):
        raise UserError(f"sweep: {name}({low}, {high}) is no range")


def load_sweep(path: str) -> Sweep:
    """The sweep that a file (`FILE` or `FILE:variant`) declares in `get_sweep(variant="")`.

    Raises:
      UserError: missing or broken file, unknown variant, no runs.
    """
    name, _, variant = path.partition(".py:")
    file = pathlib.Path(name + ".py" if variant else path)
    if not file.is_file():
        raise UserError(f"sweep file {file} does not exist; see configs/sweeps/ for those that do")
    specification = importlib.util.spec_from_file_location(f"hummingbird_sweep_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise UserError(f"sweep file {file} is no Python file")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        get_sweep = getattr(module, "get_sweep", None)
        if get_sweep is None:
            raise UserError(f"sweep file {file} has no function get_sweep(variant='')")
        if variant and not inspect.signature(get_sweep).parameters:
            raise UserError(f"sweep file {file} takes no variant, remove ':{variant}'")
        sweep = get_sweep(variant) if variant else get_sweep()
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"sweep file {file} has no variant {error}; its docstring lists them") from error
    except Exception as error:  # the file is the user's code: whatever it raises is theirs to mend
        raise UserError(f"sweep file {file} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(sweep, Sweep):
        raise UserError(
            f"sweep file {file}: get_sweep returned {type(sweep).__name__}, expected a hummingbird.sweep.Sweep"
        )
    if not sweep.points:
        raise UserError(f"sweep file {file} has no runs; give each swept key at least one value")
    return sweep
