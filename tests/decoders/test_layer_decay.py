"""Layer-wise learning-rate decay: which parameters belong to which layer, and which ones decay."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hummingbird.decoders import layer_decay
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import LAST_LAYER
from hummingbird.models.convnext import ConvNeXtArchitecture
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.resnet import ResNetArchitecture
from hummingbird.models.swin import SwinArchitecture
from tests import tiny

VIT = FrozenViT(
    Architecture(
        16, 8, 12, 2, 16, grid=(2, 2), registers=2, relative="bilinear", layer_scale=True, pre_norm=True, swiglu=True
    )
)
SWIN = SwinArchitecture((1, 2), (8, 16), heads=(2, 4), windows=(4, 4), pretrained=(0, 0))
CONVNEXT = ConvNeXtArchitecture((1, 2), (8, 16))
RESNET = ResNetArchitecture((1, 2), (8, 16), inner=(4, 8), shortcuts=(True, True))


@functools.cache
def shapes(backbone):
    return jax.eval_shape(backbone.module().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]


def test_a_vit_of_twelve_blocks_has_fourteen_groups():
    found = layer_decay.groups(shapes(VIT), layer_decay.blocks_of(VIT))
    assert list(found) == list(range(14))
    embeddings = ["cls", "patch_embed/bias", "patch_embed/kernel", "positions", "pre_norm/bias", "pre_norm/scale"]
    assert found[0] == [*embeddings, "registers"]
    for i in range(12):
        assert {path.split("/")[0] for path in found[i + 1]} == {f"block_{i:02d}"}
    assert found[13] == ["norm/bias", "norm/scale"]


def test_only_kernels_of_a_vit_decay():
    flags = jax.tree_util.tree_leaves_with_path(layer_decay.decays(shapes(VIT)))
    decayed = {"/".join(layer_decay.names(path)) for path, flag in flags if flag}
    block = {"attention/out/kernel", "attention/qkv/kernel", "mlp/down/kernel", "mlp/up/kernel"}
    assert decayed == {"patch_embed/kernel", *(f"block_{i:02d}/{name}" for i in range(12) for name in block)}


@pytest.mark.parametrize(
    ("arch", "ids"),
    [
        (SWIN, ["stem stem_norm", "block_00", "block_01 shrink_1 shrink_1_norm", "block_02", "norm"]),
        (
            CONVNEXT,
            [
                "stem_conv stem_norm",
                "stage_0_block_0",
                "stage_1_block_0 stage_1_shrink stage_1_shrink_norm",
                "stage_1_block_1",
                "norm",
            ],
        ),
        (RESNET, ["stem", "stage_0_block_0", "stage_1_block_0", "stage_1_block_1"]),
    ],
    ids=["swin", "convnext", "resnet"],
)
def test_stages_count_their_blocks_through(arch, ids):
    backbone = arch.backbone(LAST_LAYER, "float32")
    found = layer_decay.groups(shapes(backbone), layer_decay.blocks_of(backbone))
    modules = {number: sorted({path.split("/")[0] for path in paths}) for number, paths in found.items()}
    assert modules == {number: names.split() for number, names in enumerate(ids)}


def test_steps_shrink_with_the_distance_from_the_head():
    params = tiny.drawn(shapes(VIT))
    transform = layer_decay.scale_by({"encoder": layer_decay.factors(params, (12,), 0.65), "head": 10.0})
    ones = jax.tree.map(np.ones_like, {"encoder": params, "head": {"output": {"kernel": np.ones((2, 3))}}})
    scaled, _ = transform.update(ones, transform.init(ones))
    encoder = scaled["encoder"]
    assert [np.unique(encoder[name]).item() for name in ("positions", "cls")] == pytest.approx([0.65**13] * 2)
    assert np.unique(encoder["block_11"]["mlp"]["up"]["kernel"]).item() == pytest.approx(0.65)
    assert np.unique(encoder["norm"]["scale"]).item() == 1
    assert np.unique(scaled["head"]["output"]["kernel"]).item() == 10


def test_a_scaled_adamw_equals_one_learning_rate_for_each_group():
    params = {
        "encoder": {"block_00": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}},
        "head": {"kernel": np.ones((2, 1))},
    }
    gradients = jax.tree.map(lambda x: np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape), params)
    chain = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(0.1, mask=layer_decay.decays),
        layer_decay.scale_by({"encoder": layer_decay.factors(params["encoder"], (3,), 0.5), "head": 1.0}),
        optax.scale_by_learning_rate(0.01),
    )
    step = lambda optimizer: jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p)[0])
    found = step(chain)(gradients, params)
    for part, factor in (("encoder", 0.125), ("head", 1.0)):
        alone = optax.adamw(0.01 * factor, weight_decay=0.1, mask=layer_decay.decays)
        exact = step(alone)(gradients[part], params[part])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found[part], exact)
