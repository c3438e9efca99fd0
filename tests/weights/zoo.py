"""Tiny random models of every family: a file as the project publishes it, and the project's own features.

`ZOO[name](folder)` writes the file and returns a `Specimen`. The reference is timm's, transformers' or open_clip's
module; where a project's own code is not on the package index, it is timm's module of the same architecture with the
positions resized by PyTorch as that project does.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.weights.upstream import randomize, upstream

WIDTH, DEPTH, HEADS, PATCH, SIDE = 128, 2, 2, 8, 32  # 64 channels a head, as in the published models
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclasses.dataclass
class Specimen:
    """A file and its reference.

    Attributes:
      path: the file.
      features: uint8 [B, H, W, 3] -> [B, h, w, D].
      family: what the file must be recognised as.
      outputs: uint8 [B, H, W, 3] -> the output [B, T, D] of each layer, then that of the final norm after the last one;
        T tokens are [CLS], registers, patches. None for ConvNeXts.
      sizes: (height, width) of the images: the trained one, and one with fewer rows and more columns.
    """

    path: pathlib.Path
    features: Callable[[np.ndarray], np.ndarray]
    family: str
    outputs: Callable[[np.ndarray], list[np.ndarray]] | None = None
    sizes: tuple[tuple[int, int], ...] = ((32, 32), (24, 48))


def recorded(features: Callable, layers: Any, norm: Any) -> Callable[[np.ndarray], list[np.ndarray]]:
    """What the modules `layers` and `norm` give while `features` runs."""

    def outputs(images: np.ndarray) -> list[np.ndarray]:
        found: dict[int, Any] = {}
        hooks = [
            module.register_forward_hook(lambda _, __, output, at=at: found.update({at: output}))
            for at, module in enumerate([*layers, norm])
        ]
        features(images)
        for hook in hooks:
            hook.remove()
        return [(x[0] if isinstance(x, tuple) else x).numpy() for _, x in sorted(found.items())]

    return outputs


def grid(tokens: Any, images: np.ndarray, patch: int = PATCH) -> np.ndarray:
    """torch [B, h * w, D] -> numpy [B, h, w, D]."""
    return tokens.numpy().reshape(len(images), images.shape[1] // patch, images.shape[2] // patch, -1)


def pixels(images: np.ndarray, statistics: tuple) -> Any:
    """uint8 [B, H, W, 3] -> normalised torch [B, 3, H, W]."""
    mean, std = (np.asarray(x, np.float32) for x in statistics)
    return upstream("torch").from_numpy(((images / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy())


TIMM_SIZES = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}


def timm_vit(**changes: Any) -> Any:
    module = upstream("timm.models.vision_transformer")
    return randomize(module.VisionTransformer(**{**TIMM_SIZES, "num_classes": 0, **changes}))


def timm_eva(**changes: Any) -> Any:
    settings = {**TIMM_SIZES, "num_classes": 0, "dynamic_img_size": True, "use_rot_pos_emb": True}
    return randomize(upstream("timm.models.eva").Eva(**{**settings, **changes}))


def timm_specimen(
    path: pathlib.Path, model: Any, statistics: tuple, family: str, resize: dict | None = None
) -> Specimen:
    """Features of a timm model after its norm. `resize`: how positions are resized instead of timm's way."""
    torch = upstream("torch")
    table, module = model.pos_embed, model.patch_embed
    prefix = table.shape[1] - (SIDE // PATCH) ** 2
    module.strict_img_size = False

    def features(images: np.ndarray) -> np.ndarray:
        rows, columns = images.shape[1] // PATCH, images.shape[2] // PATCH
        cells = table[:, prefix:].reshape(1, SIDE // PATCH, SIDE // PATCH, -1).permute(0, 3, 1, 2)
        how = resize or {"mode": "bicubic", "antialias": True}
        if "offset" in how:
            scale = tuple((n + how["offset"]) / (SIDE // PATCH) for n in (rows, columns))
            new = torch.nn.functional.interpolate(cells, scale_factor=scale, mode="bicubic")
        else:
            new = torch.nn.functional.interpolate(cells, size=(rows, columns), **how)
        if (rows, columns) == (SIDE // PATCH,) * 2:
            new = cells
        resized = torch.cat([table[:, :prefix], new.flatten(2).transpose(1, 2)], 1)
        with torch.no_grad():
            model.pos_embed = torch.nn.Parameter(resized)
            tokens = model.fc_norm(model.forward_features(pixels(images, statistics)))
            model.pos_embed = table
        return grid(tokens[:, model.num_prefix_tokens :], images)

    return Specimen(path, features, family, recorded(features, model.blocks, model.fc_norm))


BICUBIC, OFFSET = {"mode": "bicubic"}, {"offset": 0.1}


def save(path: pathlib.Path, content: Any) -> pathlib.Path:
    upstream("torch").save(content, path)
    return path


def timm_augreg(folder: pathlib.Path) -> Specimen:
    model = timm_vit(num_classes=10)
    path = save(folder / "vit_tiny_patch8_32.augreg_in21k.pth", model.state_dict())
    return timm_specimen(path, model, HALF, "augreg")


def timm_folder(folder: pathlib.Path) -> Specimen:
    import json

    from safetensors.torch import save_file

    model = timm_vit(num_classes=10, global_pool="avg", class_token=False)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": "vit_x", "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}}
    (folder / "config.json").write_text(json.dumps(config))
    return timm_specimen(folder, model, ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)), "timm")


def deit3(folder: pathlib.Path) -> Specimen:
    model = timm_vit(num_classes=10, no_embed_class=True, init_values=1e-6)
    names = {f"ls{n}.gamma": f"gamma_{n}" for n in (1, 2)}  # the names of the original files
    state = {}
    for name, x in model.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        state[name] = x
    return timm_specimen(save(folder / "model.pth", {"model": state}), model, IMAGENET, "deit")


def deit_distilled(folder: pathlib.Path) -> Specimen:
    deit = upstream("timm.models.deit")
    model = randomize(deit.VisionTransformerDistilled(**TIMM_SIZES, num_classes=10))
    return timm_specimen(save(folder / "model.pth", {"model": model.state_dict()}), model, IMAGENET, "deit")


def dino(folder: pathlib.Path) -> Specimen:
    model = timm_vit()
    path = save(folder / "dino_deitsmall16_pretrain.pth", model.state_dict())
    return timm_specimen(path, model, IMAGENET, "dino", OFFSET)


def dino_training(folder: pathlib.Path) -> Specimen:
    """The whole training checkpoint: both networks, their heads, the optimiser and argparse's Namespace."""
    torch = upstream("torch")
    student, teacher = timm_vit(), randomize(timm_vit(), seed=1)

    def wrapped(model: Any, prefix: str) -> dict:
        head = {f"{prefix}head.mlp.0.weight": torch.ones(3, WIDTH), f"{prefix}head.last_layer.weight_g": torch.ones(4)}
        return {f"{prefix}backbone.{n}": x for n, x in model.state_dict().items()} | head

    content = {
        "student": wrapped(student, "module."),
        "teacher": wrapped(teacher, ""),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=8),
        "dino_loss": {"center": torch.zeros(1, 4)},
    }
    path = save(folder / "checkpoint.pth", content)
    return timm_specimen(path, teacher, IMAGENET, "dino", OFFSET)


def ibot(folder: pathlib.Path) -> Specimen:
    model = timm_vit()
    state = model.state_dict() | {"masked_embed": upstream("torch").zeros(1, WIDTH)}
    path = save(folder / "checkpoint_teacher.pth", {"state_dict": state})
    return timm_specimen(path, model, IMAGENET, "ibot", OFFSET)


def mae(folder: pathlib.Path) -> Specimen:
    model = timm_vit()
    path = save(folder / "mae_pretrain_vit_base.pth", {"model": model.state_dict()})
    return timm_specimen(path, model, IMAGENET, "mae", BICUBIC)


def mocov3(folder: pathlib.Path) -> Specimen:
    torch = upstream("torch")
    base, momentum = timm_vit(), randomize(timm_vit(), seed=1)
    state = {f"module.base_encoder.{n}": x for n, x in base.state_dict().items()}
    state |= {f"module.momentum_encoder.{n}": x for n, x in momentum.state_dict().items()}
    state |= {"module.base_encoder.head.0.weight": torch.ones(4, WIDTH), "module.predictor.0.weight": torch.ones(4, 4)}
    path = save(folder / "vit-b-300ep.pth.tar", {"epoch": 300, "arch": "vit_base", "state_dict": state})
    return timm_specimen(path, base, IMAGENET, "mocov3")


def ijepa(folder: pathlib.Path) -> Specimen:
    """The training checkpoint: both encoders without [CLS], and the predictor."""
    torch = upstream("torch")
    context, target = timm_vit(class_token=False, fc_norm=False, global_pool="avg"), None
    target = randomize(timm_vit(class_token=False, fc_norm=False, global_pool="avg"), seed=1)
    wrapped = [{f"module.{n}": x for n, x in model.state_dict().items()} for model in (context, target)]
    content = {"encoder": wrapped[0], "target_encoder": wrapped[1], "epoch": 300}
    content["predictor"] = {"module.predictor_embed.weight": torch.ones(4, WIDTH), "module.mask_token": torch.ones(1)}
    return timm_specimen(save(folder / "vit.h.14-300e.pth.tar", content), target, IMAGENET, "ijepa", BICUBIC)


def dinov2(folder: pathlib.Path) -> Specimen:
    model = timm_vit(init_values=1e-5)
    state = model.state_dict() | {"mask_token": upstream("torch").zeros(1, WIDTH)}
    return timm_specimen(save(folder / "pretrain.pth", state), model, IMAGENET, "dinov2", OFFSET)


def dinov2_registers_swiglu(folder: pathlib.Path) -> Specimen:
    """The giant's form: SwiGLU (w12, w3), four registers, and a position for [CLS]."""
    torch, layers = upstream("torch"), upstream("timm.layers")
    model = timm_vit(
        init_values=1e-5, reg_tokens=4, no_embed_class=True, mlp_layer=layers.SwiGLUPacked, act_layer=torch.nn.SiLU
    )
    state = dict(model.state_dict())
    at_cls = torch.full((1, 1, WIDTH), 0.25)
    state["pos_embed"] = torch.cat([at_cls, state["pos_embed"]], 1)
    state["cls_token"] = state["cls_token"] - at_cls
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, WIDTH)
    state = {n.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): x for n, x in state.items()}
    path = save(folder / "pretrain.pth", state)
    return timm_specimen(path, model, IMAGENET, "dinov2_registers")


def timm_dinov3(folder: pathlib.Path, gated: bool = False) -> Specimen:
    """timm's own form of DINOv3: query and value biases apart, `gamma_1`, `reg_token`."""
    torch, layers = upstream("torch"), upstream("timm.layers")
    model = timm_eva(
        qkv_bias=gated,
        init_values=1e-5,
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_abs_pos_emb=False,
        num_reg_tokens=4,
        use_fc_norm=False,
        swiglu_mlp=gated,
        swiglu_align_to=64 if gated else 0,
        norm_layer=lambda width, **how: layers.LayerNorm(width, eps=1e-5, **how),
    )

    def features(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return grid(model.forward_features(pixels(images, IMAGENET))[:, 5:], images)

    outputs = recorded(features, model.blocks, model.norm)
    return Specimen(save(folder / "model.pth", model.state_dict()), features, "timm_dinov3", outputs)


def open_clip_tower(folder: pathlib.Path, quick: bool) -> Specimen:
    torch, transformer = upstream("torch"), upstream("open_clip.transformer")
    tower = transformer.VisionTransformer(
        image_size=SIDE,
        patch_size=PATCH,
        width=WIDTH,
        layers=DEPTH,
        heads=HEADS,
        mlp_ratio=4,
        output_dim=16,
        act_layer=transformer.QuickGELU if quick else torch.nn.GELU,
    )
    randomize(tower)
    state = {f"visual.{n}": x for n, x in tower.state_dict().items()}
    state |= {"logit_scale": torch.tensor(1.0), "token_embedding.weight": torch.ones(3, 4)}
    path = save(folder / ("openai_vit.pt" if quick else "vit_b_laion2b.bin"), state)
    table = tower.positional_embedding

    def features(images: np.ndarray) -> np.ndarray:
        rows, columns = images.shape[1] // PATCH, images.shape[2] // PATCH
        state = {"visual.positional_embedding": table.detach()}
        tower.grid_size = (rows, columns)
        upstream("open_clip.model").resize_pos_embed(state, argparse.Namespace(visual=tower))
        with torch.no_grad():
            tower.positional_embedding = torch.nn.Parameter(state["visual.positional_embedding"])
            out = tower.forward_intermediates(
                pixels(images, CLIP), indices=1, normalize_intermediates=True, output_fmt="NLC"
            )
            tower.positional_embedding = table
        return grid(out["image_intermediates"][-1], images)

    outputs = recorded(features, tower.transformer.resblocks, tower.ln_post)
    return Specimen(path, features, "clip" if quick else "openclip", outputs)


def siglip_open_clip(folder: pathlib.Path) -> Specimen:
    model = timm_vit(class_token=False, global_pool="map")
    state = {f"visual.trunk.{n}": x for n, x in model.state_dict().items()}
    path = save(folder / "open_clip_pytorch_model.bin", state | {"logit_bias": upstream("torch").zeros(1)})
    return timm_specimen(path, model, HALF, "siglip")


ZOO: dict[str, Callable[[pathlib.Path], Specimen]] = {
    "timm AugReg": timm_augreg,
    "timm folder, averaged": timm_folder,
    "DeiT III": deit3,
    "DeiT distilled": deit_distilled,
    "DINO": dino,
    "DINO training checkpoint": dino_training,
    "iBOT": ibot,
    "MAE": mae,
    "MoCo v3": mocov3,
    "I-JEPA": ijepa,
    "DINOv2": dinov2,
    "DINOv2 registers, SwiGLU": dinov2_registers_swiglu,
    "timm DINOv3": timm_dinov3,
    "timm DINOv3, gated": lambda folder: timm_dinov3(folder, gated=True),
    "CLIP": lambda folder: open_clip_tower(folder, quick=True),
    "OpenCLIP": lambda folder: open_clip_tower(folder, quick=False),
    "SigLIP (OpenCLIP)": siglip_open_clip,
}
