"""The report: one self-contained HTML file that shows what an evaluation measured and what it looks like.

`write_report` shows one evaluation, `write_comparison` several side by side; both are made of the same sections (see
`sections.py`), each a function of the list of runs. A run is {"name": str, "metrics": what metrics.json holds,
"samples": what `evaluate` kept of a few queries, or None}.
"""

import os
from collections.abc import Iterable
from typing import Any

import jinja2

from hummingbird.errors import UserError
from hummingbird.retrieval.report import sections
from hummingbird.retrieval.report.runs import data_name, group_runs
from hummingbird.run.files import write_text
from hummingbird.tasks import find_kind

Run = dict[str, Any]


def write_report(path: str | os.PathLike, metrics: dict, samples: dict | None = None) -> None:
    """Writes the report of one evaluation.

    Args:
      path: the HTML file; replaced as a whole, never half written.
      metrics: the content of metrics.json.
      samples: arrays of the shown queries (`hummingbird.retrieval.samples`), or None for numbers only.
    """
    encoder = str(metrics.get("encoder", {}).get("name", "encoder"))
    run = {"name": encoder, "metrics": metrics, "samples": samples}
    title = f"{find_kind(metrics['task']).title} on {data_name(metrics)}"
    _write(path, title=title, subtitle=f"dense nearest-neighbour retrieval, encoder {encoder}, frozen", runs=[run])


def write_comparison(
    path: str | os.PathLike,
    runs: list[Run],
    title: str = "Dense nearest-neighbour retrieval",
    notes: Iterable[str] = (),
) -> None:
    """Writes one report of several evaluations: encoders side by side wherever task and data set are the same.

    Args:
      path: the HTML file; replaced as a whole, never half written.
      runs: {"name", "metrics", "samples"} each; a name may come once for each task and data set.
      title: the heading.
      notes: paragraphs under the heading.
    """
    if not runs:
        raise UserError(f"{path}: a comparison needs at least one evaluation")
    seen = set()
    for run in runs:
        key = (run["name"], run["metrics"]["task"], data_name(run["metrics"]))
        if key in seen:
            raise UserError(f"{path}: two evaluations are called {key[0]!r} for {key[1]} on {key[2]}; rename one")
        seen.add(key)
    names = list(dict.fromkeys(run["name"] for run in runs))
    _write(path, title=title, subtitle=" · ".join(names), runs=runs, notes=list(notes))


def _write(path: str | os.PathLike, *, title: str, subtitle: str, runs: list[Run], notes: list[str] | None = None):
    groups = group_runs(runs)
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            notes=notes or [],
            warnings=list(dict.fromkeys(w for run in runs for w in run["metrics"].get("warnings", []))),
            headlines=sections.headlines(groups),
            scores=sections.score_table(runs, groups),
            chapters=[
                {
                    "title": group.title if len(groups) > 1 else None,
                    "sections": [s for make in sections.SECTIONS for s in make(group)],
                }
                for group in groups
            ],
        )
    )
    write_text(path, page)


def environment(*packages: str) -> jinja2.Environment:
    """Jinja environment of the report's templates, and before them those of other packages that extend its page;
    everything that is not marked safe is escaped."""
    loaders = [jinja2.PackageLoader(name, "templates") for name in (*packages, "hummingbird.retrieval.report")]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
