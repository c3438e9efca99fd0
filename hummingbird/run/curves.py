"""Draws WORKDIR/curves.png, a training run at a glance, from its metrics.jsonl."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from etils import epath
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hummingbird.run.files import write_bytes

POINTS = 2000  # at most, per curve; longer ones are thinned out


class Panel(NamedTuple):
    """One plot.

    Attributes:
      title: above the plot.
      names: of metrics; a name that ends in "_" stands for all metrics that start with it.
      percent: show shares in percent.
      logarithmic: use a logarithmic axis if values differ by more than a factor of 30.
    """

    title: str
    names: tuple[str, ...]
    percent: bool = False
    logarithmic: bool = False


class Curve(NamedTuple):
    """Values of a metric over steps."""

    steps: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]


PANELS = (
    Panel("loss", ("loss_", "loss")),
    Panel("top-1, %", ("top1", "classifier_top1"), percent=True),
    Panel("gradient norm", ("gradient_norm",), logarithmic=True),
    Panel("entropy, nats", ("bank_entropy", "pooling_entropy")),
    Panel("bank: cosine to the nearest, its weight", ("bank_similarity", "bank_share")),
    Panel("distance to the target network", ("ema_distance",)),
    Panel("images a second", ("images_per_second",)),
    Panel("share of time, %", ("goodput", "mfu", "data_wait"), percent=True),
    Panel("learning rate", ("learning_rate",)),
)
# Scores of evaluations during training, which may have names: eval_miou, eval_NAME_miou.
SCORES = {
    "miou": "retrieval, mIoU",
    "rmse": "retrieval, RMSE in metres",
    "accuracy": "images, accuracy",
    "map_medium": "image retrieval, mAP",
}


def read(path: epath.Path) -> list[dict[str, float]]:
    """Reads the complete lines of a metrics.jsonl, sorted by step; an empty list if there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((json.loads(line) for line in lines if line.endswith("}")), key=lambda line: line["step"])


def write(workdir: epath.Path) -> bool:
    """Draws curves.png of a run; returns False if it has fewer than two records and so no curve."""
    lines = read(workdir / "metrics.jsonl")
    panels = [(panel, found) for panel in (*score_panels(lines), *PANELS) if (found := curves(panel, lines))]
    if len(lines) < 2 or not panels:
        return False
    content = io.BytesIO()
    figure(panels).savefig(content, format="png", dpi=100)
    write_bytes(workdir / "curves.png", content.getvalue())
    return True


def score_panels(lines: Sequence[Mapping[str, float]]) -> list[Panel]:
    """Returns a plot for each headline score of an evaluation during training, since their units differ.

    Example:
      >>> score_panels([{"step": 1, "eval_knn_accuracy": 40.0, "eval_knn_knn_top1": 40.0}])[0].names
      ('eval_knn_accuracy',)
    """
    names = dict.fromkeys(name for line in lines for name in line)
    found = [(re.fullmatch(rf"eval_(\w+_)?({'|'.join(SCORES)})", name), name) for name in names]
    return [Panel(SCORES[match[2]], (name,)) for match, name in found if match]


def curves(panel: Panel, lines: Sequence[Mapping[str, float]]) -> dict[str, Curve]:
    """Returns {metric: curve} for the metrics of a panel that the records have.

    Args:
      panel: what to plot.
      lines: records of metrics.jsonl.
    """
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
        found[name] = Curve(points[:, 0], points[:, 1] * (100 if panel.percent else 1))
    if "loss" in found and len(found) == 2:  # the other one is the only term of the loss
        del found["loss"]
    return found


def figure(panels: Sequence[tuple[Panel, Mapping[str, Curve]]]) -> Figure:
    """Draws all panels, three in a row."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(
        {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10}
    ):
        drawn = Figure(
            figsize=(4.2 * columns, 2.5 * rows), layout="constrained"
        )  # without pyplot there is nothing to close
        grid = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axes, (panel, found) in zip(grid, panels, strict=False):
            plot(axes, panel, found)
        for i, axes in enumerate(grid):
            axes.set_visible(i < len(panels))
            axes.set_xlabel("step" if i + columns >= len(panels) else "")
    return drawn


def plot(axes: Axes, panel: Panel, found: Mapping[str, Curve]) -> None:
    """Draws one panel. Few points get markers; many get a running mean over the pale raw curve."""
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
