"""The section with predictions: query, prediction, ground truth and errors of each image shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hummingbird.retrieval.report.charts import colour_bar
from hummingbird.retrieval.report.elements import LONGEST, Cell, Grid, flat, photo
from hummingbird.retrieval.report.runs import Group, show
from hummingbird.retrieval.sample_files import Query
from hummingbird.tasks import Score
from hummingbird.tasks.drawing import fit, resize
from hummingbird.tasks.painting import Painter

SEVERAL = 6  # images shown for several encoders


def predictions(group: Group) -> Iterator[Grid]:
    """Yields the predictions of one encoder image by image, or of several side by side, a column each."""
    if not group.shown:
        return
    painter, score = group.painter(), group.scores[0]
    rows: list[list[Cell | None]] = []
    for queries in itertools.islice(group.aligned(), SEVERAL if group.several else None):
        first = next(query for query in queries if query)
        image = photo(first["image"], first["name"])
        if group.several:
            rows.append([image, *(prediction_cell(painter, query, score) if query else None for query in queries)])
            truth = truth_cell(painter, first, "ground truth")
            rows.append([truth, *(error_cell(painter, query) if query else None for query in queries)])
        else:
            prediction = prediction_cell(painter, first, score)
            rows.append([image, prediction, truth_cell(painter, first), error_cell(painter, first)])
    names = [run.name for run in group.shown]
    layout = "Each query is above its ground truth, each prediction above its errors. " if group.several else ""
    yield Grid(
        title="Predictions",
        columns=["query and ground truth", *names]
        if group.several
        else ["query", "prediction", "ground truth", "error"],
        rows=rows,
        caption=layout + painter.caption,
        legend=painter.legend,
        scales=[colour_bar(scale) for scale in painter.scales],
        paired=group.several,
    )


def prediction_cell(painter: Painter, query: Query, score: Score) -> Cell:
    """Returns a painted prediction with the image's own score."""
    unit = f" {score.unit}" if score.unit else ""
    caption = f"{score.name} {show(query['score'], score.digits)}{unit}"
    return flat(painter.paint(fit(query["prediction"], LONGEST, smooth=False)), caption)


def truth_cell(painter: Painter, query: Query, caption: str = "") -> Cell:
    """Returns the painted ground truth."""
    return flat(painter.paint(fit(query["truth"], LONGEST, smooth=False)), caption)


def error_cell(painter: Painter, query: Query) -> Cell:
    """Returns the painted errors with their summary."""
    error, truth = query["error"], query["truth"]
    if error.dtype == bool:
        error = error.astype("uint8")  # which OpenCV can resize
    small = fit(error, LONGEST, smooth=False).astype(query["error"].dtype)
    background = resize(query["image"], *small.shape[:2])
    painted = painter.paint_error(small, fit(truth, LONGEST, smooth=False), background)
    return flat(painted, painter.describe_error(query["error"], truth))
