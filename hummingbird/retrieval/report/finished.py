"""Finished evaluations on disk, as runs for the page: `hummingbird report A B C`."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from hummingbird.errors import UserError
from hummingbird.retrieval.report.runs import Run, group_key
from hummingbird.retrieval.results import Result
from hummingbird.retrieval.sample_files import load_image_samples, load_samples
from hummingbird.tasks import KINDS, WHOLE_IMAGE

RESULT = "metrics.json"
DEEPEST = 3  # folders below one that is given: SWEEP/runs/RUN/EVALUATION


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Reads finished evaluations, named by what differs between the paths of those on the same data set.

    Args:
      paths: workdirs of evaluations, or folders that hold several, such as the workdir of a sweep.

    Raises:
      UserError: a path holds no finished evaluation, or a damaged one.
    """
    found = {folder.resolve(): folder for path in paths for folder in evaluations(pathlib.Path(path))}
    runs = {folder: read_run(folder) for folder in found.values()}
    groups: dict[tuple[str, str], list[pathlib.Path]] = {}
    for folder, run in runs.items():
        groups.setdefault(group_key(run.result), []).append(folder)
    named = {
        folder: name or folder.resolve().name  # of "."
        for folders in groups.values()
        if len(folders) > 1  # one alone is called by its encoder
        for folder, name in zip(folders, short_names(folders), strict=True)
    }
    return [run._replace(name=named.get(folder, run.name)) for folder, run in runs.items()]


def read_run(folder: str | os.PathLike[str], name: str = "") -> Run:
    """Reads the result of an evaluation, and its samples if they were kept.

    Args:
      folder: its workdir.
      name: what readers call it; "": by its encoder.

    Raises:
      UserError: a file is damaged, or is not what an evaluation writes.
    """
    file, samples, images = (pathlib.Path(folder) / name for name in (RESULT, "samples.npz", "images.npz"))
    refusal = UserError(f"{file} is not the result of an evaluation; run the evaluation again")
    try:
        result: Result = json.loads(file.read_text(encoding="utf-8"))
        known = result["task"] in {**KINDS, **WHOLE_IMAGE}
        known = known and isinstance(result["metrics"], dict) and isinstance(result["dataset"], str)
    except (OSError, ValueError, KeyError, TypeError):
        raise refusal from None
    if not known:
        raise refusal
    name = name or str(result.get("encoder", {}).get("name", "encoder"))
    shown = load_samples(str(samples)) if samples.exists() else None
    return Run(name, result, shown, load_image_samples(str(images)) if images.exists() else None)


def evaluations(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the workdirs of finished evaluations: the folder itself, or those below it; UserError if there is none."""
    if not path.is_dir():
        raise UserError(f"{path} {'is not a folder' if path.exists() else 'does not exist'}; give the workdir of a run")
    if (path / RESULT).is_file():
        yield path
        return
    depths = (path.glob("/".join(["*"] * depth + [RESULT])) for depth in range(1, DEEPEST + 1))
    folders = sorted((file.parent for files in depths for file in files), key=by_number)
    if not folders and (path / "metrics.jsonl").exists():
        raise UserError(f"{path} is a training run; score it first: hummingbird evaluate --checkpoint={path} ...")
    if not folders:
        raise UserError(f"{path} holds no {RESULT}, so no finished evaluation; run its command again to finish it")
    yield from folders


def by_number(path: pathlib.Path) -> list[tuple[float, str]]:
    """Returns a key that sorts paths as readers expect.

    Example:
      >>> sorted(map(pathlib.Path, ["k=30", "k=5", "k=0.5"]), key=by_number)[0].name
      'k=0.5'
    """
    words = re.findall(r"\d+(?:\.\d+)?|\D+", str(path))
    return [(float(word), "") if word[0].isdecimal() else (-1.0, word) for word in words]


def short_names(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns what differs between paths.

    Example:
      >>> short_names([pathlib.Path("runs/dino/voc"), pathlib.Path("runs/mae/voc")])
      ['dino', 'mae']
    """
    parts = [folder.parts for folder in folders]
    for end in (0, -1):
        while all(len(names) > 1 for names in parts) and len({names[end] for names in parts}) == 1:
            parts = [names[1:] if end == 0 else names[:-1] for names in parts]
    return ["/".join(names) for names in parts]
