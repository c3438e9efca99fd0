"""The files that an evaluation writes into its workdir."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable

from hummingbird.errors import UserError
from hummingbird.retrieval.results import Result
from hummingbird.retrieval.sample_files import ImageSamples, Samples, save_samples
from hummingbird.run.files import write_text

# All files that an evaluation may leave in its workdir.
FILES = ("metrics.json", "fractions.md", "fractions.json", "fractions.png", "samples.npz", "images.npz", "report.html")


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
        raise UserError(f"--workdir={workdir} cannot be written ({error.strerror}); choose another folder") from error
    return folder


def write_results(folder: pathlib.Path, result: Result, samples: Samples | ImageSamples | None) -> None:
    """Writes the files of an evaluation; removes those of an earlier one first.

    Raises:
      UserError: a file cannot be written. The message names it, and holds the scores if they are not on disk.
    """
    # The scores first: they are kept whatever happens to the pictures.
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    writers: dict[str, Callable[[pathlib.Path], None]] = {"metrics.json": lambda path: write_text(path, text)}
    if "fractions" in result:
        from hummingbird.retrieval.report import parts

        writers |= {name: functools.partial(write, result) for name, write in parts.FILES.items()}
    if samples is not None:
        from hummingbird.retrieval import report

        name = "images.npz" if "confusion" in samples else "samples.npz"
        writers[name] = lambda path: save_samples(str(path), samples)
        writers["report.html"] = lambda path: report.write_report(str(path), result, samples)
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
                f"{folder / name} cannot be written ({error.strerror or error}); make room and run again; {kept}"
            ) from error
