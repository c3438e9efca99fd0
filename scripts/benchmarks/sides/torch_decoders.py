"""Decoders in PyTorch, written as PyTorch users do: heads, losses and one training step of each."""

from __future__ import annotations

import torch
from sides.load_torchvision import import_torchvision
from sides.torch_vit import TorchViT
from torch import nn
from torch.nn import functional

VOID = 255


class Linear(nn.Module):
    """Batch norm and a 1x1 convolution on the last layer (DINOv2)."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, classes, 1))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        return [self.head(maps[0])]


class DepthBins(nn.Module):
    """256 bins of depth on features that are upsampled 4 times (DINOv2)."""

    def __init__(self, width: int, bins: int = 256):
        super().__init__()
        self.head = nn.Conv2d(width, bins, 1)
        self.register_buffer("centres", torch.linspace(1e-3, 10, bins))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        larger = functional.interpolate(maps[0], scale_factor=4, mode="bilinear", align_corners=False)
        weights = torch.relu(self.head(larger)) + 0.1
        weights = weights / weights.sum(1, keepdim=True)
        return [torch.einsum("bkhw,k->bhw", weights, self.centres)[:, None]]


class UperNet(nn.Module):
    """transformers' UperNet with its auxiliary head, on MAE's pyramid."""

    def __init__(self, width: int, classes: int, channels: int):
        super().__init__()
        import_torchvision()  # which transformers imports
        from transformers import UperNetConfig
        from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead

        config = UperNetConfig(hidden_size=channels, num_labels=classes, auxiliary_in_channels=width)
        up = lambda: nn.ConvTranspose2d(width, width, 2, 2)
        self.pyramid = nn.ModuleList(
            [nn.Sequential(up(), nn.BatchNorm2d(width), nn.GELU(), up()), up(), nn.Identity(), nn.MaxPool2d(2)]
        )
        self.head, self.auxiliary = UperNetHead(config, [width] * 4), UperNetFCNHead(config, [width] * 4)
        self.dropout = nn.Dropout2d(0.1)
        for classifier in (self.head.classifier, self.auxiliary.classifier):
            classifier.register_forward_pre_hook(lambda _, inputs: (self.dropout(inputs[0]),))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        maps = [part(x) for part, x in zip(self.pyramid, maps, strict=True)]
        return [self.head(maps), self.auxiliary(maps)]


def cross_entropy(outputs: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """The mean over labelled pixels; the auxiliary head counts 0.4."""
    size = labels.shape[1:]
    losses = [
        functional.cross_entropy(
            functional.interpolate(x, size, mode="bilinear", align_corners=False), labels, ignore_index=VOID
        )
        for x in outputs
    ]
    return sum(weight * loss for weight, loss in zip((1.0, 0.4), losses, strict=False))


def depth_loss(outputs: list[torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    """SigLoss, and half of the differences of its logarithms two pixels apart on four scales."""
    depth = functional.interpolate(outputs[0], truth.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    valid = truth > 0
    g = (torch.log(depth + 1e-3) - torch.log(truth.clamp(min=1e-3) + 1e-3)) * valid
    chosen = g[valid]
    loss = torch.sqrt(torch.var(chosen) + 0.15 * chosen.mean() ** 2)
    for stride in (1, 2, 4, 6):
        part, counts = g[:, ::stride, ::stride], valid[:, ::stride, ::stride]
        down = ((part[:, 2:] - part[:, :-2]).abs() * (counts[:, 2:] & counts[:, :-2])).sum()
        right = ((part[:, :, 2:] - part[:, :, :-2]).abs() * (counts[:, :, 2:] & counts[:, :, :-2])).sum()
        loss = loss + 0.5 * (down + right) / counts.sum()
    return loss


class Step:
    """One training step on a fixed batch: encode, decode, compare, move.

    Args:
      encoder: gives the maps.
      head: of `width` channels.
      layers: encoder outputs that the head takes.
      norm: whether these pass the final norm.
      trained: whether the encoder learns too.
      images: normalised [B, 3, H, W].
      labels: class ids or depths [B, H, W].
    """

    def __init__(
        self,
        encoder: TorchViT,
        head: nn.Module,
        layers: tuple[int, ...],
        norm: bool,
        trained: bool,
        images: torch.Tensor,
        labels: torch.Tensor,
    ):
        self.encoder, self.head, self.layers, self.norm, self.trained = encoder, head, layers, norm, trained
        self.images, self.labels = images, labels
        self.loss = depth_loss if labels.is_floating_point() else cross_entropy
        parameters = [*head.parameters(), *(encoder.parameters() if trained else ())]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4)

    def maps(self) -> list[torch.Tensor]:
        """Returns the features [B, D, h, w] of each layer."""
        side = int(self.encoder.positions.shape[0] ** 0.5)
        with torch.set_grad_enabled(self.trained):
            tokens = self.encoder.outputs(self.images, self.layers)
            tokens = [self.encoder.norm(x) for x in tokens] if self.norm else tokens
            return [x.transpose(1, 2).unflatten(2, (side, side)) for x in tokens]

    def __call__(self) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.head(self.maps()), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()
