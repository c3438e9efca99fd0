"""Whose workdir it is: a training run's folder is never taken from another run, and never from something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from hummingbird.config import declared
from hummingbird.errors import UserError, first_line
from hummingbird.run import checkpoint
from hummingbird.run.files import write_json


def check(folder: epath.Path, flat: Mapping[str, Any]) -> None:
    """Compares the config of a run that is there with this one; writes nothing.

    What is read from `data.*` is left to the input pipeline, which compares fingerprints: a data set may move.

    Args:
      folder: the workdir; need not exist.
      flat: this run's config.

    Raises:
      UserError: the folder holds something else, or a run whose config differs in a key that may not change on resume.
    """
    path = folder / "config.json"
    try:
        if path.exists():
            there = _read(path)
            keys = [k for k, setting in declared("pretrain").items() if not setting.resumable]
            changed = [k for k in keys if k in there and not k.startswith("data.") and _tuple(there[k]) != flat[k]]
            if changed:
                shown = "; ".join(f"{k}: {there[k]!r} there, {flat[k]!r} here" for k in changed)
                raise UserError(f"workdir {folder} holds a run with another config ({shown}); use another workdir")
        elif folder.exists() and any(folder.iterdir()) and not checkpoint.steps(folder):
            raise UserError(f"workdir {folder} is not empty and holds no run; use an empty or new folder")
    except ImportError as error:
        raise UserError(f"workdir {folder} needs the client of that bucket: {first_line(error)}") from error
    except OSError as error:
        raise UserError(f"workdir {folder} cannot be read: {error.strerror or first_line(error)}") from error
    except Exception as error:  # what the clients of buckets make of wrong credentials and names
        if "://" not in str(folder) or isinstance(error, UserError):
            raise
        raise UserError(f"workdir {folder} cannot be reached: {first_line(error)}") from error


def recorded(folder: epath.Path, key: str) -> Any:
    """What the config of the run that is there says of a setting; None if it says nothing."""
    path = folder / "config.json"
    return _read(path).get(key) if path.exists() else None


def claim(folder: epath.Path, flat: Mapping[str, Any]) -> None:
    """Makes the folder and writes config.json. Raises UserError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", dict(flat))
    except OSError as error:
        raise UserError(f"workdir {folder} cannot be written: {error.strerror or first_line(error)}") from error
    except Exception as error:
        if "://" not in str(folder):
            raise
        raise UserError(f"workdir {folder} cannot be written: {first_line(error)}") from error


def _read(path: epath.Path) -> dict[str, Any]:
    """The flat config at `path`; UserError if it is somebody else's config.json."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not a config of this project ({first_line(error)}); use another workdir") from error
    if not isinstance(content, dict) or "context.bank_length" not in content:
        raise UserError(f"{path} is not a config of this project; use another workdir")
    return content


def _tuple(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(value) if isinstance(value, list) else value
