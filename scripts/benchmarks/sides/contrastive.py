"""The PyTorch side of `scripts/bench pretrain`: the contrastive step without a bank, as PyTorch users write it.

On a GPU both networks are compiled by `torch.compile`.
"""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import jax
import numpy as np
import torch
from torch.nn import functional

from hummingbird.models.architecture import MEAN, STD
from hummingbird.models.vit import ViT
from hummingbird.weights.layouts import LAYOUTS
from hummingbird.weights.mapping import unmatch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def encoder(vit: ViT, params: Any) -> tuple[str, torch.nn.Module]:
    """Returns the name of a ViT in PyTorch and the ViT with our weights: timm's if installed, else `TorchViT`."""
    if importlib.util.find_spec("timm") is None:
        from sides.torch_vit import TorchViT

        return "torch modules", TorchViT(vit, params)
    from sides.load_torchvision import import_torchvision

    import_torchvision()  # timm imports it
    import timm
    from timm.models.vision_transformer import VisionTransformer

    names = {"img_size": vit.arch.grid[0] * vit.patch_size, "embed_dim": vit.width, "num_heads": vit.arch.heads}
    network = VisionTransformer(
        **names, patch_size=vit.patch_size, depth=vit.arch.depth, class_token=False, global_pool="", num_classes=0
    )
    flat = {"/".join(str(k.key) for k in path): np.asarray(x) for path, x in jax.tree.leaves_with_path(params)}
    network.load_state_dict({n: torch.tensor(x) for n, x in unmatch(LAYOUTS["timm"], flat, vit.arch.heads).items()})
    return f"timm {timm.__version__}", network


def head(params: Any, momentum: float) -> torch.nn.Module:
    """Returns dense, batch norm, ReLU, dense with the parameters of our `MlpHead`."""
    hidden, output = (np.asarray(params[name]["kernel"]) for name in ("hidden", "output"))
    layers = torch.nn.Sequential(
        torch.nn.Linear(*hidden.shape, bias=False),
        torch.nn.BatchNorm1d(hidden.shape[1], momentum=1 - momentum),
        torch.nn.ReLU(),
        torch.nn.Linear(*output.shape),
    )
    layers[0].weight.data, layers[3].weight.data = torch.tensor(hidden.T.copy()), torch.tensor(output.T.copy())
    return layers


class Network(torch.nn.Module):
    """Maps views [B, 2, 3, S, S] in [0, 1] to projections or predictions [B, P] of each view."""

    def __init__(self, vit: ViT, params: Any, momentum: float):
        super().__init__()
        self.name, self.encoder = encoder(vit, params["encoder"])
        self.projector, self.predictor = (head(params[name], momentum) for name in ("projector", "predictor"))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, views: torch.Tensor, predict: bool) -> list[torch.Tensor]:
        tokens = self.encoder((views.flatten(0, 1) - self.mean) / self.std)  # both views in one pass: the fastest
        pooled = tokens.mean(dim=1).unflatten(0, views.shape[:2])  # [B, 2, D]
        projections = [self.projector(pooled[:, i]) for i in range(2)]
        return [self.predictor(z) for z in projections] if predict else projections


class TorchStep:
    """The train step in PyTorch; a call takes one step on views [B, 2, 3, S, S] in [0, 1] and returns the loss."""

    def __init__(self, vit: ViT, state: Any, config: Any):
        o = config.optimizer
        self.device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TensorFloat-32, JAX's default there
        self.dtype, self.ema, self.clip = DTYPES[config.dtype], config.ema_decay, o.clip_norm
        self.tau = config.contrastive.temperature
        self.online = Network(vit, jax.device_get(state.online), config.heads.bn_momentum).to(self.device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.name = self.online.name
        if self.device == "cuda":
            self.online.compile()
            self.target.compile()
            self.name += ", torch.compile"
        parameters = list(self.online.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": o.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=o.learning_rate, betas=(o.b1, o.b2), fused=True)

    def tensor(self, x: jax.Array) -> torch.Tensor:
        """Returns the array as a tensor on the same device, without a copy."""
        return torch.from_dlpack(x)

    def contrastive(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Returns InfoNCE over the batch (Eq. 4)."""
        q, z = functional.normalize(predictions.float(), dim=1), functional.normalize(targets.float(), dim=1)
        return functional.cross_entropy(q @ z.T / self.tau, torch.arange(len(q), device=q.device))

    def __call__(self, views: torch.Tensor) -> float:
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            predictions = self.online(views, predict=True)
            with torch.no_grad():
                targets = self.target(views, predict=False)
        loss = (self.contrastive(predictions[0], targets[1]) + self.contrastive(predictions[1], targets[0])) / 2
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.online.parameters(), self.clip, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.online.parameters()), 1 - self.ema)
        return loss.item()
