"""What a command of `hummingbird` declares: its arguments, and the function that runs it."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

Overrides = list[tuple[str, str]]  # key and text of each --config.key=text


@dataclasses.dataclass(frozen=True)
class Option:
    """One argument: its name, and what `ArgumentParser.add_argument` needs to know about it."""

    name: str
    keywords: Mapping[str, Any]


def option(name: str, help: str, **keywords: Any) -> Option:
    """Declares an argument; `keywords` as in `ArgumentParser.add_argument`."""
    return Option(name, {"help": help, **keywords})


def layer_numbers(text: str) -> tuple[int, ...]:
    """Parses "-2,-1" to (-2, -1)."""
    return tuple(int(word) for word in text.split(","))


def grid_size(text: str) -> tuple[int, int]:
    """Parses "8,6" to (8, 6)."""
    rows, columns = layer_numbers(text)
    return rows, columns


def colour(text: str) -> tuple[float, float, float]:
    """Parses "0.4,0.5,0.6" to (0.4, 0.5, 0.6)."""
    red, green, blue = (float(word) for word in text.split(","))
    return red, green, blue


def path_option(name: str, help: str, metavar: str = "PATH", **keywords: Any) -> Option:
    """Declares an argument that is a path; shells leave the "~" of --workdir=~/run alone."""
    return option(name, help, metavar=metavar, type=os.path.expanduser, **keywords)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of `hummingbird`.

    Attributes:
      run: (arguments, settings) -> exit status, None for 0.
      help: what it does, in a few words.
      options: its arguments.
      settings: the kinds of config that it takes settings for.
    """

    run: Callable[[argparse.Namespace, Overrides], int | None]
    help: str
    options: tuple[Option, ...]
    settings: tuple[str, ...] = ()
