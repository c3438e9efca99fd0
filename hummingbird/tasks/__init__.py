"""Kinds of labels: everything that depends on what a dense label is, one file for each kind; names of the others."""

from __future__ import annotations

from hummingbird.config import EvaluateConfig
from hummingbird.errors import UserError
from hummingbird.tasks.depth import DepthTask
from hummingbird.tasks.pixel_votes import PixelVoteTask, VoidFirstTask
from hummingbird.tasks.regression import NormalsTask, RegressionTask
from hummingbird.tasks.segmentation import SegmentationTask
from hummingbird.tasks.task import Annotated, BankLabels, Kind, LocalLabels, Metrics, Score, Scores, Task
from hummingbird.tasks.whole_image import ClassificationTask, ImageRetrievalTask

KINDS: dict[str, type[Task]] = {kind.kind: kind for kind in (SegmentationTask, DepthTask, RegressionTask, NormalsTask)}
# Labels of whole images; what depends on them is in `hummingbird.retrieval.recognition`.
WHOLE_IMAGE: dict[str, type[Kind]] = {"classification": ClassificationTask, "image_retrieval": ImageRetrievalTask}
# Protocols with local labels of their own: (kind, protocol).
BY_PROTOCOL: dict[tuple[str, str], type[Task]] = {("segmentation", "capi"): PixelVoteTask}
# Projects with class lists of their own, by protocol: DIP evaluates with a copy of open-hummingbird-eval.
CLASS_LISTS = {"open-hummingbird": "open-hummingbird-eval", "dip": "DIP"}
# How banks hold labels, by the name that they are stored under.
FORMS: dict[str, type[Task]] = {task.form: task for task in (*KINDS.values(), *BY_PROTOCOL.values(), VoidFirstTask)}

__all__ = [
    "FORMS",
    "KINDS",
    "WHOLE_IMAGE",
    "BankLabels",
    "DepthTask",
    "Kind",
    "LocalLabels",
    "Metrics",
    "NormalsTask",
    "PixelVoteTask",
    "RegressionTask",
    "Score",
    "Scores",
    "SegmentationTask",
    "Task",
    "build_task",
    "describe_kind",
    "find_kind",
]


def build_task(source: Annotated, config: EvaluateConfig) -> Task:
    """Builds the task of an evaluation.

    Args:
      source: images with labels.
      config: settings of the evaluation.

    Raises:
      UserError: unknown kind of label, or a protocol that the kind or the data set does not support.
    """
    kind = BY_PROTOCOL.get((source.task, config.protocol), find_kind(source.task))
    if config.protocol not in kind.epochs:
        kinds = [*KINDS.values(), *BY_PROTOCOL.values()]
        supported = dict.fromkeys(other.kind for other in kinds if config.protocol in other.epochs)
        raise UserError(
            f"config key protocol: {config.protocol} is for {', '.join(supported)} only; use protocol=paper for "
            f"{kind.kind}"
        )
    project, reason = CLASS_LISTS.get(config.protocol), getattr(source, "incomparable", "")
    if project and reason:
        raise UserError(
            f"config key protocol: scores of {config.protocol} on {config.data.name} would not compare with those of "
            f"{project}: {reason}; use protocol=paper"
        )
    return kind.build(source, config)


def find_kind(name: str) -> type[Task]:
    """Returns the kind of label called `name`; UserError names those that exist."""
    if name not in KINDS:
        raise UserError(f"config key data.task: {name!r} is not one of {', '.join(KINDS)}")
    return KINDS[name]


def describe_kind(name: str) -> type[Kind]:
    """Returns the names and scores of a kind of label, of pixels or of whole images; KeyError for any other."""
    return {**KINDS, **WHOLE_IMAGE}[name]
