"""Tiny random models of transformers, saved as the hub holds them."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.weights.upstream import randomize, upstream
from tests.weights.zoo import (
    CLIP,
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

SIZES = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "patch_size": PATCH}
SIZED = {**SIZES, "image_size": SIDE, "intermediate_size": 4 * WIDTH}
RATIO = {**SIZES, "image_size": SIDE, "mlp_ratio": 4}

GATED = {
    gated: {"num_register_tokens": 4, "use_gated_mlp": gated, "hidden_act": "silu" if gated else "gelu"}
    for gated in (False, True)
}


def build(kind: str, **settings: Any) -> Any:
    transformers = upstream("transformers")
    return randomize(getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**settings)))


def layers_and_norm(model: Any) -> tuple[list[Any], Any]:
    parts = dict(model.named_modules())
    layers = [m for name, m in parts.items() if re.fullmatch(r"(.*\.)?layers?\.\d+", name)]
    norms = [
        m for name, m in parts.items() if re.fullmatch(r"((vision_)?model\.)?(layernorm|norm|post_layernorm)", name)
    ]
    assert (len(layers), len(norms)) == (DEPTH, 1)
    return layers, norms[0]


def specimen(path: pathlib.Path, model: Any, statistics: tuple, prefix: int, family: str, **call: Any) -> Specimen:
    torch = upstream("torch")
    layers, norm = layers_and_norm(model)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            tokens = model(pixels(images, statistics), **call).last_hidden_state
            if "CLIP" in type(model).__name__:  # its last hidden state is the one before the last norm
                tokens = norm(tokens)
        return grid(tokens[:, prefix:], images)

    return Specimen(path, run, family, recorded(run, layers, norm))


def folder_of(model: Any, folder: pathlib.Path, statistics: tuple | None = None) -> pathlib.Path:
    model.save_pretrained(folder)
    if statistics:
        mean, std = statistics
        content = {"image_mean": list(mean), "image_std": list(std)}
        (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder


def vit(folder: pathlib.Path) -> Specimen:
    model = build("ViT", **SIZED)
    return specimen(folder_of(model, folder, HALF), model, HALF, 1, "hf_vit", interpolate_pos_encoding=True)


def beit(folder: pathlib.Path) -> Specimen:
    """As pretrained: one table of relative positions for all layers, the last norm beside the encoder."""
    transformers = upstream("transformers")
    settings = {"use_shared_relative_position_bias": True, "use_mean_pooling": True, "use_mask_token": True}
    model = randomize(transformers.BeitForMaskedImageModeling(transformers.BeitConfig(**SIZED, **settings)))
    path = folder_of(model, folder)
    model.beit.layernorm = model.layernorm
    return specimen(path, model.beit, HALF, 1, "hf_beit")


def mae(folder: pathlib.Path) -> Specimen:
    """The published file is of the pretraining model, with its decoder; the reference is ViTModel with its weights."""
    transformers = upstream("transformers")
    decoder = {f"decoder_{n}": SIZED[n] for n in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    config = transformers.ViTMAEConfig(**SIZED, **decoder, decoder_intermediate_size=WIDTH, mask_ratio=0.0)
    model = randomize(transformers.ViTMAEForPreTraining(config))
    plain = transformers.ViTModel(transformers.ViTConfig(**SIZED), add_pooling_layer=False).eval()
    plain.load_state_dict(model.vit.state_dict(), strict=True)
    return specimen(folder_of(model, folder), plain, IMAGENET, 1, "hf_mae", interpolate_pos_encoding=True)


def dinov2(folder: pathlib.Path) -> Specimen:
    """In three shards, as the largest models come."""
    model = build("Dinov2", **RATIO, use_swiglu_ffn=True)
    model.save_pretrained(folder, max_shard_size="500KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return specimen(folder, model, IMAGENET, 1, "hf_dinov2")


def dinov2_registers(folder: pathlib.Path) -> Specimen:
    model = build("Dinov2WithRegisters", **RATIO)
    return specimen(folder_of(model, folder), model, IMAGENET, 5, "hf_dinov2_registers")


def dinov3(folder: pathlib.Path, gated: bool = False) -> Specimen:
    model = build("DINOv3ViT", **SIZED, **GATED[gated])
    return specimen(folder_of(model, folder), model, IMAGENET, 5, "hf_dinov3")


def dinov3_native(folder: pathlib.Path, gated: bool = False) -> Specimen:
    """Meta's own file: fused qkv with a masked key bias, stored rotary periods, `storage_tokens`."""
    torch = upstream("torch")
    model = build("DINOv3ViT", **SIZED, **GATED[gated])
    theirs = {n: p.detach() for n, p in model.named_parameters()}
    stem = next(n for n in theirs if n.endswith("0.norm1.weight")).removesuffix("0.norm1.weight")
    state = {
        "cls_token": theirs["embeddings.cls_token"],
        "storage_tokens": theirs["embeddings.register_tokens"],
        "mask_token": torch.zeros(1, WIDTH),
        "patch_embed.proj.weight": theirs["embeddings.patch_embeddings.weight"],
        "patch_embed.proj.bias": theirs["embeddings.patch_embeddings.bias"],
        "rope_embed.periods": 100 ** torch.arange(0, 1, 4 / (WIDTH // HEADS)),
        "norm.weight": theirs["norm.weight"],
        "norm.bias": theirs["norm.bias"],
    }
    names = {"o_proj": "attn.proj", "norm1": "norm1", "norm2": "norm2"}
    names |= {"gate_proj": "mlp.w1", "up_proj": "mlp.w2", "down_proj": "mlp.w3"} if gated else {}
    names |= {} if gated else {"up_proj": "mlp.fc1", "down_proj": "mlp.fc2"}
    for i in range(DEPTH):
        at, to = f"{stem}{i}.", f"blocks.{i}."
        for part in ("weight", "bias"):
            qkv = [theirs.get(f"{at}attention.{x}_proj.{part}", torch.full((WIDTH,), 7.0)) for x in "qkv"]
            state[f"{to}attn.qkv.{part}"] = torch.cat(qkv)
            for old, new in names.items():
                found = [n for n in theirs if n.startswith(at) and n.endswith(f"{old}.{part}")]
                state[f"{to}{new}.{part}"] = theirs[found[0]]
        mask = torch.ones(3 * WIDTH)
        mask[WIDTH : 2 * WIDTH] = 0
        state[f"{to}attn.qkv.bias_mask"] = mask
        for n in (1, 2):
            state[f"{to}ls{n}.gamma"] = theirs[f"{at}layer_scale{n}.lambda1"]
    path = save(folder / "dinov3_vits16_pretrain.pth", state)
    return specimen(path, model, IMAGENET, 5, "dinov3")


def clip(folder: pathlib.Path) -> Specimen:
    model = build("CLIPVision", **SIZED)
    return specimen(folder_of(model, folder, CLIP), model, CLIP, 1, "hf_clip", interpolate_pos_encoding=True)


def siglip(folder: pathlib.Path) -> Specimen:
    model = build("SiglipVision", **SIZED)
    return specimen(folder_of(model, folder), model, HALF, 0, "hf_siglip", interpolate_pos_encoding=True)


def siglip2(folder: pathlib.Path) -> Specimen:
    """NaFlex: patches come as rows of a matrix, with the grid they were cut from."""
    torch = upstream("torch")
    model = build("Siglip2Vision", **SIZES, intermediate_size=4 * WIDTH, num_patches=(SIDE // PATCH) ** 2)

    def run(images: np.ndarray) -> np.ndarray:
        x = pixels(images, HALF).permute(0, 2, 3, 1)  # [B, H, W, 3]
        rows, columns = x.shape[1] // PATCH, x.shape[2] // PATCH
        x = x.reshape(len(x), rows, PATCH, columns, PATCH, 3).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(len(x), rows * columns, -1)
        shapes = torch.tensor([[rows, columns]] * len(x))
        with torch.no_grad():
            tokens = model(x, torch.ones(x.shape[:2], dtype=torch.int64), shapes).last_hidden_state
        return grid(tokens, images)

    return Specimen(folder_of(model, folder), run, "hf_siglip2", recorded(run, *layers_and_norm(model)))


def tips(folder: pathlib.Path) -> Specimen:
    """Pixels are not normalised, positions resized bilinearly."""
    model = build("Tipsv2Vision", **RATIO)
    plain = ((0.0,) * 3, (1.0,) * 3)
    return specimen(folder_of(model, folder), model, plain, 2, "tips")


def radio(folder: pathlib.Path) -> Specimen:
    """Positions are those of the largest image, three [CLS] tokens and seven registers precede the patches."""
    model = build("Radio", **SIZES, mlp_ratio=4.0, max_img_size=2 * SIDE)
    model.embeddings.video_patch_projection = None
    torch, layers = upstream("torch"), list(model.encoder.layer)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():  # normalises by itself
            return grid(model(pixels(images, ((0.0,) * 3, (1.0,) * 3))).features, images)

    return Specimen(folder_of(model, folder), run, "radio", recorded(run, layers, layers[-1]))


HF_ZOO: dict[str, Callable[[pathlib.Path], Specimen]] = {
    "HF ViT": vit,
    "HF BEiT": beit,
    "HF MAE": mae,
    "HF DINOv2, SwiGLU, shards": dinov2,
    "HF DINOv2 registers": dinov2_registers,
    "HF DINOv3": dinov3,
    "HF DINOv3, gated": lambda folder: dinov3(folder, gated=True),
    "DINOv3": dinov3_native,
    "DINOv3, gated": lambda folder: dinov3_native(folder, gated=True),
    "HF CLIP": clip,
    "HF SigLIP": siglip,
    "HF TIPS v2": tips,
    "HF C-RADIO": radio,
    "HF SigLIP 2 NaFlex": siglip2,
}
