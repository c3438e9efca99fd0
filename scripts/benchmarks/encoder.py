"""ViT features and training gradients on this machine, against PyTorch with the same weights.

    scripts/bench encoder [--encoder=vit_s16] [--size=512] [--batch=8] [--rounds=5] [--parts=features,training]

Prints the best seconds per batch over interleaved rounds, in float32 and bfloat16:

- `features`: what an evaluation computes, from uint8 images to features (PyTorch gets normalised images).
- `training`: the gradient of a sum over all tokens of a small encoder (width 192, 6 layers, 3 heads), for 128 images of
  64 tokens and 32 images of 196 tokens.

`difference` is the largest deviation of our features from PyTorch's, relative to the largest feature.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from sides.encoders import frozen
from sides.timing import interleaved
from sides.torch_vit import TorchViT

from hummingbird.models.architecture import Architecture
from hummingbird.models.vit import ViT, build_vit, normalize

DTYPES = {"float32": (jnp.float32, torch.float32), "bfloat16": (jnp.bfloat16, torch.bfloat16)}
SMALL = Architecture(patch_size=8, width=192, depth=6, heads=3, mlp_dim=768, cls=False)
TRAINING = {"64 tokens": (64, 128), "196 tokens": (112, 32)}  # pixels, images


def build_sides(vit: ViT, params: Any, images: np.ndarray, gradient: bool) -> dict[str, Callable[[], Any]]:
    """Returns {"ours float32": ...}, functions that compute features or gradients in each framework's own arrays."""
    sides: dict[str, Callable[[], Any]] = {}
    normalised = np.asarray(normalize(images.astype(np.float32) / 255))
    planes = torch.tensor(normalised.transpose(0, 3, 1, 2).copy())
    for name, (ours, theirs) in DTYPES.items():
        model = vit.clone(dtype=ours)
        if gradient:
            total = lambda p, x, model=model: model.apply({"params": p}, x).patches.astype(jnp.float32).sum()
            function = jax.jit(jax.grad(total))
            sides[f"ours {name}"] = lambda f=function: jax.block_until_ready(f(params, jnp.asarray(normalised)))
        else:
            sides[f"ours {name}"] = functools.partial(frozen(model, params), images)
        network = TorchViT(vit, params)
        if not gradient:
            network = network.to(theirs).eval()
        sides[f"pytorch {name}"] = lambda n=network, t=theirs: torch_run(n, planes, t, gradient)
    return sides


def torch_run(network: TorchViT, images: torch.Tensor, dtype: torch.dtype, gradient: bool) -> Any:
    """Runs PyTorch: features without autograd, or gradients (bfloat16 by autocast, as is usual in training)."""
    if not gradient:
        with torch.inference_mode():
            return network(images.to(dtype)).float()
    network.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        network(images).float().sum().backward()
    return None


def measure(vit: ViT, size: int, batch: int, rounds: int, gradient: bool) -> dict[str, Any]:
    """Returns the seconds of every side and their ratios, for images [batch, size, size, 3]."""
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    params = jax.jit(vit.init)(jax.random.key(0), np.zeros((1, size, size, 3), np.float32))["params"]
    sides = build_sides(vit, params, images, gradient)
    seconds = {name: round(found["best"], 4) for name, found in interleaved(sides, rounds).items()}
    result = {
        "images": batch,
        "tokens": (size // vit.patch_size) ** 2,
        "seconds": seconds,
        "pytorch / ours, float32": round(seconds["pytorch float32"] / seconds["ours float32"], 2),
        "float32 / bfloat16, ours": round(seconds["ours float32"] / seconds["ours bfloat16"], 2),
    }
    if not gradient:
        truth = sides["pytorch float32"]().numpy()
        flat = lambda features: np.asarray(features).reshape(truth.shape)
        deviation = lambda name: float(np.abs(flat(sides[name]()) - truth).max() / np.abs(truth).max())
        result["difference"] = {name: float(f"{deviation(f'ours {name}'):.2g}") for name in DTYPES}
    return result


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="vit_s16")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="features,training")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "encoder", "device": jax.devices()[0].device_kind, "cpus": os.cpu_count()}
    if "features" in arguments.parts:
        vit = build_vit({"name": arguments.encoder}, arguments.size)
        result["features"] = measure(vit, arguments.size, arguments.batch, arguments.rounds, gradient=False)
    if "training" in arguments.parts:
        at = lambda size: ViT(dataclasses.replace(SMALL, grid=(size // 8,) * 2))
        result["training"] = {
            name: measure(at(size), size, batch, arguments.rounds, gradient=True)
            for name, (size, batch) in TRAINING.items()
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
