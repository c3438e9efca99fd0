"""The section on few annotated images: scores over the part of the prompt that is used (Sec. 4.2, Figure 3)."""

import base64
import io
from collections.abc import Iterator
from typing import Any

from hummingbird.retrieval import few
from hummingbird.retrieval.report.runs import Group


def parts(group: Group) -> Iterator[dict[str, Any]]:
    """Curve and table of the runs that scored parts of their prompt (`data.fractions`)."""
    series = {run["name"]: run["metrics"]["fractions"] for run in group.runs if run["metrics"].get("fractions")}
    if not series:
        return
    file = io.BytesIO()
    few.curve(series, group.task).savefig(file, format="svg", metadata={"Date": None})
    several = len(series) > 1
    yield {
        "kind": "parts",
        "title": "Few annotated images",
        "picture": "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode(),
        "heads": ["part of the prompt", "images", few.UNITS[group.task], "deviation", "parts"],
        "blocks": [
            {"name": name if several else "", "rows": few.table(rows, group.task)} for name, rows in series.items()
        ],
        "caption": "Mean and standard deviation over random parts of the prompt; grey dots are single parts.",
    }
