"""The result of an evaluation."""

from __future__ import annotations

from typing import NotRequired, TypedDict

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
      memory: length and size of the bank, its index, and the index's recall.
      index: its kind, whether it is exact, its recall on a sample of query patches (None: exact or not measured), and
        all settings of an approximate one.
      queries: number of images and patches.
      seconds: by part; parts that were not needed are 0, time spent on data fractions is one entry.
      peak_memory_bytes: largest resident size of the process.
      warnings: messages for the user.
      versions: of Python, this package and those that it computes with.
      config: all settings of the evaluation by dotted key; `hummingbird.config.resolve` takes them back.
      fractions: scores with parts of the prompt; only with `data.fractions`.
    """

    task: str
    dataset: str
    data: dict[str, str]
    encoder: dict[str, Json]
    metrics: Scores
    protocol: dict[str, str | int | float | bool | list[int] | None]
    memory: dict[str, str | int | float | bool | None]
    index: dict[str, Json]
    queries: dict[str, int]
    seconds: dict[str, float]
    peak_memory_bytes: int
    warnings: list[str]
    versions: dict[str, str]
    config: dict[str, Json]
    fractions: NotRequired[list[FractionScores]]
