"""Rows that layouts of many projects share; `BLOCK` starts our names of what lies in a block."""

from __future__ import annotations

from hummingbird.weights.mapping import Row

BLOCK = "block_{i}/"


def norm(ours: str, theirs: str, optional: bool = False, names: tuple[str, str] = ("weight", "bias")) -> list[Row]:
    """Returns the rows of a layer norm."""
    scale, bias = names
    return [
        Row(f"{ours}/scale", (f"{theirs}{scale}",), optional=optional),
        Row(f"{ours}/bias", (f"{theirs}{bias}",), optional=optional),
    ]


def linear(ours: str, *theirs: str, optional: bool = False) -> list[Row]:
    """Returns the rows of a dense layer; several of theirs lie side by side in ours."""
    return [
        Row(f"{ours}/kernel", tuple(f"{t}weight" for t in theirs), "linear", optional),
        Row(f"{ours}/bias", tuple(f"{t}bias" for t in theirs), optional=True),
    ]


def patch(theirs: str) -> list[Row]:
    """Returns the rows of a patch embedding that is stored as a convolution."""
    return [
        Row("patch_embed/kernel", (f"{theirs}weight",), "conv"),
        Row("patch_embed/bias", (f"{theirs}bias",), optional=True),
    ]
