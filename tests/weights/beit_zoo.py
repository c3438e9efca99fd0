"""Tiny random models of BEiT and what was built on it, from timm's modules."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.weights.upstream import randomize, upstream
from tests.weights.zoo import (
    DEPTH,
    HALF,
    HEADS,
    IMAGENET,
    PATCH,
    SIDE,
    WIDTH,
    Specimen,
    grid,
    pixels,
    recorded,
    save,
)


def beit(folder: pathlib.Path, shared: bool) -> Specimen:
    """Version 1 fine-tuned, with a table for each layer, or version 2 as pretrained, with one table for all."""
    torch = upstream("torch")
    tables = {"use_shared_rel_pos_bias": True} if shared else {"use_rel_pos_bias": True, "init_values": 0.1}
    model = randomize(
        upstream("timm.models.beit").Beit(
            img_size=SIDE,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=HEADS,
            num_classes=0,
            use_abs_pos_emb=shared,
            use_fc_norm=not shared,
            **tables,
        )
    )
    statistics, parts = IMAGENET if shared else HALF, {"mask_token": torch.zeros(1, 1, WIDTH)}
    if shared:
        parts |= {"cls_pt_layers.0.gamma_1": torch.ones(WIDTH), "lm_head.weight": torch.ones(3, WIDTH)}
    name = "beitv2_base_pt1k.pth" if shared else "beit_base_pt22k_ft22k.pth"
    path = save(folder / name, {"model": model.state_dict() | parts})

    def resized(images: np.ndarray) -> Any:
        other = copy.deepcopy(model)
        other.set_input_size(images.shape[1:3])
        return other

    def features(images: np.ndarray, model: Any = None) -> np.ndarray:
        model = model or resized(images)
        with torch.no_grad():
            return grid(model.fc_norm(model.forward_features(pixels(images, statistics)))[:, 1:], images)

    at_size = lambda images: features(images, model)
    outputs = recorded(at_size, model.blocks, model.norm if shared else model.fc_norm)
    return Specimen(path, features, "beitv2" if shared else "beit", outputs)


BEIT_ZOO: dict[str, Callable[[pathlib.Path], Specimen]] = {
    "BEiT": lambda folder: beit(folder, shared=False),
    "BEiT v2": lambda folder: beit(folder, shared=True),
}
