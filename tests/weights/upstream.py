"""Other projects' reference implementations, importable on a machine without a GPU build of torchvision.

timm, open_clip and transformers import torchvision's Python part, which declares shapes for two C++ operators that no
CPU build ships. Declaring the operators is enough: no test calls them.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

_DECLARED: list[Any] = []  # keeps the library alive: its operators go with it


def upstream(name: str) -> ModuleType:
    """The module `name`, or a skip where torch or the project is not installed."""
    torch = pytest.importorskip(
        "torch", reason="torch is not installed: pip install 'hummingbird-incontext[torch,dev]'"
    )
    if not _DECLARED and not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
    torch.set_num_threads(1)  # tiny models: threads cost more than they save
    pytest.importorskip(name.split(".")[0], reason=f"{name} is not installed: pip install 'hummingbird-incontext[dev]'")
    return importlib.import_module(name)


def randomize(model: Any, seed: int = 0, scale: float = 0.2) -> Any:
    """Draws every parameter, also those that start at 0 or 1, so that swapping or dropping one changes the features."""
    torch = upstream("torch")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            one = parameter.ndim == 1 and name.endswith("weight")  # scales of norms stay near 1
            parameter.copy_(noise + 1.0 if one else noise)
    return model.eval()


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest magnitude of the reference; shapes must agree."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
