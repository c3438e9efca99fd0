"""The section with features: principal components as colours, and the pooling attention of encoders that have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float, UInt8

from hummingbird.retrieval.report.elements import Cell, Grid, flat, photo
from hummingbird.retrieval.report.runs import Group, Run
from hummingbird.retrieval.sample_files import Query
from hummingbird.tasks.drawing import fit, overlay_heat

SEVERAL = 4  # images shown for several encoders


def features(group: Group) -> Iterator[Grid]:
    """Yields a row per query image: the image, and for each encoder its features and attention."""
    if not group.shown:
        return
    columns: list[tuple[str, dict[str, Cell]]] = []  # heading, and a cell by query name
    shares = []
    for run in group.shown:
        cells, share = feature_cells(run.queries)
        columns.append((run.name if group.several else "features", cells))
        shares.append(f"{100 * share:.0f} %" + (f" ({run.name})" if group.several else ""))
    attention = [(run, attention_cells(run)) for run in group.shown]
    attention = [(run, cells) for run, cells in attention if cells]
    columns += [(f"{run.name}: attention" if group.several else "attention", cells) for run, cells in attention]
    images = [next(query for query in queries if query) for queries in group.aligned()]
    queries = images[: SEVERAL if group.several else None]
    yield Grid(
        title="Patch features and pooling attention" if attention else "Patch features",
        columns=["query", *(heading for heading, _ in columns)],
        rows=[[photo(q["image"]), *(cells.get(q["name"]) for _, cells in columns)] for q in queries],
        caption=caption(shares, bool(attention), group.several),
        dense=len(columns) < 3,
    )


def caption(shares: Sequence[str], attention: bool, several: bool) -> str:
    """Explains the pictures; `shares` is the variance that the components hold, for each encoder."""
    apart = ", fitted for each encoder separately, so that colours do not compare between encoders" if several else ""
    text = (
        "Patch features: their three leading principal components over all images shown, as red, green and blue"
        f"{apart}; they hold {', '.join(shares)} of the variance."
    )
    return text + " Attention: weights of the encoder's attention pooling, brightest at each image's peak." * attention


def feature_cells(queries: Sequence[Query]) -> tuple[dict[str, Cell], float]:
    """Returns the features of each query image as colours, by its name, and the share of the variance shown."""
    coloured, share = principal_colours([np.asarray(query["features"], np.float32) for query in queries])
    sizes = [query["image"].shape[:2] for query in queries]
    cells = {
        query["name"]: flat(colours, stretch=size)
        for query, colours, size in zip(queries, coloured, sizes, strict=True)
    }
    return cells, share


def attention_cells(run: Run) -> dict[str, Cell]:
    """Returns the pooling attention over each query image, by its name; none if the encoder has no attention."""
    cells = {}
    for query in run.queries:
        weights = query["attention"]
        if weights is not None:
            peak = float(weights.max()) * weights.size / max(float(weights.sum()), 1e-12)
            heat = overlay_heat(fit(query["image"], 300, smooth=True), weights)
            cells[query["name"]] = photo(heat, f"peak {peak:.1f} × uniform")
    return cells


def principal_colours(
    features: Sequence[Float[np.ndarray, "_ _ D"]],
) -> tuple[list[UInt8[np.ndarray, "_ _ 3"]], float]:
    """Colours patches by the three leading principal components of all of them: equal colours are similar patches.

    Args:
      features: of each image.

    Returns:
      The components of each image as red, green and blue, stretched between the 1st and 99th percentile. Signs are
      fixed by the largest loading, so that the same features give the same colours. And the share of the variance that
      the three components hold.
    """
    rows = np.concatenate([image.reshape(-1, image.shape[-1]) for image in features]).astype(np.float64)
    rows -= rows.mean(axis=0)
    dim = rows.shape[1]
    kept = min(3, dim)
    variance, axes = scipy.linalg.eigh(rows.T @ rows, subset_by_index=(dim - kept, dim - 1))
    variance, axes = variance[::-1], axes[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(kept)] < 0, -1.0, 1.0)
    scores = rows @ axes
    low, high = np.percentile(scores, (1, 99), axis=0)
    # A component without spread (features with fewer than three directions) would only amplify rounding.
    spread = np.where(high - low > 1e-6 * max(float((high - low).max()), 1e-12), high - low, np.inf)
    unit = np.full((len(rows), 3), 0.5)
    unit[:, :kept] = np.clip((scores - low) / spread, 0, 1)
    painted = np.round(255 * unit).astype(np.uint8)
    ends = np.cumsum([image.shape[0] * image.shape[1] for image in features])[:-1]
    pictures = [
        part.reshape(*image.shape[:2], 3) for part, image in zip(np.split(painted, ends), features, strict=True)
    ]
    total = float((rows**2).sum())
    return pictures, float(variance.sum() / total) if total > 0 else 0.0
