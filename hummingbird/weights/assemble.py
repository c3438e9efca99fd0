"""From arrays in our names to an architecture: what they show, what is known besides, and their position table."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import TypedDict

import numpy as np

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.staged import StagedArchitecture
from hummingbird.weights.families import FAMILIES, HEADS
from hummingbird.weights.files import Source
from hummingbird.weights.fits import Fit
from hummingbird.weights.mapping import Arrays
from hummingbird.weights.settings import Settings, input_size


@dataclasses.dataclass
class Found:
    """An encoder found in a file.

    Attributes:
      family: a name in `families.FAMILIES`.
      layout: the naming of its arrays, a name in `layouts.LAYOUTS`.
      prefix: of the arrays' names in the file.
      arch: sizes and variations.
      arrays: in our names, flat ("block_00/norm1/scale").
    """

    family: str
    layout: str
    prefix: str
    arch: Architecture | StagedArchitecture
    arrays: Arrays


GIVE_GRID = "give grid=ROWS,COLUMNS (--config.encoder.grid, or --grid of import)"
RELATIVE = "block_00/attention/relative"  # where there are tables of relative positions, the first layer has one


class _Shown(TypedDict):
    """Settings of an architecture that the arrays themselves show."""

    swiglu: bool
    cls: bool
    registers: int
    layer_scale: bool
    pre_norm: bool
    final_norm: bool
    patch_bias: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    attention_norm: bool
    mlp_norm: bool


def _shown(arrays: Arrays) -> _Shown:
    return {
        "swiglu": arrays["block_00/mlp/up/kernel"].shape[1] == 2 * arrays["block_00/mlp/down/kernel"].shape[0],
        "cls": "cls" in arrays,
        "registers": len(arrays.get("registers", ())),
        "layer_scale": "block_00/scale1" in arrays,
        "pre_norm": "pre_norm/scale" in arrays,
        "final_norm": "norm/scale" in arrays,
        "patch_bias": "patch_embed/bias" in arrays,
        "qkv_bias": "block_00/attention/qkv/bias" in arrays,
        "out_bias": "block_00/attention/out/bias" in arrays,
        "mlp_bias": "block_00/mlp/up/bias" in arrays,
        "attention_norm": "block_00/attention/norm/scale" in arrays,
        "mlp_norm": "block_00/mlp/norm/scale" in arrays,
    }


def assemble(source: Source, fit: Fit, settings: Settings) -> Found:
    """Makes an encoder of arrays that fit a layout.

    Raises:
      UserError: something that the arrays do not show is not known: normalisation, heads or the grid of positions.
    """
    arrays = dict(fit.match.arrays)
    kernel = arrays["patch_embed/kernel"]
    width, patch = kernel.shape[1], math.isqrt(kernel.shape[0] // 3)
    if 3 * patch * patch != kernel.shape[0]:
        raise UserError(f"{source.path}: its patch embedding takes {kernel.shape[0]} values, not square patches of RGB")
    if "pooled_norm/scale" in arrays:  # timm's models that pool by averaging keep the last norm behind the pooling
        arrays.setdefault("norm/scale", arrays.pop("pooled_norm/scale"))
        arrays.setdefault("norm/bias", arrays.pop("pooled_norm/bias"))
    if "prefix" in arrays:  # RADIO's tokens of several teachers; the first is taken for [CLS]
        arrays["cls"], *others = arrays.pop("prefix")
        arrays |= {"registers": np.stack(others)} if others else {}
    if "distillation" in arrays:
        token = arrays.pop("distillation")[None]
        arrays["registers"] = np.concatenate([token, *([arrays["registers"]] if "registers" in arrays else [])])
    if not settings.mean or not settings.std:
        raise UserError(
            f"{source.path}: nothing beside it says how its pixels are normalised; put its config.json or "
            "preprocessor_config.json there, or give mean=R,G,B and std=R,G,B (--mean and --std of import)"
        )
    heads = settings.heads or _heads(source, fit, width)
    if width % heads:
        raise UserError(f"{source.path}: {heads} heads for width {width}; give heads=N (--heads of import)")
    grid = split_positions(source.path, arrays, settings.grid or _grid_of_config(source, arrays, patch))
    at_grid = grid or relative_grid(source.path, arrays, settings.grid)
    sizes = {"width": width, "depth": fit.match.depth, "mlp_dim": arrays["block_00/mlp/down/kernel"].shape[0]}
    arch = Architecture(patch, heads=heads, **sizes, **_shown(arrays), positions="learned" if grid else "none")
    arch = dataclasses.replace(arch, **{**settings.known(), "heads": heads, "grid": at_grid})
    if RELATIVE not in arrays:
        arch = dataclasses.replace(arch, relative="")
    if arch.swiglu:
        arch = dataclasses.replace(arch, activation="silu")
    return Found(fit.family, fit.layout, fit.prefix, arch, arrays)


def _heads(source: Source, fit: Fit, width: int) -> int:
    """Reads attention heads off the shapes that show them, or takes them from the width as the project does."""
    if shown := [x.shape[-2] for n, x in fit.names.items() if n.endswith("query/kernel") and x.ndim == 3]:
        return shown[0]
    if RELATIVE in fit.match.arrays:
        return fit.match.arrays[RELATIVE].shape[1]
    if "rope_embed.periods" in fit.names:
        return width // (4 * len(fit.names["rope_embed.periods"]))
    heads = dict(FAMILIES[fit.family].heads).get(width) or HEADS.get(width) or (width // 64 if width % 64 == 0 else 0)
    if not heads:
        raise UserError(
            f"{source.path}: an unknown number of heads for width {width}; give heads=N (--heads of import)"
        )
    return heads


def _grid_of_config(source: Source, arrays: Arrays, patch: int) -> tuple[int, int] | None:
    """Returns the grid of the input size in a timm config, if the position table has as many rows."""
    size = input_size(source)
    if size is None or "positions" not in arrays:
        return None
    grid = (size[0] // patch, size[1] // patch)
    return grid if len(arrays["positions"]) - grid[0] * grid[1] in _extras(arrays) else None


def _extras(arrays: Arrays) -> list[int]:
    """Returns how many rows of a position table may belong to [CLS] and registers."""
    cls = int("cls" in arrays)
    return sorted({0, cls, cls + len(arrays.get("registers", ()))})


def relative_grid(path: pathlib.Path, arrays: Arrays, grid: tuple[int, int] | None) -> tuple[int, int] | None:
    """Returns the grid of patches that tables of relative positions are stored for; None without such tables.

    Args:
      path: for messages.
      arrays: in our names.
      grid: the expected one; None: a square.

    Raises:
      UserError: the tables are not those of the grid.
    """
    if RELATIVE not in arrays:
        return None
    offsets = len(arrays[RELATIVE]) - 3
    side = (math.isqrt(offsets) + 1) // 2
    rows, columns = grid or (side, side)
    if (2 * rows - 1) * (2 * columns - 1) != offsets:
        what = f"a grid of {rows}x{columns}" if grid else "a square image"
        raise UserError(f"{path}: its {offsets} relative positions are not those of {what}; {GIVE_GRID}")
    return rows, columns


def split_positions(path: pathlib.Path, arrays: Arrays, grid: tuple[int, int] | None) -> tuple[int, int] | None:
    """Cuts the rows of the position table that belong to [CLS] and registers off, and adds them to these tokens.

    Args:
      path: for messages.
      arrays: in our names; changed in place.
      grid: (rows, columns) of patches; None: a square.

    Returns:
      The grid, or None without a table.

    Raises:
      UserError: the table is not that of the grid, or does not tell a square from a rectangle with [CLS].
    """
    if "positions" not in arrays:
        return None
    table, cls = arrays["positions"], int("cls" in arrays)
    for extra in _extras(arrays):
        cells = len(table) - extra
        rows, columns = grid or (math.isqrt(cells), math.isqrt(cells))
        if cells and rows * columns == cells:
            break
    else:
        asked = f"a grid of {grid[0]}x{grid[1]}" if grid else "a square image"
        raise UserError(f"{path}: its {len(table)} positions are not those of {asked}; {GIVE_GRID}")
    # Tables without [CLS] are those of networks with LayerScale (DeiT III) or registers; ViTPose has 8x6 and [CLS].
    if not grid and cls and not extra and "block_00/scale1" not in arrays and "registers" not in arrays:
        raise UserError(
            f"{path}: its {len(table)} positions may be {rows}x{columns} patches, or [CLS] and a rectangle; {GIVE_GRID}"
        )
    if extra and cls:
        arrays["cls"] = arrays["cls"] + table[0]
    if extra > cls:
        arrays["registers"] = arrays["registers"] + table[cls:extra]
    arrays["positions"] = table[extra:]
    return rows, columns
