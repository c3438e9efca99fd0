"""Names of runs: values as text, keys shortened, folders named by what differs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from hummingbird.sweep.schedule import settings_key
from hummingbird.sweep.spec import Value

LONGEST_NAME = 100


def as_text(value: Value) -> str:
    """Returns a value as it is typed on the command line.

    Example:
      >>> as_text((0.1, None, True))
      '0.1,none,true'
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(as_text(v) for v in value)
    return str(value)


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Returns the shortest ending of each dotted key that no other key shares.

    Example:
      >>> short_keys(["context.weight", "seed"])
      {'context.weight': 'weight', 'seed': 'seed'}
    """
    return {key: next((end for end in _endings(key) if not _shared(end, key, keys)), key) for key in keys}


def _endings(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]


def _shared(ending: str, key: str, keys: Sequence[str]) -> bool:
    return any(other != key and (other == ending or other.endswith(f".{ending}")) for other in keys)


def varying(points: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the keys that differ between points, in order of appearance; all keys if none differs."""
    keys = list(dict.fromkeys(key for point in points for key in point))
    return [key for key in keys if len({point.get(key) for point in points}) > 1] or keys


def name_runs(points: Sequence[Mapping[str, str]], known: Mapping[str, str]) -> list[str]:
    """Names a folder for each point: its own "name", or what differs, as in weight=0.2,seed=1.

    Args:
      points: values as text.
      known: names of earlier calls by `settings_key`; they are kept.
    """
    keys = [key for key in varying(points) if key != "name"]
    short = short_keys(keys)
    names: list[str] = []
    for point in points:
        identity = settings_key(point)
        mark = hashlib.sha256(identity.encode()).hexdigest()[:6]
        name = known.get(identity, _folder_name(point, points, keys, short, mark))
        names.append(f"{name}-{mark}" if name in names else name)
    return names


def _folder_name(
    point: Mapping[str, str],
    points: Sequence[Mapping[str, str]],
    keys: Sequence[str],
    short: Mapping[str, str],
    mark: str,
) -> str:
    parts = []
    if "name" in point:
        alike = [other for other in points if other.get("name") == point["name"]]
        keys = [key for key in keys if len({other.get(key) for other in alike}) > 1]
        parts = [point["name"]]
    parts += [f"{short[key]}={point[key].rstrip('/').rpartition('/')[2]}" for key in keys if key in point]
    name = re.sub(r"[^\w.+=,\[\]-]+", "-", ",".join(parts)).strip("-.") or "run"
    return f"{name[: LONGEST_NAME - 7]}-{mark}" if len(name) > LONGEST_NAME else name
