"""How settings are declared, parsed and checked. The settings themselves are in `hummingbird.config`.

A schema is a nested dict whose leaves are `Setting`s. `resolve` turns a schema, a dict of differences and a list of
`key=value` overrides into one flat, fully checked mapping; every refusal names the key and what would be accepted.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.util
import inspect
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from hummingbird.errors import UserError


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting: its type, its only default, its meaning and its range.

    Attributes:
      kind: int, float, bool or str; with `many` a tuple of them.
      default: the default. None is allowed only if `optional`.
      help: what it means, with its unit.
      low, high: inclusive bounds of numbers (of each element with `many`).
      above: exclusive lower bound.
      choices: the accepted values of a str.
      optional: None ("none" on the command line) is accepted.
      many: a tuple of values ("1,2,3" on the command line).
      resumable: may differ when a run is resumed.
    """

    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] | None = None
    optional: bool = False
    many: bool = False
    resumable: bool = False

    def parse(self, key: str, text: str) -> Any:
        """The value that `--config.key=text` means; UserError if the text is not of this type."""
        if self.optional and text.lower() in ("none", "null", ""):
            return None
        if self.many:
            return tuple(self._parse_one(key, part.strip()) for part in text.strip("()[]").split(",") if part.strip())
        return self._parse_one(key, text)

    def _parse_one(self, key: str, text: str) -> Any:
        if self.kind is bool:
            if text.lower() in ("true", "1", "yes"):
                return True
            if text.lower() in ("false", "0", "no"):
                return False
            raise UserError(f"--config.{key}={text}: expected true or false")
        try:
            if self.kind is int:
                return _integer(text)
            return self.kind(text)
        except ValueError:
            raise UserError(f"--config.{key}={text}: expected {self.describe()}") from None

    def check(self, key: str, value: Any) -> Any:
        """`value` as the setting's own type; UserError if its type or range is wrong."""
        if value is None:
            if self.optional:
                return None
            raise UserError(f"config key {key}: is None, expected {self.describe()}")
        if self.many:
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise UserError(f"config key {key}: {value!r} is not a list, expected {self.describe()}")
            return tuple(self._check_one(key, item) for item in value)
        return self._check_one(key, value)

    def _check_one(self, key: str, value: Any) -> Any:
        if self.kind is float and type(value) is int:
            value = float(value)
        accepted = type(value) is self.kind and (self.choices is None or value in self.choices)
        if accepted and self.kind in (int, float):
            accepted = (
                math.isfinite(value)
                and (self.low is None or value >= self.low)
                and (self.high is None or value <= self.high)
                and (self.above is None or value > self.above)
            )
        if not accepted:
            raise UserError(f"config key {key}: {value!r} is not accepted, expected {self.describe()}")
        return value

    def describe(self) -> str:
        """What is accepted, in words."""
        if self.choices is not None:
            text = "one of " + ", ".join(self.choices)
        else:
            text = {int: "an integer", float: "a finite number", bool: "true or false", str: "a text"}[self.kind]
            limits = ((">=", self.low), (">", self.above), ("<=", self.high))
            bounds = [f"{sign} {limit:g}" for sign, limit in limits if limit is not None]
            text += (" " + " and ".join(bounds)) if bounds else ""
        if self.many:
            text = f"a list, each {text}"
        return text + (" or none" if self.optional else "")


def _integer(text: str) -> int:
    """'1000', '153_600' and '1e4' are integers; '1.5' and 'nan' are not."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not math.isfinite(number) or number != int(number):
            raise ValueError(text) from None
        return int(number)


Int = functools.partial(Setting, int)
Float = functools.partial(Setting, float)
Bool = functools.partial(Setting, bool)
Text = functools.partial(Setting, str)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, key + "."))
        else:
            flat[key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def unknown_key(key: str, valid: Sequence[str]) -> UserError:
    """The error for a key that is not in the schema, naming the nearest that are."""
    leaf = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, valid, n=3, cutoff=0.6)
    near += [v for v in valid if v.rsplit(".", 1)[-1] == leaf and v not in near][:3]
    inside = [v for v in valid if v.startswith(key + ".")]
    if inside:
        return UserError(f"config key {key} is a group, not a setting; its settings: {', '.join(inside)}")
    hint = f"did you mean {' or '.join(near)}?" if near else f"the groups are {', '.join(_groups(valid))}"
    return UserError(f"unknown config key {key}; {hint}")


def _groups(valid: Sequence[str]) -> list[str]:
    return sorted({key.split(".")[0] for key in valid})


def resolve(
    schema: Mapping[str, Any], differences: Mapping[str, Any], overrides: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Defaults, then `differences` (typed values), then `overrides` (text): a flat dict, every value checked."""
    settings: dict[str, Setting] = flatten(schema)
    values = {key: setting.default for key, setting in settings.items()}
    for key, value in flatten(differences).items():
        if key not in settings:
            raise unknown_key(key, list(settings))
        values[key] = value
    for key, text in overrides:
        if key not in settings:
            raise unknown_key(key, list(settings))
        values[key] = settings[key].parse(key, text)
    return {key: settings[key].check(key, value) for key, value in values.items()}


def load_file(path: str) -> dict[str, Any]:
    """The differences that a config file (`FILE` or `FILE:variant`) declares, as a nested dict."""
    name, _, variant = path.partition(".py:")
    file = pathlib.Path(name + ".py" if variant else path)
    if not file.is_file():
        raise UserError(f"config file {file} does not exist; see configs/ for those that do")
    spec = importlib.util.spec_from_file_location(f"hummingbird_config_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # a config is the user's code: whatever it raises is theirs to mend
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
    if not isinstance(differences, Mapping | ml_collections.ConfigDict):
        raise UserError(f"config file {file}: get_config returned {type(differences).__name__}, not a dict")
    return differences.to_dict() if isinstance(differences, ml_collections.ConfigDict) else dict(differences)
