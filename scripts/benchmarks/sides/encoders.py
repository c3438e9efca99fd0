"""The encoders of `scripts/bench retrieval`, the same for both sides; each side imports only what it needs itself."""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hummingbird.models.architecture import MEAN, STD
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.vit import ViT, build_vit


class PixelFeatures:
    """A cheap encoder: fixed random features of a patch's pixels, of any width."""

    patch_size, name, fingerprint = 16, "pixel features", "pixel-features"

    def __init__(self, dim: int):
        rng = np.random.default_rng(0)
        self.first = rng.normal(0, 1 / np.sqrt(768), (768, dim)).astype(np.float32)
        self.offset = rng.normal(0, 0.5, dim).astype(np.float32)
        self.images = 0

    def alone(self, size: int, images: int = 8) -> tuple[float, float]:
        """Estimates the wall and processor seconds spent on all images so far, from batches encoded in isolation.

        Timing the calls themselves would count other threads that run beside the encoder.
        """
        batch, times = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), np.uint8), []
        for _ in range(5):
            start, cpu = time.perf_counter(), time.process_time()
            self.encode(batch)
            times.append((time.perf_counter() - start, time.process_time() - cpu))
        wall, cpu = np.median(times, axis=0) / images * self.images
        return float(wall), float(cpu)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.images += len(images)
        return self.encode(images)

    def encode(self, images: np.ndarray) -> np.ndarray:
        b, h, w, _ = images.shape
        patches = images.reshape(b, h // 16, 16, w // 16, 16, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 768)
        features = np.tanh((patches.astype(np.float32) / 64 - 2) @ self.first + self.offset)
        return features.reshape(b, h // 16, w // 16, -1)


def frozen(vit: ViT, params: Any) -> FrozenEncoder:
    """Returns the encoder as an evaluation runs it: uint8 [B, H, W, 3] -> features [B, h, w, D]."""
    backbone = FrozenViT(vit.arch, dtype=jnp.dtype(vit.dtype).name)
    return FrozenEncoder(backbone, params, name="ViT, random weights", fingerprint="random")


def random_vit(options: argparse.Namespace) -> tuple[Any, Any]:
    """Returns the ViT of --encoder in --dtype and its random parameters."""
    vit = build_vit({"name": options.encoder}, options.size, jnp.dtype(options.dtype))
    pixels = np.zeros((1, options.size, options.size, 3), np.float32)
    return vit, jax.jit(vit.init)(jax.random.key(0), pixels)["params"]


def our_encoder(options: argparse.Namespace) -> Any:
    """Returns a function uint8 [B, H, W, 3] -> [B, h, w, D]: the ViT as an evaluation runs it, or pixel features."""
    if not options.encoder:
        return PixelFeatures(options.dim)
    vit, params = random_vit(options)
    return frozen(vit, params)


def their_encoder(options: argparse.Namespace) -> Any:
    """Returns a function from normalised tensors [B, 3, H, W] to [B, N, D]: the ViT in PyTorch, or pixel features."""
    import torch

    if options.encoder:
        from sides.torch_vit import TorchViT

        vit, params = random_vit(options)
        return TorchViT(vit, params).eval()
    pixel_features = PixelFeatures(options.dim)

    def encode(x: torch.Tensor) -> torch.Tensor:
        pixels = (x.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)) * 255
        return torch.from_numpy(pixel_features(pixels.round().clamp(0, 255).to(torch.uint8).numpy())).flatten(1, 2)

    encode.alone = pixel_features.alone
    return encode


def spent_alone(encoder: Any, options: argparse.Namespace) -> tuple[float, float]:
    """Returns the wall and processor seconds of the encoder to leave out: those of pixel features, none of a ViT."""
    return (0.0, 0.0) if options.encoder else encoder.alone(options.size)
