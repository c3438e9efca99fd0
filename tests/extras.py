"""Runs hummingbird as in an environment of its dependencies and chosen extras: every other package is hidden.

python -m tests.extras tpu,hub pretrain --config=...      all of `hummingbird pretrain --config=...`
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]


def installed(extras: Iterable[str]) -> set[str]:
    """Returns the distributions that pip installs with the project and these extras, as far as they are here."""
    found: dict[str, set[str]] = {}  # {distribution: its extras that were followed}
    waiting = [Requirement(line) for line in PROJECT["dependencies"]]
    waiting += [Requirement(line) for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    while waiting:
        requirement = waiting.pop()
        name, wanted = canonicalize_name(requirement.name), {"", *requirement.extras}
        new = wanted - found.get(name, set())
        if not new or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.setdefault(name, set()).update(new)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in lines:
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in new):
                inner.marker = None
                waiting.append(inner)
    return set(found)


owners = functools.cache(importlib.metadata.packages_distributions)  # reads the list of files of every package


class Hiding:
    """Finds the modules of the standard library, of this project and of the given distributions, and no others."""

    def __init__(self, distributions: set[str]):
        self._hidden = {
            module
            for module, owning in owners().items()
            if not {canonicalize_name(name) for name in owning} & {*distributions, PROJECT["name"]}
        }

    def hides(self, name: str) -> bool:
        """Returns whether a module is none of them."""
        return name.partition(".")[0] in self._hidden

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None):
        return None if self.hides(name) else importlib.machinery.PathFinder.find_spec(name, path)

    def find_distributions(self, *context: object):
        return importlib.machinery.PathFinder.find_distributions(*context)


def hide(extras: Iterable[str]) -> None:
    """Hides, in this process, every module that an installation with these extras lacks."""
    hiding = Hiding(installed(extras))
    sys.meta_path[:] = [hiding if x is importlib.machinery.PathFinder else x for x in sys.meta_path]


if __name__ == "__main__":
    hide(sys.argv[1].split(","))
    from hummingbird import cli

    cli.main(sys.argv[2:])
