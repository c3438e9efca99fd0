"""Sizes of the published models are read right from their arrays, which are views of one zero: no memory is used."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from hummingbird.weights.assemble import Found
from hummingbird.weights.files import Source
from hummingbird.weights.foreign import check_shapes
from hummingbird.weights.recognize import recognize
from hummingbird.weights.settings import Settings
from tests.weights.upstream import upstream

pytestmark = pytest.mark.parity

TIMM = (
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch14_224",
    "vit_huge_patch14_224",
    "vit_giant_patch14_224",
    "deit3_huge_patch14_224",
    "vit_so400m_patch14_siglip_224",
    "vit_huge_patch14_clip_224",
    "vit_gigantic_patch14_clip_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_giant_patch14_dinov2",
)


def shapes_only(model: Any, rename=lambda name: name) -> dict[str, np.ndarray]:
    return {rename(n): np.broadcast_to(np.float32(0), tuple(x.shape)) for n, x in model.state_dict().items() if x.ndim}


def found(arrays: dict[str, np.ndarray], family: str, name: str = "x", **known: Any) -> Found:
    result = recognize(Source(pathlib.Path(name), "pytorch", arrays, ".", {}), family, **known)
    check_shapes(pathlib.Path(name), result)
    return result


@pytest.mark.parametrize("name", TIMM)
def test_sizes_of_published_transformers_are_read_from_their_arrays(name):
    model = upstream("timm").create_model(name, device="meta", num_classes=0)
    arch = found(shapes_only(model), "timm", given=Settings(mean=(0.5,) * 3, std=(0.5,) * 3)).arch
    block = model.blocks[0]
    assert arch.width == model.embed_dim
    assert (arch.depth, arch.heads) == (len(model.blocks), block.attn.num_heads)
    assert (arch.patch_size,) * 2 == model.patch_embed.patch_size
    assert arch.grid == model.patch_embed.grid_size
    assert arch.prefix == model.num_prefix_tokens
    assert arch.mlp_dim == block.mlp.fc2.in_features
    assert arch.swiglu == ("giant" in name and "dinov2" in name)


def test_sizes_of_published_convnexts_are_read_from_their_arrays():
    """The paper's NeXt-XL among them."""
    for name, depths, widths in (
        ("convnext_xlarge", (3, 3, 27, 3), (256, 512, 1024, 2048)),
        ("convnextv2_tiny", (3, 3, 9, 3), (96, 192, 384, 768)),
    ):
        model = upstream("timm").create_model(name, device="meta")
        arch = found(shapes_only(model), "convnext").arch
        assert (arch.depths, arch.widths, arch.response_norm) == (depths, widths, "v2" in name)
        assert arch.epsilon == model.head.norm.eps


def test_moco_v3_small_has_twelve_heads():
    """Unlike every other ViT-S."""
    model = upstream("timm").create_model("vit_small_patch16_224", device="meta", num_classes=0)
    arrays = shapes_only(model, lambda n: f"module.base_encoder.{n}")
    result = recognize(Source(pathlib.Path("vit-s-300ep.pth.tar"), "pytorch", arrays, ".", {}))
    assert (result.family, result.arch.heads) == ("mocov3", 12)
