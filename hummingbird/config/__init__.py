"""Every setting, declared once with its default, meaning and range; and how a config file becomes a config.

Files under `configs/` hold only what differs from the defaults: `get_config(variant="")` returns a nested dict. On the
command line `--config=NAME[:variant]` names one, by path or as in `evaluate/pascal_voc`, and `--config.a.b=value`
overrides it. `resolve` refuses unknown keys, wrong types and values out of range before anything is built.

Example:
  >>> from hummingbird import config
  >>> small = config.resolve("pretrain", overrides={"batch_size": 64, "context.bank_length": 128})
  >>> small.context.bank_length, small.ema_decay
  (128, 0.99)
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar, overload

from hummingbird.config import schema
from hummingbird.config.decoder_presets import decoder_preset
from hummingbird.config.evaluate import EvaluateConfig
from hummingbird.config.files import as_dict, load_file
from hummingbird.config.finetune import FinetuneConfig
from hummingbird.config.listing import list_settings
from hummingbird.config.names import find
from hummingbird.config.presets import PRESETS
from hummingbird.config.pretrain import PretrainConfig
from hummingbird.config.schema import Setting, Tree, Value, to_flat
from hummingbird.config.segment import SegmentConfig
from hummingbird.errors import UserError

Kind = Literal["pretrain", "evaluate", "segment", "finetune"]
Config = TypeVar("Config", PretrainConfig, EvaluateConfig, SegmentConfig, FinetuneConfig)
Overrides: TypeAlias = "Sequence[tuple[str, str]] | Tree"

KINDS: dict[str, type[PretrainConfig] | type[EvaluateConfig] | type[SegmentConfig] | type[FinetuneConfig]] = {
    "pretrain": PretrainConfig,
    "evaluate": EvaluateConfig,
    "segment": SegmentConfig,
    "finetune": FinetuneConfig,
}

__all__ = [
    "EvaluateConfig",
    "FinetuneConfig",
    "PretrainConfig",
    "SegmentConfig",
    "Setting",
    "as_dict",
    "declared",
    "kind_of",
    "list_settings",
    "load_file",
    "of_run",
    "replace",
    "resolve",
    "to_flat",
]


@overload
def resolve(kind: Literal["pretrain"], path: str | None = None, overrides: Overrides = ()) -> PretrainConfig: ...
@overload
def resolve(kind: Literal["evaluate"], path: str | None = None, overrides: Overrides = ()) -> EvaluateConfig: ...
@overload
def resolve(kind: Literal["segment"], path: str | None = None, overrides: Overrides = ()) -> SegmentConfig: ...
@overload
def resolve(kind: Literal["finetune"], path: str | None = None, overrides: Overrides = ()) -> FinetuneConfig: ...
@overload
def resolve(
    kind: Literal["pretrain", "evaluate"], path: str | None = None, overrides: Overrides = ()
) -> PretrainConfig | EvaluateConfig: ...
@overload
def resolve(
    kind: str, path: str | None = None, overrides: Overrides = ()
) -> PretrainConfig | EvaluateConfig | SegmentConfig | FinetuneConfig: ...
def resolve(
    kind: str, path: str | None = None, overrides: Overrides = ()
) -> PretrainConfig | EvaluateConfig | SegmentConfig | FinetuneConfig:
    """Builds the complete, checked config of a job.

    Args:
      kind: "pretrain", "evaluate", "segment" or "finetune".
      path: config file, or name of a shipped one ("evaluate/pascal_voc"; `kind` may be left out), with ":variant" if it
        takes one; None: defaults alone.
      overrides: pairs of key and text as typed on the command line, or a (nested or dotted) dict of typed values.

    Raises:
      UserError: missing or broken file, unknown key (the nearest valid ones are named), wrong type or range.

    Example:
      >>> resolve("evaluate", overrides=[("retrieval.temperature", "0.1")]).retrieval.temperature
      0.1
      >>> resolve("evaluate", overrides={"retrieval": {"index": "exact"}}).retrieval.index
      'exact'
    """
    differences = schema.flatten(load_file(path, kind) if path else {})
    if isinstance(overrides, Mapping):
        differences = {**differences, **schema.flatten(overrides)}
        return schema.resolve(KINDS[kind], with_preset(kind, differences))
    return schema.resolve(KINDS[kind], with_preset(kind, differences, dict(overrides)), overrides)


def kind_of(path: str) -> str:
    """Returns the kind of job a config file is for, such as "pretrain": by its folder, or by what it sets."""
    for kind in ("pretrain", "finetune"):
        with contextlib.suppress(UserError):
            found = find(path, kind).file
            if found.parent.name in KINDS:
                return found.parent.name
            keys = schema.flatten(load_file(path, kind))
            return "finetune" if any(key.startswith("decoder.") for key in keys) else "pretrain"
    return "pretrain"


def with_preset(kind: str, differences: Tree, texts: Mapping[str, str] = types.MappingProxyType({})) -> Tree:
    """Returns differences from the defaults, after those that come with their protocol or preset.

    Args:
      kind: of the config.
      differences: flat.
      texts: what is typed on the command line, which may name the protocol or preset.
    """
    given = {**differences, **texts}
    preset = decoder_preset(given) if kind == "finetune" else PRESETS.get(str(given.get("protocol")), {})
    return {**preset, **differences}


def replace(config: Config, changes: Tree) -> Config:
    """Returns a copy of `config` with other values, which are checked as in `resolve`.

    Example:
      >>> replace(resolve("evaluate"), {"retrieval.neighbours": 90}).retrieval.neighbours
      90
    """
    kind = next(kind for kind, made in KINDS.items() if made is type(config))
    flat = schema.flatten(changes)
    chosen = any(key in flat for key in ("protocol", "decoder.preset"))
    return schema.resolve(type(config), {**to_flat(config), **(with_preset(kind, flat) if chosen else flat)})


def of_run(flat: Tree, **changes: Value) -> PretrainConfig:
    """Rebuilds the config of a run.

    Args:
      flat: content of its config.json; settings that are missing take their defaults.
      changes: other values, by key.
    """
    return schema.resolve(PretrainConfig, {**flat, **changes})


def declared(kind: str) -> Mapping[str, Setting]:
    """Lists every setting of a job: {"a.b": Setting}."""
    return schema.declared(KINDS[kind])
