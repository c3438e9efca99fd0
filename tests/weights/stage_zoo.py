"""Tiny random Swin transformers and ResNets: timm's and transformers' modules, and the original files' names."""

from __future__ import annotations

import copy
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.weights.hf_zoo import folder_of
from tests.weights.upstream import randomize, upstream
from tests.weights.zoo import IMAGENET, Specimen, pixels, save

DEPTHS, WIDTH, HEADS, WINDOW = (2, 1, 1, 1), 8, (2, 2, 4, 4), 3
SIZES = ((32, 32), (32, 64))  # multiples of the last stage's cells


def timm_swin(second: bool, side: int = 32) -> Any:
    name = "swin_transformer_v2" if second else "swin_transformer"
    module = upstream(f"timm.models.{name}")
    build = module.SwinTransformerV2 if second else module.SwinTransformer
    settings = {"depths": DEPTHS, "embed_dim": WIDTH, "num_heads": HEADS, "window_size": WINDOW, "num_classes": 5}
    if second:
        settings["pretrained_window_sizes"] = (2, 2, 2, 1)
    return randomize(build(img_size=side, always_partition=True, **settings))


def maps(model: Any, images: np.ndarray) -> list[Any]:
    """torch maps [B, h, w, D] of all stages of a timm model that is made for the size of the images."""
    torch, other = upstream("torch"), copy.deepcopy(model)
    other.set_input_size(images.shape[1:3], window_size=WINDOW, always_partition=False)
    with torch.no_grad():
        found = other.forward_intermediates(pixels(images, IMAGENET), intermediates_only=True)
    return [x.permute(0, 2, 3, 1) for x in found]


def features_of(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    torch = upstream("torch")

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model.norm(maps(model, images)[-1]).numpy()

    return run


def swin(folder: pathlib.Path) -> Specimen:
    """In timm's names, which merge cells at the start of a stage."""
    model = timm_swin(second=False)
    return Specimen(save(folder / "swin.pth", model.state_dict()), features_of(model), "swin", sizes=SIZES)


def swin_v2(folder: pathlib.Path) -> Specimen:
    """In the original names: cells are merged at the end of a stage, and buffers tell the windows."""
    torch, model = upstream("torch"), timm_swin(second=True)
    state = {}
    for name, x in model.state_dict().items():
        name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name)
        state[name.replace("head.fc.", "head.")] = x
    for stage, layer in enumerate(model.layers):
        state[f"layers.{stage}.blocks.0.attn.relative_coords_table"] = layer.blocks[0].attn.relative_coords_table
        state[f"layers.{stage}.blocks.0.attn.relative_position_index"] = torch.zeros(9, 9)
    return Specimen(save(folder / "swinv2.pth", {"model": state}), features_of(model), "swin", sizes=SIZES)


def hf_swin(folder: pathlib.Path, second: bool) -> Specimen:
    """Windows fit into the maps of all three stages: transformers shrinks V1's without resizing their tables."""
    torch, library = upstream("torch"), upstream("transformers")
    kind = "Swinv2" if second else "Swin"
    settings = {"depths": [2, 1, 1], "embed_dim": WIDTH, "num_heads": [2, 2, 4], "window_size": 2}
    config = getattr(library, f"{kind}Config")(image_size=64, **settings)
    model = randomize(getattr(library, f"{kind}Model")(config))

    def run(images: np.ndarray) -> np.ndarray:
        rows, columns = images.shape[1] // 16, images.shape[2] // 16
        with torch.no_grad():
            tokens = model(pixels(images, IMAGENET), interpolate_pos_encoding=True).last_hidden_state
        return tokens.numpy().reshape(len(images), rows, columns, -1)

    return Specimen(folder_of(model, folder), run, "swin", sizes=SIZES)


def randomized(model: Any) -> Any:
    """Statistics of batch norms are drawn too."""
    torch, generator = upstream("torch"), upstream("torch").Generator().manual_seed(1)
    for name, buffer in randomize(model).named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.2)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model.eval()


@functools.cache
def timm_resnet(basic: bool = False) -> Any:
    module = upstream("timm.models.resnet")
    block = module.BasicBlock if basic else module.Bottleneck
    changes = {} if basic else {"cardinality": 2, "base_width": 16}
    return randomized(module.ResNet(block, (2, 1, 1, 1), num_classes=5, channels=(8, 16, 16, 32), **changes))


def resnet_features(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    torch = upstream("torch")

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model.forward_features(pixels(images, IMAGENET)).permute(0, 2, 3, 1).numpy()

    return run


def resnet(folder: pathlib.Path) -> Specimen:
    """Bottlenecks with groups (ResNeXt)."""
    model = timm_resnet()
    return Specimen(save(folder / "resnext.pth", model.state_dict()), resnet_features(model), "resnet", sizes=SIZES)


def moco(folder: pathlib.Path) -> Specimen:
    """The training checkpoint of MoCo: both encoders and the queue; basic blocks."""
    torch, model = upstream("torch"), timm_resnet(basic=True)
    state = {f"module.encoder_q.{n}": x for n, x in model.state_dict().items()}
    state |= {f"module.encoder_k.{n}": torch.zeros_like(x) for n, x in model.state_dict().items()}
    state |= {"module.queue": torch.zeros(4, 4), "module.queue_ptr": torch.zeros(1)}
    path = save(folder / "moco_v2_800ep_pretrain.pth.tar", {"state_dict": state, "arch": "resnet18"})
    return Specimen(path, resnet_features(model), "resnet", sizes=SIZES)


def hf_resnet(folder: pathlib.Path) -> Specimen:
    torch, library = upstream("torch"), upstream("transformers")
    config = library.ResNetConfig(embedding_size=8, hidden_sizes=[16, 24, 32, 40], depths=[1, 2, 1, 1])
    model = randomized(library.ResNetModel(config))

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(pixels(images, IMAGENET)).last_hidden_state.permute(0, 2, 3, 1).numpy()

    return Specimen(folder_of(model, folder), run, "resnet", sizes=SIZES)


STAGE_ZOO: dict[str, Callable[[pathlib.Path], Specimen]] = {
    "Swin (timm)": swin,
    "Swin V2 (original)": swin_v2,
    "HF Swin": lambda folder: hf_swin(folder, second=False),
    "HF Swin V2": lambda folder: hf_swin(folder, second=True),
    "ResNeXt (timm)": resnet,
    "MoCo ResNet": moco,
    "HF ResNet": hf_resnet,
}
