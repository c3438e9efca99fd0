"""Sections of evaluations of whole images: scores of the classifiers, nearest images, and confused classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hummingbird.retrieval.report.elements import Cell, FactRow, Facts, Grid, flat, photo
from hummingbird.retrieval.report.runs import Group, Run, finite, show
from hummingbird.retrieval.sample_files import ImageNeighbour, ImageQuery
from hummingbird.tasks.drawing import Picture, paint_values

SCORES = {"top1": "top-1", "mean_per_class": "mean per class", "top5": "top-5"}
SEVERAL = 4  # query images shown for several encoders
PAIRS = 20  # confused classes listed
RIGHT, WRONG = "✓", "✗"
GREEN, RED = (0, 158, 115), (213, 94, 0)
BORDER = 4  # pixels around pictures of right and wrong neighbours


def classifiers(group: Group) -> Iterator[Facts]:
    """Yields a table of the classifiers' scores, a block for each run."""
    tables = [(run.name if len(group.runs) > 1 else "classifier", classifier_rows(run)) for run in group.runs]
    tables = [(name, rows) for name, rows in tables if rows]
    if tables:
        yield Facts("Scores by classifier", list(SCORES.values()), tables)


def classifier_rows(run: Run) -> list[FactRow]:
    """Returns a row for each classifier with its scores in percent, few-shot ones with their spread over draws."""
    metrics = run.result["metrics"]
    stems = dict.fromkeys(key.removesuffix("_top1") for key in metrics if key.endswith("_top1"))
    rows = []
    for stem in stems:
        cells = []
        for score in SCORES:
            value = finite(metrics.get(f"{stem}_{score}"))
            spread = finite(metrics.get(f"{stem}_{score}_std"))
            cells.append(show(value, 2) + (f" ± {spread:.2f}" if spread is not None else ""))
        rows.append(FactRow(stem.replace("_", " "), cells, 1))
    return rows


def nearest_images(group: Group) -> Iterator[Grid]:
    """Yields query images with their nearest images."""
    shown = [run for run in group.runs if run.images]
    for run in shown:
        assert run.images is not None
        queries = run.images["queries"][: SEVERAL if len(shown) > 1 else None]
        most = max((len(query["neighbours"]) for query in queries), default=0)
        if not queries:
            continue
        classes = bool(run.images["classes"])
        yield Grid(
            title="Nearest images" if len(shown) == 1 else f"Nearest images: {run.name}",
            columns=["query", *(str(i + 1) for i in range(most))],
            rows=[query_row(query, most) for query in queries],
            caption="Query images and their nearest training images, with the cosine similarity. Below a query: its "
            f"class, and the predicted one after {WRONG} if it is another. Neighbours of the same class are framed in "
            "green, others in orange."
            if classes
            else "Queries with their average precision (medium), and the nearest images: relevant ones are framed in "
            "green, irrelevant ones in orange; images that do not count have no frame.",
        )


def query_row(query: ImageQuery, most: int) -> list[Cell | None]:
    """Returns the cells of a query image and its neighbours."""
    right = query["right"]
    caption = query["prediction"] if right is None else f"{RIGHT} {query['truth']}"
    if right is False:
        caption = f"{query['truth']} {WRONG} {query['prediction']}"
    cells: list[Cell | None] = [photo(query["image"], caption)]
    cells += [neighbour_cell(neighbour) for neighbour in query["neighbours"]]
    return cells + [None] * (most + 1 - len(cells))


def neighbour_cell(neighbour: ImageNeighbour) -> Cell:
    """Returns a neighbour, framed by whether it is right."""
    return photo(framed(neighbour["image"], neighbour["right"]), f"{neighbour['similarity']:.2f} {neighbour['label']}")


def framed(image: Picture, right: bool | None) -> Picture:
    """Returns a picture with a border: green if right, orange if wrong."""
    if right is None:
        return image
    bordered = np.empty((image.shape[0] + 2 * BORDER, image.shape[1] + 2 * BORDER, 3), np.uint8)
    bordered[:] = GREEN if right else RED
    bordered[BORDER:-BORDER, BORDER:-BORDER] = image
    return bordered


def confusion(group: Group) -> Iterator[Grid | Facts]:
    """Yields the confusion matrix of each run as a picture, and the classes that are confused most often."""
    runs = [(run, run.images) for run in group.runs if run.images and run.images["confusion"] is not None]
    if not runs:
        return
    cells, tables = [], []
    for run, images in runs:
        counts, classes = np.asarray(images["confusion"]), images["classes"]
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        cells.append(flat(matrix(shares), run.name if len(runs) > 1 else f"{len(classes)} x {len(classes)} classes"))
        tables.append((run.name if len(runs) > 1 else "class, taken for", confused(counts, classes)))
    yield Grid(
        title="Confusion matrix",
        columns=[""] * len(cells) if len(cells) > 1 else ["", ""],
        rows=[[*cells] if len(cells) > 1 else [cells[0], None]],
        caption="Rows are true classes, columns predicted ones, in the order of the class ids; the darker, the larger "
        "the share of the row, up to the largest one.",
    )
    if any(rows for _, rows in tables):
        yield Facts("Most confused classes", ["images", "of the class"], tables)


def matrix(shares: np.ndarray) -> Picture:
    """Paints shares [C, C] up to the largest one, with square cells of several pixels for few classes."""
    side = max(1, 360 // len(shares))
    return paint_values(shares, 0, float(shares.max()), "Blues").repeat(side, axis=0).repeat(side, axis=1)


def confused(counts: np.ndarray, classes: list[str]) -> list[FactRow]:
    """Returns the pairs of different classes with most images."""
    apart = counts.copy()
    np.fill_diagonal(apart, 0)
    totals = counts.sum(axis=1)
    rows = []
    for flat_index in np.argsort(-apart, axis=None, kind="stable")[:PAIRS]:
        truth, predicted = divmod(int(flat_index), len(counts))
        if apart[truth, predicted]:
            share = 100 * apart[truth, predicted] / totals[truth]
            cells = [str(apart[truth, predicted]), f"{share:.0f} %"]
            rows.append(FactRow(f"{classes[truth]} → {classes[predicted]}", cells, 1))
    return rows
