"""Finds config and sweep files: by path, or by the name of one that the package ships, such as evaluate/pascal_voc.

`hummingbird/_configs` is a link to configs/ in a checkout; an installed package holds copies of the files.
"""

from __future__ import annotations

import difflib
import os
import pathlib
from typing import NamedTuple

from hummingbird.errors import UserError

SHIPPED = pathlib.Path(__file__).resolve().parent.parent / "_configs"


class Found(NamedTuple):
    """A config or sweep file, and the variant of it; "" for none."""

    file: pathlib.Path
    variant: str


def find(name: str, folder: str) -> Found:
    """Finds a config or sweep file.

    Args:
      name: path of a Python file, which wins if it exists; or name of a shipped one: "evaluate/pascal_voc",
        "pascal_voc" or "configs/evaluate/pascal_voc.py"; either with ":variant".
      folder: which shipped ones are meant, such as "pretrain" or "sweeps".

    Raises:
      UserError: there is none; the nearest shipped names are listed.

    Example:
      >>> file, variant = find("evaluate/pascal_voc:few", "evaluate")
      >>> file.name, variant
      ('pascal_voc.py', 'few')
    """
    stem, _, variant = name.partition(".py:")
    file = pathlib.Path(os.path.expanduser(f"{stem}.py" if variant else name))
    if file.is_file():
        return Found(file, variant)
    stem, _, variant = name.partition(":")
    stem = stem.removeprefix("configs/").removesuffix(".py")
    names = shipped(folder)
    for known in (stem, f"{folder}/{stem}"):
        if known in names:
            return Found(SHIPPED / f"{known}.py", variant)
    words = [known.rpartition("/")[2] for known in names]
    near = [f"{folder}/{word}" for word in difflib.get_close_matches(stem.rpartition("/")[2], words)]
    kind = "sweep" if folder == "sweeps" else "config"
    hint = f"did you mean {' or '.join(near)}?" if near else f"shipped ones are {', '.join(names)}"
    raise UserError(f"{kind} {name} does not exist, neither as a file nor among the shipped ones; {hint}")


def shipped(folder: str) -> list[str]:
    """Lists the names of the shipped files of a folder, such as "evaluate/pascal_voc"."""
    return sorted(f"{folder}/{file.stem}" for file in (SHIPPED / folder).glob("*.py"))


def canonical(name: str, folder: str) -> str:
    """Returns the same spelling for every name of a file; shipped files are spelt "configs/FOLDER/NAME.py".

    Example:
      >>> canonical("pascal_voc:few", "evaluate"), canonical("./mine.py", "evaluate")
      ('configs/evaluate/pascal_voc.py:few', 'mine.py')
    """
    try:
        file, variant = find(name, folder)
    except UserError:
        return os.path.normpath(name)
    real, home = file.resolve(), SHIPPED.resolve()
    path = f"configs/{real.relative_to(home)}" if real.is_relative_to(home) else os.path.normpath(file)
    return f"{path}:{variant}" if variant else path
