"""Converts a model's arrays from the names and shapes of one project to ours, and back.

A layout is a list of rows: our name, their names, how the array changes. The same row serves both directions, so an
export is an import read from right to left. `{i}` stands for the layer. Arrays under several of their names lie side by
side in ours (query, key, value).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from hummingbird.models.staged import StagedArchitecture

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """One array of a layout.

    Attributes:
      ours: our name.
      theirs: their names.
      change: how it changes on the way to ours, a name in `CHANGES`.
      optional: whether some models lack it; these lack it in every layer.
    """

    ours: str
    theirs: tuple[str, ...]
    change: str = "same"
    optional: bool = False


def _to_patch_kernel(x: np.ndarray) -> np.ndarray:
    return x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])  # [D, 3, p, p] -> [p * p * 3, D]


def _from_patch_kernel(x: np.ndarray) -> np.ndarray:
    patch = round((x.shape[0] / 3) ** 0.5)
    return x.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1)


def _from_patch_kernel_last(x: np.ndarray) -> np.ndarray:
    patch = round((x.shape[0] / 3) ** 0.5)
    return x.reshape(patch, patch, 3, -1)


def _to_patch_rows(x: np.ndarray) -> np.ndarray:
    patch = round((x.shape[1] / 3) ** 0.5)
    return _to_patch_kernel(x.reshape(-1, 3, patch, patch))  # [D, 3 * p * p]


# name: (theirs -> ours, ours -> theirs); the way back restores leading axes of size 1.
CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "same": (lambda x: x, lambda x: x),
    "linear": (lambda x: x.T, lambda x: x.T),
    "conv": (_to_patch_kernel, _from_patch_kernel),
    "conv_last": (lambda x: x.reshape(-1, x.shape[-1]), _from_patch_kernel_last),  # [p, p, 3, D]
    "patch_rows": (_to_patch_rows, lambda x: _from_patch_kernel(x).reshape(x.shape[1], -1)),
    "token": (lambda x: x.reshape(-1), lambda x: x[None, None]),  # [1, 1, D]
    "tokens": (lambda x: x.reshape(-1, x.shape[-1]), lambda x: x[None]),  # [1, N, D]
    "rows": (lambda x: x.reshape(-1, x.shape[-1]), lambda x: x),  # [N, D]
    "heads_in": (lambda x: x.reshape(x.shape[0], -1), lambda x: x),  # [D, heads, d]; the way back needs the heads
    "heads_in_bias": (lambda x: x.reshape(-1), lambda x: x),  # [heads, d]
    "heads_out": (lambda x: x.reshape(-1, x.shape[-1]), lambda x: x),  # [heads, d, D]
}

# Number of axes of their array, where the change relies on it.
AXES = {"linear": 2, "patch_rows": 2, "conv": 4, "conv_last": 4, "heads_in": 3, "heads_in_bias": 2, "heads_out": 3}


@dataclasses.dataclass
class Match:
    """How the arrays of a file fit a layout.

    Attributes:
      arrays: in our names.
      used: their names that have a place.
      missing: their names that are absent.
      wrong: their names and shapes where the number of axes is wrong.
      depth: number of layers.
    """

    arrays: Arrays
    used: set[str]
    missing: list[str]
    wrong: list[str]
    depth: int


@dataclasses.dataclass
class Read:
    """A network of stages in a file.

    Attributes:
      arrays: in our names.
      arch: read off their shapes and what lies beside them.
      unexpected: their names that have no place.
      missing: their names that are absent.
    """

    arrays: Arrays
    arch: StagedArchitecture
    unexpected: list[str]
    missing: list[str] = dataclasses.field(default_factory=list[str])


def depth_of(rows: list[Row], names: Iterable[str]) -> int:
    """Returns the number of layers that names show: one more than the greatest index."""
    patterns = {re.escape(t).replace(r"\{i\}", r"(\d+)") for row in rows for t in row.theirs if "{i}" in t}
    found = [int(m[1]) for name in names for p in patterns if (m := re.fullmatch(p, name))]
    return max(found, default=-1) + 1


def match(rows: list[Row], arrays: Mapping[str, np.ndarray]) -> Match:
    """Converts arrays from their names to ours.

    Nothing is filled in, with one exception: a bias that query, key or value lacks (DINOv3's key) is zero there.

    Args:
      rows: the layout.
      arrays: by their names.

    Example:
      >>> match([Row("norm/scale", ("norm.weight",))], {"norm.weight": np.ones(2)}).arrays
      {'norm/scale': array([1., 1.])}
    """
    depth = depth_of(rows, arrays.keys())
    result = Match({}, set(), [], [], depth)
    for row in rows:
        layers = range(depth) if "{i}" in row.ours else (None,)
        wanted = [[t.format(i=i) for t in row.theirs] for i in layers]
        if row.optional and not any(t in arrays for group in wanted for t in group):
            continue
        for i, group in zip(layers, wanted, strict=True):
            group_axes = {arrays[t].ndim for t in group if t in arrays}
            if row.change in AXES and group_axes - {AXES[row.change]}:
                result.wrong += [f"{t} {list(arrays[t].shape)}" for t in group if t in arrays]
                result.used.update(group)
                continue
            parts = [CHANGES[row.change][0](arrays[t]) if t in arrays else None for t in group]
            here = [p for p in parts if p is not None]
            if len(here) < len(parts) and not (row.ours.endswith("qkv/bias") and here):
                result.missing += [t for t in group if t not in arrays]
                continue
            parts = [np.zeros_like(here[0]) if p is None else p for p in parts]
            ours = row.ours.format(i=f"{i:02d}") if i is not None else row.ours
            result.arrays[ours] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
            result.used.update(t for t in group if t in arrays)
    if not depth:
        result.missing += [t for row in rows if "{i}" in row.ours and not row.optional for t in row.theirs][:3]
    return result


def unmatch(rows: list[Row], arrays: Mapping[str, np.ndarray], heads: int) -> Arrays:
    """Converts arrays from our names to theirs: the inverse of `match`.

    Args:
      rows: the layout.
      arrays: by our names.
      heads: attention heads, for layouts that have an axis for them.
    """
    depth = depth_of([Row(row.ours, (row.ours,)) for row in rows], arrays.keys())
    theirs: Arrays = {}
    for row in rows:
        for i in range(depth) if "{i}" in row.ours else (None,):
            name = row.ours.format(i=f"{i:02d}") if i is not None else row.ours
            if name not in arrays:
                continue
            parts = np.split(arrays[name], len(row.theirs), axis=-1)
            for target, part in zip(row.theirs, parts, strict=True):
                part = CHANGES[row.change][1](part)
                if row.change.startswith("heads_in"):
                    part = part.reshape(*part.shape[:-1], heads, -1)
                elif row.change == "heads_out":
                    part = part.reshape(heads, -1, part.shape[-1])
                theirs[target.format(i=i)] = np.ascontiguousarray(part)
    return theirs
