"""Tiny random models of BEiT and what was built on it, from timm's modules."""

from __future__ import annotations

import copy
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.weights.upstream import randomize, upstream
from tests.weights.zoo import (
    CLIP,
    HALF,
    IMAGENET,
    PATCH,
    SIDE,
    TIMM_SIZES,
    WIDTH,
    Specimen,
    grid,
    pixels,
    recorded,
    save,
    timm_eva,
)


def beit(folder: pathlib.Path, shared: bool) -> Specimen:
    """Version 1 fine-tuned, with a table for each layer, or version 2 as pretrained, with one table for all."""
    torch = upstream("torch")
    tables = {"use_shared_rel_pos_bias": True} if shared else {"use_rel_pos_bias": True, "init_values": 0.1}
    model = randomize(
        upstream("timm.models.beit").Beit(
            **TIMM_SIZES,
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


def eva(folder: pathlib.Path, name: str, statistics: tuple, family: str, renamed: dict, **changes: Any) -> Specimen:
    """A model of timm's EVA module, its arrays `renamed` by regular expressions as its project names them."""
    torch = upstream("torch")
    model = timm_eva(**changes)
    state = {}
    for key, x in model.state_dict().items():
        for pattern, new in renamed.items():
            key = re.sub(pattern, new, key)
        state[key] = x.flatten() if key.endswith("class_embedding") else x[0] if "positional_emb" in key else x
    prefix = model.num_prefix_tokens

    def features(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return grid(model.fc_norm(model.forward_features(pixels(images, statistics)))[:, prefix:], images)

    last = model.fc_norm if family != "perception" and changes.get("global_pool", "avg") == "avg" else model.norm
    outputs = recorded(features, model.blocks, last)
    return Specimen(save(folder / name, state), features, family, outputs)


GATED = {"swiglu_mlp": True, "mlp_ratio": 4 * 2 / 3, "ref_feat_shape": (16, 16)}
OLD_NAMES = {
    r"attn\.([qv])_proj\.bias": r"attn.\1_bias",
    r"attn\.norm": "attn.inner_attn_ln",
    r"mlp\.norm": "mlp.ffn_ln",
    r"mlp\.fc1_g": "mlp.w1",
    r"mlp\.fc1_x": "mlp.w2",
    r"mlp\.fc2": "mlp.w3",
}


def eva02(folder: pathlib.Path) -> Specimen:
    """The base model in timm's names: three projections, a norm within the MLP."""
    return eva(folder, "eva02.pth", CLIP, "eva02", {}, **GATED, qkv_fused=False, scale_mlp=True)


def eva02_small(folder: pathlib.Path) -> Specimen:
    """The small model in timm's names: projections in one array, gate and value in another."""
    return eva(folder, "eva02_small.pth", CLIP, "eva02", {}, **GATED)


def eva02_clip(folder: pathlib.Path) -> Specimen:
    """The image tower in the project's names, with norms within attention and MLP."""
    parts = {"qkv_fused": False, "scale_mlp": True, "scale_attn_inner": True, "global_pool": "token"}
    return eva(folder, "EVA02_CLIP_B.pt", CLIP, "eva02", {r"^": "visual.", **OLD_NAMES}, **GATED, **parts)


def eva_giant(folder: pathlib.Path) -> Specimen:
    return eva(folder, "giant.pth", CLIP, "eva", {}, use_rot_pos_emb=False)


PERCEPTION = {
    r"^": "visual.",
    r"patch_embed\.proj": "conv1",
    r"pos_embed": "positional_embedding",
    r"cls_token": "class_embedding",
    r"norm_pre": "ln_pre",
    r"visual\.norm\.": "visual.ln_post.",
    r"\.blocks": ".transformer.resblocks",
    r"(resblocks\.\d\.)norm": r"\1ln_",
    r"gamma_(\d)": r"ls_\1.gamma",
    r"attn\.qkv\.": "attn.in_proj_",
    r"attn\.proj": "attn.out_proj",
    r"mlp\.fc1": "mlp.c_fc",
    r"mlp\.fc2": "mlp.c_proj",
}


def perception(folder: pathlib.Path, core: bool) -> Specimen:
    """The core model in the project's names, or a language model without [CLS] and last norm in timm's."""
    layers = upstream("timm.layers")
    kind = {"rope_grid_offset": 1.0} if core else {"class_token": False, "init_values": 0.1}
    return eva(
        folder,
        "PE-Core.pt" if core else "pe_lang.pth",
        HALF,
        "perception",
        {**PERCEPTION, r"visual\.(attn_pool\.)latent": r"visual.\1probe"} if core else {},
        attn_type="rope",
        ref_feat_shape=(SIDE // PATCH,) * 2,
        rope_grid_indexing="xy",
        global_pool="map" if core else "avg",
        use_pre_transformer_norm=True,
        use_post_transformer_norm=core,
        use_fc_norm=False,
        norm_layer=lambda width, **how: layers.LayerNorm(width, eps=1e-5, **how),
        **kind,
    )


BEIT_ZOO: dict[str, Callable[[pathlib.Path], Specimen]] = {
    "BEiT": lambda folder: beit(folder, shared=False),
    "BEiT v2": lambda folder: beit(folder, shared=True),
    "EVA-02": eva02,
    "EVA-02 small": eva02_small,
    "EVA02-CLIP": eva02_clip,
    "EVA": eva_giant,
    "Perception Encoder": lambda folder: perception(folder, core=True),
    "Perception Encoder, language": lambda folder: perception(folder, core=False),
}
