"""KL gradient features in PyTorch, in the manner of the published library: hooks, a full backward pass, a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class TorchGradients:
    """Features of images: a normalised projected gradient for each sample, beside the normalised [CLS] token.

    The input and the output's gradient of the last attention's projection are caught by hooks while the loss of a batch
    is back-propagated to all parameters; their outer products are formed, flattened and multiplied by one matrix of
    signs that is kept in memory.

    Args:
      model: a timm ViT with a [CLS] token.
      kernel, bias: of the head.
      dim: outputs of the projection.
    """

    def __init__(self, model: Any, kernel: np.ndarray, bias: np.ndarray, dim: int):
        self.model, self.layer = model, model.blocks[-1].attn.proj
        self.kernel, self.bias = torch.from_numpy(np.array(kernel)), torch.from_numpy(np.array(bias))
        width = self.layer.weight.shape[0]
        generator = torch.Generator().manual_seed(0)
        self.signs = 2.0 * torch.randint(0, 2, (dim, width * (width + 1)), generator=generator) - 1

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, D], without gradients."""
        with torch.inference_mode():
            return torch.nn.functional.normalize(self.model.forward_features(images)[:, 0], dim=-1)

    def gradients(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, 3, H, W] -> gradients [B, D, D + 1] and embeddings [B, D]."""
        caught: dict[str, torch.Tensor] = {}
        hooks = [
            self.layer.register_forward_hook(lambda _, inputs, __: caught.update(inputs=inputs[0].detach())),
            self.layer.register_full_backward_hook(lambda _, __, outputs: caught.update(delta=outputs[0])),
        ]
        embedding = torch.nn.functional.normalize(self.model.forward_features(images)[:, 0], dim=-1)
        log_p = torch.log_softmax((embedding @ self.kernel + self.bias) / 15, dim=-1)
        self.model.zero_grad(set_to_none=True)
        (-log_p.mean(dim=-1).sum()).backward()
        for hook in hooks:
            hook.remove()
        inputs = torch.nn.functional.pad(caught["inputs"], (0, 1), value=1.0)
        return torch.einsum("btd,bte->bde", caught["delta"], inputs), embedding.detach()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, dim + D]."""
        found, embedding = self.gradients(images)
        projected = torch.nn.functional.normalize(found.flatten(1) @ self.signs.T, dim=-1)
        return torch.cat([projected, embedding], dim=1)
