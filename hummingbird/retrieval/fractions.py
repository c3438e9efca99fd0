"""Scores with small parts of the prompt: Sec. 4.2, Tables 2, 9 and 10, the retrieval curves of Figure 3.

Every image is encoded once for all parts and the evaluation that they belong to, or as seldom as the memory allows
(`retrieval.part_encodings`).
"""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import numpy as np

from hummingbird.errors import UserError
from hummingbird.retrieval.encodings import Encodings
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.protocol import EvalProtocol
from hummingbird.retrieval.query import answer
from hummingbird.retrieval.search import index_bank, scann_settings
from hummingbird.retrieval.selection import drawn_parts, nested, part_name, prompt_images
from hummingbird.tasks import Scores


class FractionScores(TypedDict):
    """The scores of an entry of `data.fractions`.

    Attributes:
      fraction: share of the prompt images.
      images: their number.
      metric: key of the task's headline score.
      mean: over the parts.
      std: standard deviation of the parts as a sample, as sweeps give it; 0 for one part.
      values: score of each part.
    """

    fraction: float
    images: int
    metric: str
    mean: float
    std: float
    values: list[float]


def check_parts(evaluation: Evaluation) -> None:
    """Raises UserError if a part of the prompt cannot hold as many entries as its search needs."""
    needed = {"retrieval.neighbours": evaluation.protocol.neighbours}
    if evaluation.retrieval.index == "scann":
        # Numbers of leaves that grow with the bank fit every part.
        needed["retrieval.scann.leaves"] = scann_settings(evaluation, 1).leaves
    for part in drawn_parts(evaluation.protocol, evaluation.data.fractions, evaluation.data.subsets):
        images, patches = prompt_images(len(evaluation.prompt), part)
        most = min(part.memory_length, len(images) * patches * max(part.augmentation_epochs, 1))
        for key, least in needed.items():
            if least > most:
                raise UserError(
                    f"config key {key}: {least} is more than the {most} entries that {part_name(part.fraction)} of the "
                    f"prompt has at most; lower it or leave {part.fraction:g} out of data.fractions"
                )


def score_fractions(evaluation: Evaluation, encodings: Encodings, scores: Scores) -> list[FractionScores]:
    """Scores `data.subsets` random parts of the prompt for each of `data.fractions`.

    Args:
      evaluation: the evaluation that the parts belong to; gets their warnings.
      encodings: hold the banks of all parts.
      scores: of the evaluation; a part that is its whole prompt is not scored again.

    Returns:
      The scores of each fraction, in the order of the config.
    """
    protocol, task = evaluation.protocol, evaluation.task
    parts = drawn_parts(protocol, evaluation.data.fractions, evaluation.data.subsets)
    scored = {protocol: task.headline(scores)}
    for part in nested(parts):
        if part not in scored:
            scored[part] = score_part(evaluation, encodings, part)
    values: dict[float, list[float]] = {}
    for part in parts:
        values.setdefault(part.fraction, []).append(scored[part])
    return [
        {
            "fraction": fraction,
            "images": len(prompt_images(len(evaluation.prompt), dataclasses.replace(protocol, fraction=fraction))[0]),
            "metric": task.scores[0].key,
            "mean": float(np.mean(found)),
            "std": float(np.std(found, ddof=1)) if len(found) > 1 else 0.0,
            "values": found,
        }
        for fraction, found in values.items()
    ]


def score_part(evaluation: Evaluation, encodings: Encodings, drawn: EvalProtocol) -> float:
    """Returns the headline score with a part of the prompt. Bank and index are freed when it returns.

    Args:
      evaluation: the evaluation that the part belongs to.
      encodings: hold the part's bank.
      drawn: protocol of the part; apart from drawing the images, the evaluation's own seed is used.
    """
    bank = encodings.bank(dataclasses.replace(evaluation, protocol=drawn))
    protocol = dataclasses.replace(drawn, seed=evaluation.protocol.seed)
    part = dataclasses.replace(evaluation, protocol=protocol, clock=Clock(), warnings=[])
    name = part_name(drawn.fraction)
    try:
        index = index_bank(part, bank)
    except UserError as error:
        raise UserError(f"config key data.fractions, {name} of the prompt: {error}") from error
    warnings = [f"{name} of the prompt: {text}" for text in part.warnings]
    evaluation.warnings.extend(text for text in warnings if text not in evaluation.warnings)
    found = answer(part, encodings.query_batches(part), bank, index, recall=False)
    return evaluation.task.headline(found.scores)
