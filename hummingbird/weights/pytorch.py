"""PyTorch files, read by `torch.load(weights_only=True)`: a file that brings code is refused, never run."""

from __future__ import annotations

import argparse
import pathlib
import pickle
from typing import Any

import numpy as np
from numpy._core.multiarray import (  # pyright: ignore[reportAttributeAccessIssue]
    _reconstruct,
    scalar,
)

from hummingbird.errors import UserError, first_line

# What training scripts save beside the weights, besides tensors: records of options, paths, NumPy arrays and scalars.
# They hold values, not code. NumPy 1 and 2 name the constructors differently.
HARMLESS = [
    argparse.Namespace,
    pathlib.PosixPath,
    np.ndarray,
    np.dtype,
    *(kind for name in np.dtypes.__all__ if isinstance(kind := getattr(np.dtypes, name), type)),
    *((_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def read_pytorch(file: pathlib.Path) -> Any:
    """Returns what a file holds: mostly nested dictionaries with tensors among their values.

    Raises:
      UserError: torch is not installed, the file is damaged, or it holds more than values.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{file} is a PyTorch file and torch is not installed: pip install 'hummingbird-incontext[torch]', "
            "or take the safetensors version"
        ) from None
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error)
        named = text.split("GLOBAL ")[-1].split(" ")[0] if "GLOBAL " in text else "objects other than arrays"
        raise UserError(
            f"{file} is not a plain file of weights: its pickle asks for {named}, and unpickling that could run code; "
            "save its state_dict() alone with torch, or take the safetensors version"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{file} is cut off or damaged ({first_line(error)}); download it again") from error


def to_numpy(leaf: Any) -> Any:
    """Returns a tensor as a NumPy array, floating-point ones in float32; anything else as it is."""
    import torch

    if not isinstance(leaf, torch.Tensor):
        return leaf
    dense = leaf.detach().to_dense() if leaf.is_sparse else leaf.detach()
    return (dense.float() if dense.is_floating_point() else dense).numpy()
