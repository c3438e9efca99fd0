"""A prompt on disk: one .npz file with images, features, labels and settings."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from hummingbird.config.prompt import Options, PromptSettings
from hummingbird.config.schema import resolve
from hummingbird.data.interface import reason
from hummingbird.errors import UserError, first_line
from hummingbird.incontext.snapshot import Segment
from hummingbird.run.files import replacing

FORMAT = "hummingbird prompt 1"


class Annotated(NamedTuple):
    """An annotated image as stored."""

    id: str
    image: UInt8[np.ndarray, "H W 3"]
    features: Float32[np.ndarray, "N D"]
    label: Shaped[np.ndarray, "H W *C"]


class Stored(NamedTuple):
    """The content of a file; `encoder` is the fingerprint of the one that it was made with."""

    task: str
    classes: dict[int, str]
    palette: dict[int, tuple[int, int, int]]
    options: Options
    encoder: str
    images: list[Annotated]


def write(
    path: str | os.PathLike[str],
    task: str,
    classes: Mapping[int, str],
    palette: Mapping[int, tuple[int, int, int]],
    settings: PromptSettings,
    encoder: str,
    segments: Sequence[Segment],
) -> None:
    """Writes a prompt; a file that exists is replaced atomically. Raises UserError if it cannot be written."""
    head = {
        "format": FORMAT,
        "task": task,
        "classes": list(classes.items()),
        "palette": [[i, *map(int, colour)] for i, colour in palette.items()],
        "settings": dataclasses.asdict(settings),
        "encoder": encoder,
        "ids": [segment.id for segment in segments],
    }
    arrays: dict[str, np.ndarray] = {"head": np.array(json.dumps(head))}
    for number, segment in enumerate(segments):
        arrays[f"{number}/image"] = segment.encoded.image
        arrays[f"{number}/features"] = segment.encoded.features
        arrays[f"{number}/label"] = segment.label
    try:
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise UserError(f"{os.fspath(path)} cannot be written: {reason(error)}; nothing was changed") from error


def read(path: str | os.PathLike[str]) -> Stored:
    """Reads a prompt.

    Raises:
      UserError: no such file, not a prompt, or damaged.
    """
    name = os.fspath(path)
    if not pathlib.Path(path).is_file():
        raise UserError(f"{name} does not exist; give a file that Prompt.save wrote")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            head = json.loads(str(arrays["head"]))
            if head["format"] != FORMAT:
                raise UserError(f"{name} holds {head['format']!r}, expected {FORMAT!r}; save the prompt again")
            images = [
                Annotated(id, arrays[f"{i}/image"], arrays[f"{i}/features"], arrays[f"{i}/label"])
                for i, id in enumerate(head["ids"])
            ]
            classes = {int(i): str(text) for i, text in head["classes"]}
            palette = {int(i): (int(r), int(g), int(b)) for i, r, g, b in head.get("palette", ())}
            options = cast(Options, dataclasses.asdict(resolve(PromptSettings, head["settings"])))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{name} is not a prompt, or damaged: {first_line(error)}") from error
    return Stored(str(head["task"]), classes, palette, options, str(head["encoder"]), images)
