"""What an evaluation leaves in its workdir, and how it is written there."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable
from typing import NotRequired, TypedDict

from hummingbird.errors import UserError
from hummingbird.retrieval.fractions import FractionScores
from hummingbird.retrieval.sample_files import Samples, save_samples
from hummingbird.run.files import Json, write_text
from hummingbird.tasks import Scores

# All files that an evaluation may leave in its workdir.
FILES = ("metrics.json", "fractions.md", "fractions.json", "fractions.png", "samples.npz", "report.html")


class Result(TypedDict):
    """The content of metrics.json.

    Attributes:
      task: kind of label.
      dataset: `data.name`.
      data: folder of the data set, and fingerprints of prompt and query.
      encoder: name, fingerprint, patch_size and dim.
      metrics: scores by key; mIoU 0-100, RMSE in metres.
      protocol: every choice that affects the score.
      memory: length and size of the bank, its index, and the index's recall.
      queries: number of images and patches.
      seconds: by part; parts that were not needed are 0, time spent on data fractions is one entry.
      peak_memory_bytes: largest resident size of the process.
      warnings: messages for the user.
      versions: of Python and packages.
      fractions: scores with parts of the prompt; only with `data.fractions`.
    """

    task: str
    dataset: str
    data: dict[str, str]
    encoder: dict[str, Json]
    metrics: Scores
    protocol: dict[str, str | int | float | bool | None]
    memory: dict[str, str | int | float | bool | None]
    queries: dict[str, int]
    seconds: dict[str, float]
    peak_memory_bytes: int
    warnings: list[str]
    versions: dict[str, str]
    fractions: NotRequired[list[FractionScores]]


def make_workdir(workdir: str) -> pathlib.Path:
    """Makes the folder if needed; UserError if nothing can be written there."""
    if "://" in str(workdir):
        raise UserError(f"--workdir={workdir}: an evaluation writes to local folders only; copy the results afterwards")
    folder = pathlib.Path(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir={workdir}: cannot be written ({error.strerror}); choose another folder") from error
    return folder


def write_results(folder: pathlib.Path, result: Result, samples: Samples | None) -> None:
    """Writes the files of an evaluation; removes those of an earlier one first.

    Raises:
      UserError: a file cannot be written. The message names it, and holds the scores if they are not on disk.
    """
    # The scores first: they are kept whatever happens to the pictures.
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    writers: dict[str, Callable[[pathlib.Path], None]] = {"metrics.json": lambda path: write_text(path, text)}
    if "fractions" in result:
        from hummingbird.retrieval.report import parts

        writers |= {name: functools.partial(write, {**result}) for name, write in parts.FILES.items()}
    if samples is not None:
        from hummingbird.retrieval import report

        writers["samples.npz"] = lambda path: save_samples(str(path), samples)
        writers["report.html"] = lambda path: report.write_report(str(path), {**result}, {**samples})
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for name, write in writers.items():
        try:
            write(folder / name)
        except OSError as error:
            (folder / name).unlink(missing_ok=True)
            kept = "the metrics are in metrics.json"
            if name == "metrics.json":
                kept = ", ".join(f"{k}={v:.6g}" for k, v in result["metrics"].items() if isinstance(v, int | float))
            raise UserError(
                f"{folder / name}: cannot be written ({error.strerror or error}); make room and run again; {kept}"
            ) from error
