"""Tiny random ConvNeXts: timm's and transformers' modules, and the original files' names."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.weights.hf_zoo import folder_of
from tests.weights.upstream import randomize, upstream
from tests.weights.zoo import IMAGENET, Specimen, pixels, save

DEPTHS, WIDTHS = (1, 2, 1, 1), (8, 16, 24, 32)
SIZES = ((32, 32), (32, 64))  # multiples of the last stage's cells


def timm_model(**changes: Any) -> Any:
    module = upstream("timm.models.convnext")
    return randomize(module.ConvNeXt(**{"depths": DEPTHS, "dims": WIDTHS, "num_classes": 5, **changes}))


def features(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """timm's last map through the norm of its head, which timm applies after pooling."""
    torch = upstream("torch")

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model.head.norm(model.forward_features(pixels(images, IMAGENET))).permute(0, 2, 3, 1).numpy()

    return run


def timm(folder: pathlib.Path) -> Specimen:
    """With the MLP as 1 x 1 convolutions, as timm's small models have it."""
    model = timm_model(conv_mlp=True)
    return Specimen(save(folder / "convnext.pth", model.state_dict()), features(model), "convnext", sizes=SIZES)


def original(folder: pathlib.Path) -> Specimen:
    """V2 in the original names: GRN of shape [1, 1, 1, C], no layer scale."""
    model = timm_model(use_grn=True, ls_init_value=None)
    state = {}
    for name, x in model.state_dict().items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", name)
        name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        name = name.replace("mlp.grn.weight", "grn.gamma").replace("mlp.grn.bias", "grn.beta")
        name = re.sub(r"^head\.norm\.", "norm.", name).replace("head.fc.", "head.")
        state[name] = x.reshape(1, 1, 1, -1) if "grn." in name else x
    return Specimen(save(folder / "convnextv2.pt", {"model": state}), features(model), "convnext", sizes=SIZES)


def transformers(folder: pathlib.Path) -> Specimen:
    torch, library = upstream("torch"), upstream("transformers")
    config = library.ConvNextConfig(depths=list(DEPTHS), hidden_sizes=list(WIDTHS))
    model = randomize(library.ConvNextModel(config))

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            tokens = model(pixels(images, IMAGENET)).last_hidden_state.permute(0, 2, 3, 1)
            mean, std = tokens.mean(-1, keepdim=True), tokens.var(-1, keepdim=True, unbiased=False).add(1e-6).sqrt()
            return ((tokens - mean) / std * model.layernorm.weight + model.layernorm.bias).numpy()

    return Specimen(folder_of(model, folder), run, "convnext", sizes=SIZES)


CONV_ZOO: dict[str, Callable[[pathlib.Path], Specimen]] = {
    "ConvNeXt (timm)": timm,
    "ConvNeXt V2 (original)": original,
    "HF ConvNeXt": transformers,
}
