"""Prints what commands find: as text for people, or as one line of JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping

from hummingbird.run.files import Json


def show(found: Mapping[str, Json], as_json: bool = False) -> None:
    """Prints what a command found: one line of JSON, or text."""
    print_all(json.dumps(found) if as_json else "\n".join(_lines(found)))


def print_all(text: str) -> None:
    """Prints a long text; a reader that stops early, such as `head`, is not an error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the interpreter would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lines(found: Mapping[str, Json]) -> Iterator[str]:
    for key, value in found.items():
        if key.startswith("config") and isinstance(value, dict):
            yield f"{key}:"
            yield from (f"  {name} = {setting}" for name, setting in value.items())
        elif isinstance(value, dict):
            yield f"{key}: " + ", ".join(f"{name} {item}" for name, item in value.items())
        elif value in ([], None):
            yield f"{key}: none"
        elif isinstance(value, bool):
            yield f"{key}: {'yes' if value else 'no'}"
        else:
            yield f"{key}: {value:,}" if isinstance(value, int) and key != "step" else f"{key}: {value}"
