"""The ViT of this project in PyTorch, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hummingbird.models.vit import ViT


class TorchViT(torch.nn.Module):
    """Computes what our ViT computes, written as PyTorch users do: a convolution, fused attention, no extra copies.

    Args:
      vit: the Flax module to copy the sizes from.
      params: its parameters.
    """

    def __init__(self, vit: ViT, params: Any):
        super().__init__()
        self.heads, self.layers = vit.arch.heads, torch.nn.ModuleList()
        width, patch = vit.width, vit.patch_size
        stem = torch.nn.Conv2d(3, width, patch, patch)
        kernel = np.asarray(params["patch_embed"]["kernel"]).reshape(patch, patch, 3, width).transpose(3, 2, 0, 1)
        stem.weight.data, stem.bias.data = (
            torch.tensor(x) for x in (kernel, np.asarray(params["patch_embed"]["bias"]))
        )
        self.stem, self.norm = stem, self._norm(params["norm"])
        self.positions = torch.nn.Parameter(torch.tensor(np.asarray(params["positions"])))
        for i in range(vit.arch.depth):
            block = params[f"block_{i:02d}"]
            parts = {
                "norm1": self._norm(block["norm1"]),
                "norm2": self._norm(block["norm2"]),
                "qkv": self._linear(block["attention"]["qkv"]),
                "out": self._linear(block["attention"]["out"]),
                "up": self._linear(block["mlp"]["up"]),
                "down": self._linear(block["mlp"]["down"]),
            }
            self.layers.append(torch.nn.ModuleDict(parts))

    def _norm(self, tree: Any) -> torch.nn.LayerNorm:
        norm = torch.nn.LayerNorm(len(tree["scale"]), eps=1e-6)
        norm.weight.data, norm.bias.data = (torch.tensor(np.asarray(tree[name])) for name in ("scale", "bias"))
        return norm

    def _linear(self, tree: Any) -> torch.nn.Linear:
        linear = torch.nn.Linear(*tree["kernel"].shape)
        linear.weight.data = torch.tensor(np.asarray(tree["kernel"]).T.copy())
        linear.bias.data = torch.tensor(np.asarray(tree["bias"]))
        return linear

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, N, D]."""
        return self.norm(self.outputs(images, (len(self.layers) - 1,))[0])

    def outputs(self, images: torch.Tensor, layers: tuple[int, ...]) -> list[torch.Tensor]:
        """[B, 3, H, W] -> [B, N, D] of each of `layers`, without the final norm."""
        x = self.stem(images).flatten(2).transpose(1, 2) + self.positions
        (batch, tokens, width), found = x.shape, dict[int, torch.Tensor]()
        for i, layer in enumerate(self.layers):
            qkv = layer["qkv"](layer["norm1"](x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
            x = x + layer["out"](mixed)
            x = x + layer["down"](functional.gelu(layer["up"](layer["norm2"](x))))
            found[i] = x
        return [found[i] for i in layers]
