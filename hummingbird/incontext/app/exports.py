"""What leaves the page: masks, the prompt, and the command that repeats what the page shows."""

from __future__ import annotations

import io
import json
import pathlib
import shlex
import shutil
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hummingbird.data.label_files import IGNORE
from hummingbird.errors import UserError
from hummingbird.incontext.app.engine import Engine, Live
from hummingbird.incontext.app.session import ClassEntry
from hummingbird.incontext.app.store import SessionFolder, encode_picture
from hummingbird.run.files import Json

CLASSES = "classes.json"


def masks_zip(session: SessionFolder, live: Live) -> bytes:
    """Returns a zip file with the predictions and annotations of all images.

    predictions/NAME.png at the size of the file, annotations/NAME.png where something is annotated (255 elsewhere, at
    the size that is worked on), both with class values as ids and the colours as palette; classes.json names them.

    Raises:
      UserError: nothing is annotated, or an image is gone.
    """
    live.follow()
    check_annotated(live)
    classes = [entry for entry in session.state.classes.values() if not entry.removed]
    pictures = session.state.shown()
    stems = unique_stems(picture.name for picture in pictures)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        named: list[Json] = [{"id": entry.value, "name": entry.name, "colour": entry.colour} for entry in classes]
        file.writestr(CLASSES, json.dumps({"classes": named, "void": IGNORE}, indent=1) + "\n")
        for picture, stem in zip(pictures, stems, strict=True):
            file.writestr(f"predictions/{stem}.png", palette_png(live.predict_full(picture.id), classes))
            if picture.id in live.prompt:
                file.writestr(f"annotations/{stem}.png", palette_png(session.labels(picture.id), classes))
    return buffer.getvalue()


def check_annotated(live: Live) -> None:
    """Raises UserError if nothing is annotated."""
    if not len(live.prompt):
        raise UserError("nothing is annotated yet: paint a stroke first")


def unique_stems(names: Iterable[str]) -> list[str]:
    """Returns file names without folder and ending; repeated ones are numbered.

    Example:
      >>> unique_stems(["a/x.jpg", "b/x.png", "y.tif"])
      ['x', 'x-2', 'y']
    """
    found: list[str] = []
    for name in names:
        stem = pathlib.PurePosixPath(name.replace("\\", "/")).stem.strip(". ") or "image"
        number = 1
        while (text := stem if number == 1 else f"{stem}-{number}") in found:
            number += 1
        found.append(text)
    return found


def palette_png(mask: UInt8[np.ndarray, "H W"], classes: Iterable[ClassEntry]) -> bytes:
    """Encodes class values as a palette PNG."""
    palette = bytearray(3 * 256)
    for entry in classes:
        palette[3 * entry.value : 3 * entry.value + 3] = bytes.fromhex(entry.colour[1:])
    picture = Image.fromarray(mask)
    picture.putpalette(bytes(palette))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def save_prompt(session: SessionFolder, engine: Engine) -> pathlib.Path:
    """Saves the prompt beside the session, and returns the path.

    Raises:
      UserError: nothing is annotated, there are fewer than two classes, or the folder cannot be written.
    """
    path = session.folder / "prompt.npz"
    prompt = engine.export(session)
    try:
        prompt.save(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path


def save_folder(session: SessionFolder, live: Live) -> pathlib.Path:
    """Writes the annotated images as a folder that `hummingbird segment --prompt` reads, and returns its path.

    Raises:
      UserError: nothing is annotated, or the folder cannot be written.
    """
    live.follow()
    check_annotated(live)
    folder, part = session.folder / "prompt", session.folder / "prompt.part"
    classes = [entry for entry in session.state.classes.values() if not entry.removed]
    pictures = [picture for picture in session.state.shown() if picture.id in live.prompt]
    try:
        shutil.rmtree(part, ignore_errors=True)
        for name in ("images", "labels"):
            (part / name).mkdir(parents=True)
        names = {str(entry.value): entry.name for entry in classes}
        (part / CLASSES).write_text(json.dumps(names, indent=1) + "\n")
        for picture, stem in zip(pictures, unique_stems(picture.name for picture in pictures), strict=True):
            (part / "images" / f"{stem}.png").write_bytes(encode_picture(session.pixels(picture.id), "PNG"))
            (part / "labels" / f"{stem}.png").write_bytes(palette_png(session.labels(picture.id), classes))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error
    return folder


def command(checkpoint: str, prompt: pathlib.Path, settings: Mapping[str, int | float]) -> str:
    """Returns the command that labels a folder as the page does, one argument a line.

    Example:
      >>> print(command("rgb:16", pathlib.Path("a b"), {"neighbours": 9}).replace("\\\\", "/"))
      hummingbird segment /
        --checkpoint=rgb:16 /
        '--prompt=a b' /
        --images=FOLDER /
        --out=DIR /
        --config.prompt.classes=classes.json /
        --config.neighbours=9
    """
    words = ["hummingbird", "segment", f"--checkpoint={checkpoint}", f"--prompt={prompt}", "--images=FOLDER"]
    words += ["--out=DIR", f"--config.prompt.classes={CLASSES}"]
    words += [f"--config.{name}={value}" for name, value in settings.items()]
    return " ".join(words[:2]) + "".join(f" \\\n  {shlex.quote(word)}" for word in words[2:])
