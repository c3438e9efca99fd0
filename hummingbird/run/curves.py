"""WORKDIR/curves.png: a training run at a glance, drawn from its metrics.jsonl."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hummingbird.run.files import write_bytes

POINTS = 2000  # of a curve at most; longer ones are thinned out


class Panel(NamedTuple):
    """One plot. `names` of metrics, or beginnings of names that end in _; `percent`: shares are told in percent."""

    title: str
    names: tuple[str, ...]
    percent: bool = False
    logarithmic: bool = False


PANELS = (
    Panel("loss", ("loss_", "loss")),
    Panel("top-1, %", ("top1", "classifier_top1"), percent=True),
    Panel("gradient norm", ("gradient_norm",), logarithmic=True),
    Panel("entropy, nats", ("bank_entropy", "pooling_entropy")),
    Panel("bank: cosine to the nearest, its weight", ("bank_similarity", "bank_share")),
    Panel("bank: age, steps", ("bank_age",)),
    Panel("distance to the target network", ("ema_distance",)),
    Panel("images a second", ("images_per_second",)),
    Panel("time well spent, %", ("goodput", "mfu", "data_wait"), percent=True),
    Panel("learning rate", ("learning_rate",)),
)
# What retrieval inside the run measured: one plot for each, as the units differ.
SCORES = {"eval_miou": "retrieval, mIoU", "eval_rmse": "retrieval, RMSE in metres"}
# These come with the names of their own; a plot of a single curve needs no legend.
PANELS_OF_SCORES = tuple(Panel(title, (name,)) for name, title in SCORES.items())


def read(path: epath.Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl, by step."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((json.loads(line) for line in lines if line.endswith("}")), key=lambda line: line["step"])


def write(workdir: epath.Path) -> bool:
    """Draws curves.png of a run; False if it has no two lines to draw a curve through."""
    lines = read(workdir / "metrics.jsonl")
    panels = [(panel, found) for panel in PANELS_OF_SCORES + PANELS if (found := curves(panel, lines))]
    if len(lines) < 2 or not panels:
        return False
    content = io.BytesIO()
    figure(panels).savefig(content, format="png", dpi=100)
    write_bytes(workdir / "curves.png", content.getvalue())
    return True


def curves(panel: Panel, lines: Sequence[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{metric: (steps, values)} of those of a panel that the lines have."""
    every = {name for line in lines for name in line}
    chosen = [
        name
        for wanted in panel.names
        for name in sorted(every)
        if name == wanted or (wanted.endswith("_") and name.startswith(wanted))
    ]
    found = {}
    for name in dict.fromkeys(chosen):
        points = np.array([(line["step"], line[name]) for line in lines if name in line], np.float64)
        points = points[:: -(-len(points) // POINTS)]
        found[name] = (points[:, 0], points[:, 1] * (100 if panel.percent else 1))
    if "loss" in found and len(found) == 2:  # the only part of the loss, up to its weight
        del found["loss"]
    return found


def figure(panels: Sequence[tuple[Panel, dict[str, tuple[np.ndarray, np.ndarray]]]]) -> Figure:
    """All panels, three in a row."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    style: Any = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10}
    with matplotlib.rc_context(style):
        drawn = Figure(figsize=(4.2 * columns, 2.5 * rows), layout="constrained")  # not of pyplot: nothing to close
        grid = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axes, (panel, found) in zip(grid, panels, strict=False):
            plot(axes, panel, found)
        for i, axes in enumerate(grid):
            axes.set_visible(i < len(panels))
            axes.set_xlabel("step" if i + columns >= len(panels) else "")
    return drawn


def plot(axes: Axes, panel: Panel, found: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """One panel. Few points are marked; where there are many, the pale raw curve has a running mean over it."""
    for name, (steps, values) in found.items():
        marker = "." if len(steps) <= 30 else None
        width = len(steps) // 50
        (line,) = axes.plot(steps, values, marker=marker, linewidth=1.3, alpha=0.3 if width > 1 else 1.0)
        if width > 1:
            smooth = np.convolve(values, np.ones(width) / width, "valid")
            offset = (width - 1) // 2
            axes.plot(steps[offset : offset + len(smooth)], smooth, color=line.get_color(), linewidth=1.5)
        line.set_label(name)
    axes.set_title(panel.title, loc="left")
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    values = np.concatenate([values for _, values in found.values()])
    if panel.logarithmic and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    if len(found) > 1:
        for handle in (legend := axes.legend(frameon=False, fontsize=8)).get_lines():
            handle.set_alpha(1.0)
        legend.set_in_layout(False)
