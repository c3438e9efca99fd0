"""Lists settings for people: what `--config.help` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from hummingbird.config.schema import Setting, Value, unknown_key

WIDTH = 100


def list_settings(settings: Mapping[str, Setting], group: str = "") -> str:
    """Describes settings: key, default, accepted values and meaning.

    Args:
      settings: as `config.declared` returns them.
      group: list only this key or group, such as "data.scenes"; empty: all.

    Raises:
      UserError: no such key or group.

    Example:
      >>> from hummingbird import config
      >>> print(list_settings(config.declared("evaluate"), "depth.low"))
      depth.low=0.001  (a number > 0)
          smallest valid depth, metres; 0 is invalid
    """
    chosen = {key: setting for key, setting in settings.items() if _inside(key, group)}
    if not chosen:
        raise unknown_key(group, list(settings))
    return "\n".join(_describe(key, setting) for key, setting in chosen.items())


def _inside(key: str, group: str) -> bool:
    return not group or key == group or key.startswith(f"{group}.")


def _describe(key: str, setting: Setting) -> str:
    accepted = setting.describe() + (", may change on resume" if setting.resumable else "")
    text = textwrap.fill(setting.help, WIDTH, initial_indent="    ", subsequent_indent="    ")
    default = setting.none if setting.default is None else show(setting.default)
    return f"{key}={default}  ({accepted})\n{text}"


def show(value: Value) -> str:
    """Writes a value as `--config.key=VALUE` takes it.

    Example:
      >>> show((0.08, 1.0)), show(None), show(True), show(1e-3)
      ('0.08,1.0', 'none', 'true', '0.001')
    """
    if isinstance(value, tuple):
        return ",".join(map(show, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
