"""Files of ConvNeXt (Liu et al. 2022; V2: Woo et al. 2023): the original ones, timm's and transformers'."""

from __future__ import annotations

import re

import numpy as np

from hummingbird.errors import UserError
from hummingbird.models.convnext import ConvNeXtArchitecture
from hummingbird.weights.files import Source
from hummingbird.weights.mapping import Arrays, Read

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
XXL = 384  # first width of the largest CLIP towers (OpenCLIP), with another epsilon
HEADS = re.compile(r"(head|classifier|fc)\b.*")
ANCHOR = re.compile(r"(|.*?\.)(?:encoder\.)?stages\.0\..*(?:dwconv|conv_dw)\.weight")


def read(source: Source, names: Arrays) -> Read:
    """Returns a ConvNeXt in our names, and what has no place in it.

    Raises:
      UserError: the stem is missing.
    """
    ours: Arrays = {}
    unexpected: list[str] = []
    for name, x in names.items():
        new = name
        for pattern, replacement in NAMES:
            new = re.sub(pattern, replacement, new)
        if PLACES.fullmatch(new):
            ours[new] = _changed(new, x)
        elif not HEADS.match(new):
            unexpected.append(name)
    return Read(ours, _architecture(source, ours), unexpected)


def _changed(name: str, x: np.ndarray) -> np.ndarray:
    if name.endswith(("grn_scale", "grn_bias")):
        return x.reshape(-1)
    if x.ndim == 4 and x.shape[2:] == (1, 1) and "/dw/" not in name:  # a 1 x 1 convolution is a dense layer
        return x[:, :, 0, 0].T
    return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T if x.ndim == 2 else x


def _architecture(source: Source, arrays: Arrays) -> ConvNeXtArchitecture:
    """Reads the architecture off the shapes of arrays in our names."""
    found = [re.match(r"stage_(\d)_block_(\d+)/dw/kernel", name) for name in arrays]
    blocks = [(int(m[1]), int(m[2])) for m in found if m]
    stages = max(s for s, _ in blocks) + 1
    if "stem_conv/kernel" not in arrays:
        raise UserError(f"{source.path} does not fit family convnext; missing: its stem")
    widths = tuple(arrays[f"stage_{s}_block_0/dw/kernel"].shape[-1] for s in range(stages))
    return ConvNeXtArchitecture(
        depths=tuple(1 + max((i for t, i in blocks if t == s), default=-1) for s in range(stages)),
        widths=widths,
        epsilon=1e-5 if widths[0] == XXL else 1e-6,
        stem=arrays["stem_conv/kernel"].shape[0],
        layer_scale="stage_0_block_0/scale" in arrays,
        response_norm="stage_0_block_0/grn_scale" in arrays,
        final_norm="norm/scale" in arrays,
    )
