"""ConvNeXt (Liu et al. 2022; V2: Woo et al. 2023) as a dense encoder: the map of a stage, with cells of 4 to 32 pixels.

Parameters: `stem_conv`, `stem_norm`; `stage_1_shrink_norm`, `stage_1_shrink` and so on before each later stage;
`stage_0_block_0/{dw, norm, up, down, scale, grn_scale, grn_bias}` and so on; and `norm`, which follows the pooling in
the published classifiers.
"""

from __future__ import annotations

import dataclasses
import functools
import re

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from hummingbird.errors import UserError
from hummingbird.models.architecture import MEAN, STD
from hummingbird.models.backbone import (
    ARITHMETIC,
    LAST_LAYER,
    Backbone,
    Features,
    Images,
    Output,
    check_dtype,
    indices,
    to_unit,
)
from hummingbird.models.params import Params
from hummingbird.weights.mapping import Arrays


@dataclasses.dataclass(frozen=True)
class ConvNeXtArchitecture:
    """Sizes and variations of a ConvNeXt. Stored in hummingbird.json of imported and exported folders.

    Attributes:
      depths: blocks of each stage.
      widths: channels of each stage.
      stem: pixels along a side of a cell of the first stage.
      layer_scale: V1's scale on each block.
      response_norm: V2's global response normalisation.
      final_norm: whether a layer norm follows the last stage.
      epsilon: of every layer norm.
      mean, std: statistics of pixels in [0, 1] by which images are normalised.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem: int = 4
    layer_scale: bool = True
    response_norm: bool = False
    final_norm: bool = True
    epsilon: float = 1e-6
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def cell(self, stage: int) -> int:
        """Returns the pixels along a side of a cell of a stage's feature map."""
        return self.stem * 2**stage


@dataclasses.dataclass(frozen=True)
class FrozenConvNeXt(Backbone):
    """See `Backbone`; the features are the map of one stage, and `layers` counts stages.

    Attributes:
      arch: sizes and variations.
      chosen: which stage gives the features.
      dtype: how it computes, a key of `ARITHMETIC`.
    """

    arch: ConvNeXtArchitecture
    chosen: Features = LAST_LAYER
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self._stage()
        check_dtype(self.dtype)

    def __str__(self) -> str:
        return "a ConvNeXt"

    @property
    def patch_size(self) -> int:
        return self.arch.cell(self._stage())

    @property
    def dim(self) -> int:
        return self.arch.widths[self._stage()]

    @property
    def std(self) -> tuple[float, float, float]:
        return self.arch.std

    def with_std(self, std: tuple[float, float, float]) -> FrozenConvNeXt:
        return dataclasses.replace(self, arch=dataclasses.replace(self.arch, std=std))

    @property
    def depth(self) -> int:
        """Number of stages to choose from."""
        return len(self.arch.depths)

    def module(self) -> ConvNeXt:
        """Returns the Flax module."""
        return ConvNeXt(self.arch, jnp.dtype(ARITHMETIC[self.dtype].dtype))

    def features(self, params: Params, images: Images) -> Output:
        return self.layers(params, images, (self._stage(),), self.chosen.norm)[0]

    def layers(self, params: Params, images: Images, layers: tuple[int, ...], norm: bool) -> list[Output]:
        stages = indices(layers, self.depth)
        cell, (height, width) = self.arch.cell(max(stages)), images.shape[1:3]
        if height % cell or width % cell:
            raise UserError(f"images of {height}x{width} pixels cannot be cut into patches of {cell}: use a multiple")
        mean, std = jnp.asarray(self.arch.mean, jnp.float32), jnp.asarray(self.arch.std, jnp.float32)
        model = self.module().bind({"params": params})
        maps = model.stages((to_unit(images) - mean) / std, count=max(stages) + 1)
        last = self.depth - 1
        return [Output(model.normed(maps[i]) if norm and i == last else maps[i], None) for i in stages]

    def _stage(self) -> int:
        if self.chosen.kind != "tokens" or len(self.chosen.layers) != 1:
            raise UserError(
                "a ConvNeXt has no attention, and stages of different grids: features=tokens, one of its layers"
            )
        return self.chosen.indices(self.depth)[0]


class ConvNeXt(nn.Module):
    """Normalised images [B, H, W, 3] to the feature maps of the stages [B, H / cell, W / cell, D]."""

    arch: ConvNeXtArchitecture
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        arch = self.arch
        conv = functools.partial(nn.Conv, padding="VALID", dtype=self.dtype)
        norm = functools.partial(nn.LayerNorm, epsilon=arch.epsilon, dtype=self.dtype)
        self.stem_conv = conv(arch.widths[0], (arch.stem, arch.stem), (arch.stem, arch.stem))
        self.stem_norm = norm()
        later = range(1, len(arch.depths))
        self.shrink_norms = [norm(name=f"stage_{stage}_shrink_norm") for stage in later]
        self.shrinks = [conv(arch.widths[i], (2, 2), (2, 2), name=f"stage_{i}_shrink") for i in later]
        self.blocks = [
            [ConvNeXtBlock(arch, width, self.dtype, name=f"stage_{stage}_block_{i}") for i in range(depth)]
            for stage, (depth, width) in enumerate(zip(arch.depths, arch.widths, strict=True))
        ]
        if arch.final_norm:
            self.norm = norm()

    def __call__(self, images: Float[Array | np.ndarray, "B H W 3"]) -> Float[Array, "B h w D"]:
        """Returns the map of the last stage after the final norm."""
        return self.normed(self.stages(images, len(self.arch.depths))[-1])

    def stages(self, images: Float[Array | np.ndarray, "B H W 3"], count: int) -> list[Float[Array, "B _ _ _"]]:
        """Returns the maps of the first `count` stages."""
        x, maps = self.stem_norm(self.stem_conv(images)), list[Array]()
        for stage, blocks in enumerate(self.blocks[:count]):
            if stage:
                x = self.shrinks[stage - 1](self.shrink_norms[stage - 1](x))
            for block in blocks:
                x = block(x)
            maps.append(x)
        return maps

    def normed(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        """Applies the final layer norm, if there is one."""
        return self.norm(x) if self.arch.final_norm else x


class ConvNeXtBlock(nn.Module):
    """Depthwise 7 x 7 convolution, norm and an MLP over channels, added to the input."""

    arch: ConvNeXtArchitecture
    width: int
    dtype: DTypeLike = jnp.float32

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
    """Returns whether the names are those of a ConvNeXt."""
    return any(re.search(r"stages\.\d\..*(dwconv|conv_dw)\.weight$", name) for name in arrays)


def convert(arrays: Arrays) -> tuple[str, Arrays, list[str]]:
    """Returns the prefix of the names, the arrays in our names and shapes, and the names that have no place."""
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
    """Reads the architecture off the shapes of arrays in our names.

    Raises:
      UserError: the stem is missing.
    """
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
