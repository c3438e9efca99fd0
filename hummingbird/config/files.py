"""Reads config files: Python files whose `get_config(variant="")` returns the differences from the defaults."""

from __future__ import annotations

import importlib.util
import inspect
import pathlib
import sys

import ml_collections

from hummingbird.config.schema import Tree
from hummingbird.errors import UserError


def load_file(path: str) -> Tree:
    """Calls `get_config` of a config file (`FILE` or `FILE:variant`) and returns its nested dict.

    Raises:
      UserError: missing or broken file, or one that takes no such variant.
    """
    name, _, variant = path.partition(".py:")
    file = pathlib.Path(name + ".py" if variant else path).expanduser()
    if not file.is_file():
        raise UserError(f"config file {file} does not exist; see configs/ for those that do")
    spec = importlib.util.spec_from_file_location(f"hummingbird_config_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses with postponed annotations find their module by name
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # a config is the user's code: whatever it raises is theirs to fix
        raise UserError(f"config file {file} cannot be read: {type(error).__name__}: {error}") from error
    get_config = getattr(module, "get_config", None)
    if get_config is None:
        raise UserError(f"config file {file} has no function get_config(variant='')")
    if variant and not inspect.signature(get_config).parameters:
        raise UserError(f"config file {file} takes no variant, remove ':{variant}'")
    try:
        differences = get_config(variant) if variant else get_config()
    except KeyError as error:
        raise UserError(f"config file {file} has no variant {error}; its docstring lists them") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"config file {file}: get_config failed: {type(error).__name__}: {error}") from error
    return as_dict(differences, f"config file {file}: get_config returned")


def as_dict(differences: Tree | ml_collections.ConfigDict | None, source: str) -> Tree:
    """Converts a dict or `ml_collections.ConfigDict` to a plain dict; UserError for anything else."""
    if isinstance(differences, ml_collections.ConfigDict):
        return differences.to_dict()
    if not isinstance(differences, dict):
        raise UserError(f"{source} {type(differences).__name__}, not a dict")
    return differences
