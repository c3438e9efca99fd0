"""How settings are declared, parsed and checked. The settings themselves are in `pretrain`, `evaluate` and others here.

A job's settings are frozen dataclasses: the annotation of a field gives its type (`int`, `int | None`,
`tuple[float, ...]`, `Literal["a", "b"]`), and `setting(...)` its default, meaning and range:

    @dataclasses.dataclass(frozen=True)
    class Context:
        bank_length: int = setting(153_600, "|Mp|, entries of the memory bank (App. B)", low=0)

`resolve` combines defaults, a dict of differences and a list of `key=value` overrides into one checked instance. Every
error names the key and what would be accepted.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar

from hummingbird.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

One: TypeAlias = bool | int | float | str
Value: TypeAlias = One | tuple[One, ...] | None
# Values as users give them, which are not checked yet: by key, nested or dotted.
Tree: TypeAlias = "Mapping[str, Value | Sequence[One] | Tree]"
Job = TypeVar("Job")
Default = TypeVar("Default")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting, as declared by a dataclass field.

    Attributes:
      kind: int, float, bool or str; the type of each element if `many`.
      default: the default value.
      help: what it means, with its unit.
      low, high: inclusive bounds of numbers (of each element if `many`).
      above: exclusive lower bound.
      choices: the accepted values of a str.
      optional: None ("none" on the command line) is accepted.
      many: a tuple of values ("1,2,3" on the command line).
      count: number of values in the tuple; None: any.
      resumable: may differ when a run is resumed.
      path: a path; a leading "~" is expanded to the home folder.
      none: the word that stands for None.
    """

    kind: type
    default: Value
    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] | None = None
    optional: bool = False
    many: bool = False
    count: int | None = None
    resumable: bool = False
    path: bool = False
    none: str = "none"

    def parse(self, key: str, text: str) -> Value:
        """Converts the text of `--config.key=text` to the setting's type; UserError if it does not fit."""
        if self.optional and text.lower() in (self.none, "none", "null", ""):
            return None
        if self.many:
            return tuple(self._parse_one(key, part.strip()) for part in text.strip("()[]").split(",") if part.strip())
        return self._parse_one(key, text)

    def _parse_one(self, key: str, text: str) -> One:
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

    def check(self, key: str, value: Value | Sequence[One]) -> Value:
        """Returns `value` in the setting's own type; UserError if its type or range is wrong."""
        if value is None or (self.none != "none" and value == self.none):
            if self.optional:
                return None
            raise UserError(f"config key {key} is None, expected {self.describe()}")
        if self.many:
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise UserError(f"config key {key}: {value!r} is not a list, expected {self.describe()}")
            if self.count not in (None, len(value)):
                raise UserError(f"config key {key}: {value!r} is not accepted, expected {self.describe()}")
            return tuple(self._check_one(key, item) for item in value)
        return self._check_one(key, value)

    def _check_one(self, key: str, value: One | Sequence[One]) -> One:
        if self.kind is float and type(value) is int:
            value = float(value)
        accepted = type(value) is self.kind and (self.choices is None or value in self.choices)
        if accepted and isinstance(value, int | float):
            accepted = (
                math.isfinite(value)
                and (self.low is None or value >= self.low)
                and (self.high is None or value <= self.high)
                and (self.above is None or value > self.above)
            )
        if not accepted or not isinstance(value, One):
            raise UserError(f"config key {key}: {value!r} is not accepted, expected {self.describe()}")
        return os.path.expanduser(value) if self.path and isinstance(value, str) else value

    def describe(self) -> str:
        """Says in words which values are accepted."""
        if self.choices is not None:
            text = "one of " + ", ".join(self.choices)
        else:
            text = {int: "an integer", float: "a number", bool: "true or false", str: "text"}[self.kind]
            text = "a path" if self.path else text
            limits = {">=": self.low, ">": self.above, "<=": self.high}
            bounds = [f"{sign} {limit}" for sign, limit in limits.items() if limit is not None]
            text += f" {' and '.join(bounds)}" if bounds else ""
            if self.low is not None and self.high is not None:
                text = text.replace(">= ", "from ").replace(" and <= ", " to ")
        if self.many:
            text = f"{self.count or 'any number of'} values, each {text}"
        return text + (f" or {self.none}" if self.optional else "")


def _integer(text: str) -> int:
    """Accepts '1000', '153_600' and '1e4'; rejects '1.5' and 'nan'."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not math.isfinite(number) or number != int(number):
            raise ValueError(text) from None
        return int(number)


# ---------------------------------------------------------------- declaring
def setting(
    default: Default,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    resumable: bool = False,
    path: bool = False,
    none: str = "none",
) -> Default:
    """Declares a field of a settings dataclass; see `Setting` for the arguments."""
    metadata = {"help": help, "low": low, "high": high, "above": above, "resumable": resumable, "path": path}
    metadata["none"] = none
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache  # most of the time of resolving a config, of which a sweep resolves hundreds
def _hints(job: type) -> Mapping[str, Any]:
    return types.MappingProxyType(typing.get_type_hints(job))


@functools.cache
def declared(job: type) -> Mapping[str, Setting]:
    """Lists every setting of a settings dataclass: {"a.b": Setting}, in the order of declaration."""
    hints, found = _hints(job), {}
    for field in dataclasses.fields(job):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            found |= {f"{field.name}.{key}": value for key, value in declared(hint).items()}
        else:
            default: Any = field.default
            found[field.name] = Setting(default=default, **_kind_of(hint), **field.metadata)
    return types.MappingProxyType(found)


class _Kind(TypedDict, total=False):
    """The attributes of a `Setting` that its type annotation decides."""

    kind: type
    choices: tuple[str, ...]
    optional: bool
    many: bool
    count: int | None


def _kind_of(hint: Any) -> _Kind:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return {**_kind_of(inner), "optional": True}
    if origin is tuple:
        return {**_kind_of(arguments[0]), "many": True, "count": None if arguments[-1] is ... else len(arguments)}
    if origin is Literal:
        return {"kind": str, "choices": arguments}
    return {"kind": hint}


# ---------------------------------------------------------------- resolving
def resolve(job: type[Job], differences: Tree, overrides: Sequence[tuple[str, str]] = ()) -> Job:
    """Applies `differences` (typed values), then `overrides` (text), to the defaults of `job`.

    Raises:
      UserError: unknown key (the nearest valid ones are named), wrong type or range.
    """
    settings = declared(job)
    values: dict[str, Value | Sequence[One]] = {key: setting.default for key, setting in settings.items()}
    for key, value in flatten(differences).items():
        if key not in settings:
            raise unknown_key(key, list(settings))
        values[key] = value
    for key, text in overrides:
        if key not in settings:
            raise unknown_key(key, list(settings))
        values[key] = settings[key].parse(key, text)
    return _build(job, {key: setting.check(key, values[key]) for key, setting in settings.items()}, "")


def _build(job: type[Job], values: Mapping[str, Value], prefix: str) -> Job:
    fields = {}
    for name, hint in _hints(job).items():
        is_group = isinstance(hint, type) and dataclasses.is_dataclass(hint)
        fields[name] = _build(hint, values, f"{prefix}{name}.") if is_group else values[prefix + name]
    return job(**fields)


def to_flat(config: DataclassInstance) -> dict[str, Value]:
    """Returns a config's values as {"a.b": value}, for comparison and for JSON."""
    return {key: operator.attrgetter(key)(config) for key in declared(type(config))}


def flatten(tree: Tree, prefix: str = "") -> dict[str, Value | Sequence[One]]:
    """Joins the keys of nested mappings.

    Example:
      >>> flatten({"a": {"b": 1, "c.d": 2}, "e": 3})
      {'a.b': 1, 'a.c.d': 2, 'e': 3}
    """
    flat: dict[str, Value | Sequence[One]] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def unknown_key(key: str, valid: Sequence[str]) -> UserError:
    """Makes the error for a key that does not exist; it names the nearest keys that do."""
    leaf = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, valid, n=3, cutoff=0.6)
    near += [v for v in valid if v.rsplit(".", 1)[-1] == leaf and v not in near][:3]
    inside = [v for v in valid if v.startswith(key + ".")]
    if inside:
        return UserError(f"config key {key} is a group, not a setting; its settings: {', '.join(inside)}")
    groups = sorted({key.split(".")[0] for key in valid})
    hint = f"did you mean {' or '.join(near)}?" if near else f"the groups are {', '.join(groups)}"
    return UserError(f"unknown config key {key}; {hint}")
