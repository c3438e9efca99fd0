"""Scores with small parts of the prompt: Sec. 4.2, Tables 2, 9 and 10, the retrieval curves of Figure 3.

Every image is encoded once for all parts and the evaluation that they belong to (`retrieval.shared_encoding`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.data.interface import DenseSource
from hummingbird.errors import UserError
from hummingbird.retrieval.encode import Clock
from hummingbird.retrieval.prompt import make_index, plan
from hummingbird.retrieval.protocol import Protocol
from hummingbird.retrieval.query import answer
from hummingbird.retrieval.report.parts import part_name
from hummingbird.retrieval.shared_encoding import Encoded
from hummingbird.tasks import Scores, Task


def drawn_parts(protocol: Protocol, config: EvaluateConfig) -> list[Protocol]:
    """The protocol of every part; its seed draws the images. The whole prompt has only one part.

    Part number i of a fraction is drawn with seed + i, so number 0 is what `data.fraction` alone would use.
    """
    return [
        dataclasses.replace(protocol, fraction=fraction, seed=protocol.seed + number)
        for fraction in config.data.fractions
        for number in range(config.data.subsets if fraction < 1 else 1)
    ]


def check_parts(length: int, protocol: Protocol, config: EvaluateConfig) -> None:
    """UserError if a part of a prompt of `length` images cannot hold as many entries as its search needs."""
    needed = {"retrieval.neighbours": protocol.neighbours}
    if config.retrieval.index == "scann":
        needed["retrieval.scann.leaves"] = config.retrieval.scann.leaves
    for part in drawn_parts(protocol, config):
        images, patches = plan(length, part)
        most = min(part.memory_length, len(images) * patches * max(part.augmentation_epochs, 1))
        for key, least in needed.items():
            if least > most:
                raise UserError(
                    f"config key {key}: {least} is more than the {most} entries that {part_name(part.fraction)} of the "
                    f"prompt has at most; lower it or leave {part.fraction:g} out of data.fractions"
                )


def measure_fractions(
    encoded: Encoded,
    config: EvaluateConfig,
    task: Task,
    protocol: Protocol,
    query: DenseSource,
    scores: Scores,
    notes: list[str],
) -> list[dict[str, Any]]:
    """Scores `data.subsets` random parts of the prompt for each of `data.fractions`.

    Args:
      scores: metrics of the evaluation that the parts belong to; a part that is its whole prompt is not scored again.
      notes: warnings are added to it.

    Returns:
      [{"fraction", "images", "metric", "mean", "std", "values"}], in the order of the config; std is over the parts.
    """
    clock = Clock()
    found: dict[float, list[float]] = {}
    already: set[str] = set()

    def score(drawn: Protocol) -> float:  # its bank and index are gone when the next part's are made
        bank, part = encoded.bank(drawn), dataclasses.replace(drawn, seed=protocol.seed)
        name, told = part_name(part.fraction), []
        try:
            index = make_index(bank, part, config, clock, told)
        except UserError as error:
            raise UserError(f"config key data.fractions, {name} of the prompt: {error}") from error
        told = [f"{name} of the prompt: {text}" for text in told]
        notes.extend(text for text in told if text not in already)
        already.update(told)
        batches = encoded.queries.batches(part, config, clock)
        return task.headline(answer(batches, query, bank, index, task, part, config, clock, recall=False)[0])

    for drawn in drawn_parts(protocol, config):
        value = task.headline(scores) if drawn == protocol else score(drawn)
        found.setdefault(drawn.fraction, []).append(value)
    return [
        {
            "fraction": fraction,
            "images": len(plan(encoded.prompt_length, dataclasses.replace(protocol, fraction=fraction))[0]),
            "metric": task.scores[0].key,
            "mean": float(np.mean(values)),
            "std": float(np.std(values)),
            "values": values,
        }
        for fraction, values in found.items()
    ]
