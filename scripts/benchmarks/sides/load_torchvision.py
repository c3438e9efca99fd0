"""Imports torchvision, even if its C++ operators do not match the installed PyTorch."""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any

OPERATORS: list[Any] = []  # keeps declared operators alive


@functools.cache
def import_torchvision() -> ModuleType:
    """Returns torchvision.transforms; ends the program with one line if torch or torchvision is missing."""
    try:
        import torch

        try:
            from torchvision import transforms
        except RuntimeError:  # on import torchvision registers shapes for these two operators; no transform calls them
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            OPERATORS.append(torch.library.Library("torchvision", "DEF"))
            for operator in ("nms", "qnms"):
                OPERATORS[0].define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            from torchvision import transforms
    except (ImportError, RuntimeError) as error:
        sys.exit(f"bench: {str(error).splitlines()[0]}; pip install torch, and torchvision with --no-deps")
    return transforms
