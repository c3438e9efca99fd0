"""ConvNeXt (Liu et al. 2022; V2: Woo et al. 2023) as a dense encoder: the feature map of a stage, 4 to 32 px a cell.

Parameters: `stem_conv`, `stem_norm`, `stage_1_shrink_norm`, `stage_1_shrink` and so on before each later stage,
`stage_0_block_0/{dw, norm, up, down, scale, grn_scale, grn_bias}` and so on, and `norm`, which follows the pooling in
the classifiers that these are.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from hummingbird.errors import UserError
from hummingbird.models.vit import MEAN, STD
from hummingbird.weights.mapping import Arrays
from hummingbird.weights.vision import Features


@dataclasses.dataclass(frozen=True)
class ConvNeXtArchitecture:
    """depths: blocks per stage. widths: channels per stage. stem: pixels per cell of the first stage.
    layer_scale: V1's scale on each block. response_norm: V2's global response normalisation. The rest as in
    `vision.Architecture`."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem: int = 4
    layer_scale: bool = True
    response_norm: bool = False
    final_norm: bool = True
    epsilon: float = 1e-6
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    @property
    def depth(self) -> int:
        """Stages: what `layers` counts."""
        return len(self.depths)

    def module(self, features: Features, dtype: Any) -> nn.Module:
        """The network that gives these features."""
        return ConvNeXt(self, self._stage(features), features.norm, dtype)

    def patch_of(self, features: Features) -> int:
        """Pixels per cell of these features."""
        return self.cell(self._stage(features))

    def dim_of(self, features: Features) -> int:
        """Channels of these features."""
        return self.widths[self._stage(features)]

    def _stage(self, features: Features) -> int:
        if features.kind != "tokens" or len(features.layers) != 1:
            raise UserError(
                "a ConvNeXt has no attention, and stages of different grids: features=tokens, one of its layers"
            )
        return features.indices(self.depth)[0]

    def cell(self, stage: int) -> int:
        """Pixels per cell of a stage's feature map."""
        return self.stem * 2**stage


class ConvNeXt(nn.Module):
    """Normalised images [B, H, W, 3] -> the last stage's map [B, H / cell, W / cell, D].

    Attributes:
      stage: the stage whose output is wanted. norm: pass it through the final layer norm (last stage only).
    """

    arch: ConvNeXtArchitecture
    stage: int
    norm: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        arch, cell = self.arch, self.arch.cell(self.stage)
        if images.shape[1] % cell or images.shape[2] % cell:
            height, width = images.shape[1:3]
            raise UserError(f"images of {height}x{width} pixels cannot be cut into patches of {cell}: use a multiple")
        conv = functools.partial(nn.Conv, padding="VALID", dtype=self.dtype)
        norm = functools.partial(nn.LayerNorm, epsilon=arch.epsilon, dtype=self.dtype)
        out = x = norm(name="stem_norm")(
            conv(arch.widths[0], (arch.stem,) * 2, (arch.stem,) * 2, name="stem_conv")(images)
        )
        for stage, (depth, width) in enumerate(zip(arch.depths, arch.widths, strict=True)):
            if stage:
                x = conv(width, (2, 2), (2, 2), name=f"stage_{stage}_shrink")(
                    norm(name=f"stage_{stage}_shrink_norm")(x)
                )
            for i in range(depth):
                x = ConvNeXtBlock(arch, width, self.dtype, name=f"stage_{stage}_block_{i}")(x)
            out = x if stage == self.stage else out
        if arch.final_norm:
            normed = norm(name="norm")(x)
            out = normed if self.norm and self.stage == arch.depth - 1 else out
        return out


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7, norm, and an MLP over channels, added to its input."""

    arch: ConvNeXtArchitecture
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        arch, width = self.arch, self.width
        y = nn.Conv(width, (7, 7), padding=3, feature_group_count=width, dtype=self.dtype, name="dw")(x)
        y = nn.LayerNorm(epsilon=arch.epsilon, dtype=self.dtype, name="norm")(y)
        y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="up")(y), approximate=False)
        if arch.response_norm:
            gamma, beta = (self.param(f"grn_{n}", nn.initializers.zeros, (4 * width,)) for n in ("scale", "bias"))
            energy = jnp.linalg.norm(y.astype(jnp.float32), axis=(1, 2), keepdims=True)
            response = energy / (energy.mean(-1, keepdims=True) + 1e-6)
            y = (y + gamma * (y * response) + beta).astype(self.dtype)
        y = nn.Dense(width, dtype=self.dtype, name="down")(y)
        if arch.layer_scale:
            y = y * self.param("scale", nn.initializers.ones, (width,)).astype(self.dtype)
        return x + y


# Names of the original files, timm and transformers, to ours; applied one after the other.
NAMES = (
    (r"^downsample_layers\.0\.|^stem\.|^embeddings\.(?=patch_embeddings|layernorm)", "stem_"),
    (r"^stem_(0|patch_embeddings)\.", "stem_conv/"),
    (r"^stem_(1|layernorm)\.", "stem_norm/"),
    (r"^encoder\.", ""),
    (r"^downsample_layers\.(\d)\.|^stages\.(\d)\.downsampl(?:e|ing_layer)\.", r"stage_\1\2_shrink."),
    (r"_shrink\.0\.", "_shrink_norm/"),
    (r"_shrink\.1\.", "_shrink/"),
    (r"^stages\.(\d)\.(?:blocks\.|layers\.)?(\d+)\.", r"stage_\1_block_\2/"),
    (r"/(dwconv|conv_dw)\.", "/dw/"),
    (r"/(layernorm|norm)\.", "/norm/"),
    (r"/(pwconv1|mlp\.fc1)\.", "/up/"),
    (r"/(pwconv2|mlp\.fc2)\.", "/down/"),
    (r"/(?:mlp\.)?grn\.(gamma|weight)$", "/grn_scale"),
    (r"/(?:mlp\.)?grn\.(beta|bias)$", "/grn_bias"),
    (r"/(gamma|layer_scale_parameter)$", "/scale"),
    (r"^(head\.norm|layernorm|norm)\.", "norm/"),
    (r"(norm/)weight$", r"\1scale"),
    (r"/weight$", "/kernel"),
)
PLACES = re.compile(
    r"(stem_(conv|norm)|stage_\d_shrink(_norm)?|stage_\d_block_\d+/(dw|norm|up|down))/(kernel|bias|scale)|norm/(scale|bias)"
    r"|stage_\d_block_\d+/(scale|grn_scale|grn_bias)"
)
HEADS = re.compile(r"(head|classifier|fc)\b.*")


def is_convnext(arrays: Arrays) -> bool:
    """Whether the names are those of a ConvNeXt."""
    return any(re.search(r"stages\.\d\..*(dwconv|conv_dw)\.weight$", name) for name in arrays)


def convert(arrays: Arrays) -> tuple[str, Arrays, list[str]]:
    """The prefix of the names, arrays in our names and layout, and the names that have no place."""
    anchor = next(n for n in arrays if re.search(r"stages\.0\..*(dwconv|conv_dw)\.weight$", n))
    prefix = re.split(r"(?:encoder\.)?stages\.0\.", anchor)[0]
    ours: Arrays = {}
    unexpected = []
    for name, x in arrays.items():
        if not name.startswith(prefix):
            continue
        new = name[len(prefix) :]
        for pattern, replacement in NAMES:
            new = re.sub(pattern, replacement, new)
        if PLACES.fullmatch(new):
            ours[new] = _changed(new, x)
        elif not HEADS.match(new):
            unexpected.append(name)
    return prefix, ours, unexpected


def _changed(name: str, x: np.ndarray) -> np.ndarray:
    if name.endswith(("grn_scale", "grn_bias")):
        return x.reshape(-1)
    if x.ndim == 4 and x.shape[2:] == (1, 1) and "/dw/" not in name:  # a 1 x 1 convolution is a dense layer
        return x[:, :, 0, 0].T
    return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T if x.ndim == 2 else x


def architecture(arrays: Arrays) -> ConvNeXtArchitecture:
    """The architecture that arrays in our names show."""
    found = [re.match(r"stage_(\d)_block_(\d+)/dw/kernel", name) for name in arrays]
    blocks = [(int(m[1]), int(m[2])) for m in found if m]
    stages = max(s for s, _ in blocks) + 1
    if "stem_conv/kernel" not in arrays:
        raise UserError("it has the blocks of a ConvNeXt but no stem: missing stem.0.weight")
    return ConvNeXtArchitecture(
        depths=tuple(1 + max(i for t, i in blocks if t == s) for s in range(stages)),
        widths=tuple(arrays[f"stage_{s}_block_0/dw/kernel"].shape[-1] for s in range(stages)),
        stem=arrays["stem_conv/kernel"].shape[0],
        layer_scale="stage_0_block_0/scale" in arrays,
        response_norm="stage_0_block_0/grn_scale" in arrays,
        final_norm="norm/scale" in arrays,
    )
