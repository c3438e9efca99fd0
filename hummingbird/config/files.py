"""Reads config files: Python files whose `get_config(variant="")` returns the differences from the defaults."""

from __future__ import annotations

import importlib.util
import inspect
import pathlib
import sys
from types import ModuleType

import ml_collections

from hummingbird.config.names import find
from hummingbird.config.schema import Tree
from hummingbird.errors import UserError


def load_file(name: str, kind: str) -> Tree:
    """Calls `get_config` of a config file and returns its nested dict.

    Args:
      name: as in `hummingbird.config.names.find`.
      kind: one of `hummingbird.config.KINDS`.

    Raises:
      UserError: missing or broken file, or one that takes no such variant.
    """
    file, differences = call(name, kind, "get_config")
    return as_dict(differences, f"config file {file}: get_config returned")


def call(name: str, folder: str, function: str) -> tuple[pathlib.Path, object]:
    """Calls a function of a config or sweep file, with the variant if there is one.

    Args:
      name, folder: as in `hummingbird.config.names.find`.
      function: its name.

    Returns:
      The file, and what the function returned.

    Raises:
      UserError: missing or broken file, or one that takes no such variant.
    """
    file, variant = find(name, folder)
    what = f"{'sweep' if folder == 'sweeps' else 'config'} file {file}"
    try:
        made = getattr(_import(file), function, None)
    except UserError:
        raise
    except Exception as error:  # the file is the user's code: whatever it raises is theirs to fix
        raise UserError(f"{what} cannot be read: {type(error).__name__}: {error}") from error
    if made is None:
        raise UserError(f"{what} has no function {function}(variant='')")
    if variant and not inspect.signature(made).parameters:
        raise UserError(f"{what} takes no variant, remove ':{variant}'")
    try:
        return file, made(variant) if variant else made()
    except UserError:
        raise
    except Exception as error:
        if variant and isinstance(error, KeyError):
            raise UserError(f"{what} has no variant {error}; its docstring lists them") from error
        raise UserError(f"{what}: {function} failed: {type(error).__name__}: {error}") from error


def _import(file: pathlib.Path) -> ModuleType:
    """Imports a Python file under a name that hides no other module."""
    specification = importlib.util.spec_from_file_location(f"hummingbird_config_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise UserError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses with postponed annotations find their module by name
    specification.loader.exec_module(module)
    return module


def as_dict(differences: object, source: str) -> Tree:
    """Converts a dict or `ml_collections.ConfigDict` to a plain dict; UserError for anything else."""
    if isinstance(differences, ml_collections.ConfigDict):
        return differences.to_dict()
    if not isinstance(differences, dict):
        raise UserError(f"{source} {type(differences).__name__}, not a dict")
    return differences
