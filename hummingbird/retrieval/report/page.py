"""The report: one self-contained HTML file with the scores of evaluations, and what their predictions look like.

`write_report` shows one evaluation, `write_comparison` several side by side. Both consist of the same sections, each a
function of a group of runs (see `SECTIONS`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import jinja2

from hummingbird.errors import UserError
from hummingbird.retrieval.report import images, scores
from hummingbird.retrieval.report.elements import Section
from hummingbird.retrieval.report.facts import differences, facts, method, settings
from hummingbird.retrieval.report.features import features
from hummingbird.retrieval.report.neighbours import nearest_patches
from hummingbird.retrieval.report.parts import parts
from hummingbird.retrieval.report.predictions import predictions
from hummingbird.retrieval.report.runs import Group, Run, data_name, group_runs
from hummingbird.retrieval.results import Result
from hummingbird.retrieval.sample_files import ImageSamples, Samples
from hummingbird.run.files import write_text
from hummingbird.tasks import WHOLE_IMAGE, describe_kind

NAMED = 8  # runs that the subtitle names at most

# The sections of each task and data set, in this order.
SECTIONS: tuple[Callable[[Group], Iterator[Section]], ...] = (
    differences,
    images.classifiers,
    images.nearest_images,
    scores.class_scores,
    images.confusion,
    parts,
    predictions,
    nearest_patches,
    features,
    facts,
    settings,
)


def write_report(path: str | os.PathLike[str], result: Result, samples: Samples | ImageSamples | None = None) -> None:
    """Writes the report of one evaluation.

    Args:
      path: the HTML file, written as a whole.
      result: content of metrics.json.
      samples: query images to show; None: numbers only.
    """
    encoder = str(result.get("encoder", {}).get("name", "encoder"))
    title = f"{describe_kind(result['task']).title} on {data_name(result)}"
    run = Run(encoder, result, *((None, samples) if samples and "confusion" in samples else (samples, None)))
    write_text(path, page(title, f"{method(result)} encoder {encoder}", [run]))


def write_comparison(
    path: str | os.PathLike[str],
    runs: Sequence[Run],
    title: str = "",
    notes: Iterable[str] = (),
) -> None:
    """Writes one report of several evaluations: encoders side by side where task and data set are the same.

    Args:
      path: the HTML file, written as a whole.
      runs: the evaluations.
      title: the heading; "": what the evaluations are.
      notes: paragraphs below the heading.

    Raises:
      UserError: no runs, or two with the same name, task and data set.
    """
    if not runs:
        raise UserError(f"{path}: a comparison needs at least one evaluation")
    for group in group_runs(runs):
        names = [run.name for run in group.runs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(
                f"{path}: two evaluations are called {twice!r} for {group.task} on {group.dataset}; rename one"
            )
    names = list(dict.fromkeys(run.name for run in runs))
    subtitle = " · ".join(names) if len(names) <= NAMED else f"{len(names)} encoders or settings"
    whole = all(run.result["task"] in WHOLE_IMAGE for run in runs)
    decoders = ["decoder" in run.result for run in runs]
    usual = "Evaluation of whole images" if whole else "Dense nearest-neighbour retrieval"
    title = title or (
        "Trained decoders" if all(decoders) else f"{usual} and trained decoders" if any(decoders) else usual
    )
    write_text(path, page(title, subtitle, runs, list(notes)))


def page(title: str, subtitle: str, runs: Sequence[Run], notes: Sequence[str] = ()) -> str:
    """Returns the HTML page of some runs."""
    groups = group_runs(runs)
    chapters = [
        {
            "title": group.title if len(groups) > 1 else None,
            "sections": [section for sections in SECTIONS for section in sections(group)],
        }
        for group in groups
    ]
    cautions = [group.caution for group in groups]
    said = [text for run in runs for text in run.result.get("warnings", [])]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            notes=notes,
            warnings=list(dict.fromkeys([*filter(None, cautions), *said])),
            headlines=scores.headlines(groups),
            scores=scores.score_table(groups),
            chapters=chapters,
        )
    )


def environment(*packages: str) -> jinja2.Environment:
    """Returns the Jinja environment of the page; everything that is not marked safe is escaped.

    Args:
      *packages: whose templates come before the report's own, and may extend its page.
    """
    loaders = [jinja2.PackageLoader(name, "templates") for name in (*packages, "hummingbird.retrieval.report")]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
