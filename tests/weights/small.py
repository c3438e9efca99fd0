"""The smallest files that are recognised, written without torch: one layer, width 64, patch 8, 4 x 4 positions."""

from __future__ import annotations

import numpy as np

WIDTH = 64


def timm_arrays(seed: int = 0, **changes: np.ndarray | None) -> dict[str, np.ndarray]:
    """A plain ViT in timm's names (DINO, MAE, ...); `changes` replace arrays, None removes them."""
    rng = np.random.default_rng(seed)
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 17, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 8, 8),
        "patch_embed.proj.bias": (WIDTH,),
        "blocks.0.norm1.weight": (WIDTH,),
        "blocks.0.norm1.bias": (WIDTH,),
        "blocks.0.attn.qkv.weight": (3 * WIDTH, WIDTH),
        "blocks.0.attn.qkv.bias": (3 * WIDTH,),
        "blocks.0.attn.proj.weight": (WIDTH, WIDTH),
        "blocks.0.attn.proj.bias": (WIDTH,),
        "blocks.0.norm2.weight": (WIDTH,),
        "blocks.0.norm2.bias": (WIDTH,),
        "blocks.0.mlp.fc1.weight": (2 * WIDTH, WIDTH),
        "blocks.0.mlp.fc1.bias": (2 * WIDTH,),
        "blocks.0.mlp.fc2.weight": (WIDTH, 2 * WIDTH),
        "blocks.0.mlp.fc2.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) * 0.2 for name, shape in shapes.items()}
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    return arrays
