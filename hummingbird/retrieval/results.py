"""The result of an evaluation, and what is said in it about encoder and process."""

from __future__ import annotations

import resource
import sys
from typing import NotRequired, TypedDict

from hummingbird.encoder import Encoder, arithmetic, name_of
from hummingbird.retrieval.fractions import FractionScores
from hummingbird.run.files import Json
from hummingbird.tasks import Scores


class Result(TypedDict):
    """The content of metrics.json.

    Attributes:
      task: kind of label.
      dataset: `data.name`.
      data: folder of the data set, and fingerprints of prompt and query.
      encoder: name, source (the file that weights of other projects are from, or their name on the hub) and its
        commit, fingerprint, patch_size, dim, and how it computes: dtype, backend and device_kind.
      metrics: scores by key; mIoU 0-100, RMSE in metres.
      protocol: every choice that affects the score.
      memory: length and size of the bank, its index, and the index's recall; not of a trained decoder.
      index: its kind, whether it is exact, its recall on a sample of query patches (None: exact or not measured), and
        all settings of an approximate one; not of a trained decoder.
      queries: number of images and patches.
      seconds: by part; parts that were not needed are 0, time spent on data fractions is one entry.
      peak_memory_bytes: largest resident size of the process.
      warnings: messages for the user.
      versions: of Python, this package and those that it computes with.
      config: all settings of the evaluation by dotted key; `hummingbird.config.resolve` takes them back.
      decoder: of a trained decoder, which head it is and how it was fitted.
      held_out: scores on prompt images that it was not trained on, and their number; only with `data.held_out`.
      features: what gradient features depend on besides encoder and prompt; only with `features.gradients`.
      fractions: scores with parts of the prompt; only with `data.fractions`.
    """

    task: str
    dataset: str
    data: dict[str, str]
    encoder: dict[str, Json]
    metrics: Scores
    protocol: dict[str, Json]
    memory: NotRequired[dict[str, str | int | float | bool | None]]
    index: NotRequired[dict[str, Json]]
    queries: dict[str, int]
    seconds: dict[str, float]
    peak_memory_bytes: int
    warnings: list[str]
    versions: dict[str, str]
    config: dict[str, Json]
    decoder: NotRequired[dict[str, Json]]
    held_out: NotRequired[dict[str, Json]]
    features: NotRequired[dict[str, Json]]
    fractions: NotRequired[list[FractionScores]]


def describe_encoder(encoder: Encoder, dim: int) -> dict[str, Json]:
    """Describes an encoder: its name (or its type's), origin, fingerprint, patch size, channels, and arithmetic."""
    known = {fact: getattr(encoder, fact, None) for fact in ("source", "commit", "fingerprint")}
    return {"name": name_of(encoder), **known, "patch_size": encoder.patch_size, "dim": dim, **arithmetic(encoder)}


def peak_memory() -> int:
    """Returns the largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
