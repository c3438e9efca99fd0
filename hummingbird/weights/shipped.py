"""Encoders that come with the package, by name: `shipped:photographs`.

Each is a folder of encoders/ as `hummingbird export --format=hummingbird` writes it; its README.md is the model card.
"""

from __future__ import annotations

import os
import pathlib

from hummingbird.errors import UserError

FOLDER = pathlib.Path(__file__).parent / "encoders"
KIND = "shipped:"


def is_shipped(path: str | os.PathLike[str]) -> bool:
    """Returns whether a checkpoint is named as one that comes with the package."""
    return str(path).startswith(KIND)


def find(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Returns the folder of a shipped encoder; other paths as they are.

    Example:
      >>> os.path.basename(find("shipped:photographs")), find("gs://bucket/dino")
      ('photographs', 'gs://bucket/dino')

    Raises:
      UserError: no such encoder is shipped.
    """
    if not is_shipped(path):
        return path
    names = sorted(card.parent.name for card in FOLDER.glob("*/README.md"))
    if (name := str(path).removeprefix(KIND)) not in names:
        raise UserError(
            f"checkpoint {path} does not come with the package, which has {', '.join(map(KIND.__add__, names))}"
        )
    return FOLDER / name
