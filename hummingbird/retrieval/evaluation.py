"""What an evaluation consists of: built once from a config, then handed down in place of it."""

from __future__ import annotations

import dataclasses

from hummingbird.config import EvaluateConfig
from hummingbird.config.data import EvaluationData
from hummingbird.config.evaluate import Report, Retrieval
from hummingbird.data.interface import DenseSource
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.gradients.incontext import build_gradient_encoder
from hummingbird.retrieval import open_hummingbird
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.protocol import PROTOCOLS, EvalProtocol, build_protocol, preset_warnings
from hummingbird.retrieval.space import exact_search
from hummingbird.tasks import Task, build_task


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluation of one encoder.

    Attributes:
      encoder: gives the features.
      prompt: annotated images to retrieve from.
      query: images to predict.
      task: kind of label.
      protocol: the choices that affect the score.
      retrieval: settings of the bank and of the search in it.
      data: settings of the data set; of these, only `name`, `root`, `fractions` and `subsets` are read.
      report: settings of the report.
      batch_size: images encoded at a time.
      progress: show progress bars.
      clock: seconds spent, by part.
      warnings: messages for the user, in the order in which they came up.
    """

    encoder: Encoder
    prompt: DenseSource
    query: DenseSource
    task: Task
    protocol: EvalProtocol
    retrieval: Retrieval
    data: EvaluationData
    report: Report
    batch_size: int
    progress: bool
    clock: Clock = dataclasses.field(default_factory=Clock)
    warnings: list[str] = dataclasses.field(default_factory=list)


def build_evaluation(
    encoder: Encoder, config: EvaluateConfig, prompt: DenseSource, query: DenseSource | None = None
) -> Evaluation:
    """Builds an evaluation from its settings.

    Args:
      encoder: gives the features.
      config: all settings.
      prompt: annotated images to retrieve from.
      query: images to predict; None: the prompt, for those who only build a bank.

    Raises:
      UserError: an empty source, sources that do not match, or settings that no such evaluation can have.
    """
    query = prompt if query is None else query
    config = with_distance(config)
    check_encoder(encoder)
    check_sources(prompt, query)
    task = build_task(prompt, config)
    blue, warnings = "own", preset_warnings(config)
    if PROTOCOLS[config.protocol]["preparation"] == "open-hummingbird":
        encoder, blue = open_hummingbird.with_its_blue(encoder)
    if blue == "unknown":
        warnings.append(
            f"protocol={config.protocol}: the encoder has no attribute `std`, so blue is left as it is; set it to the "
            "standard deviations that pixels are divided by, such as (0.229, 0.224, 0.225)"
        )
    retrieval = exact_search(config.retrieval)
    if config.features.gradients:
        encoder = build_gradient_encoder(encoder, config.features, config.seed)
    elif config.features.pca is not None:
        raise UserError("config key features.pca is for whole images, or for patches with features.gradients")
    return Evaluation(
        encoder=encoder,
        prompt=prompt,
        query=query,
        task=task,
        protocol=build_protocol(config, task, encoder.patch_size, blue),
        retrieval=retrieval,
        data=config.data,
        report=config.report,
        batch_size=config.batch_size,
        progress=config.progress,
        warnings=warnings,
    )


def with_distance(config: EvaluateConfig) -> EvaluateConfig:
    """Returns the config, with `retrieval.distance=product` if its features are gradients without a projection.

    Raises:
      UserError: the kernel for other features, or another distance for these.
    """
    product = bool(config.features.gradients) and config.features.projection == "none"
    distance, standardise = config.retrieval.distance, config.retrieval.standardise
    if distance == "product" and not product:
        raise UserError("config key retrieval.distance: product compares gradients; set features.projection=none")
    if product and (distance == "l2" or standardise):
        raise UserError("config key features.projection: none has a kernel of its own; leave retrieval.distance out")
    if not product:
        return config
    return dataclasses.replace(config, retrieval=dataclasses.replace(config.retrieval, distance="product"))


def check_encoder(encoder: Encoder) -> None:
    """Raises UserError unless an encoder can be called and says how large its patches are."""
    name, patch = getattr(encoder, "name", type(encoder).__name__), getattr(encoder, "patch_size", None)
    if not callable(encoder):
        raise UserError(f"encoder {name} is not callable; expected a function from images to features, or a path")
    if not isinstance(patch, int) or patch < 1:
        raise UserError(f"encoder {name}: patch_size is {patch}; set it to the side of a patch in pixels, such as 16")


def check_sources(prompt: DenseSource, query: DenseSource) -> None:
    """Raises UserError unless both sources have images, and labels of the same kind and classes."""
    for name, source in (("prompt", prompt), ("query", query)):
        if not len(source):
            raise UserError(f"the {name} set holds no image: check data.root")
    if prompt.task != query.task:
        raise UserError(f"the prompt set is for {prompt.task}, the query set for {query.task}")
    if len(prompt.classes) != len(query.classes):
        raise UserError(f"the prompt set has {len(prompt.classes)} classes, the query set {len(query.classes)}")
