"""Public checkpoints of each family start a run of its objective: the encoder's arrays are those of the file."""

from pathlib import Path

import jax
import numpy as np
import pytest

from hummingbird import config, weights
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import build_pretrainer
from hummingbird.run import checkpoint
from hummingbird.weights import warm_start
from tests.weights.flax_zoo import FLAX_ZOO
from tests.weights.small import timm_arrays
from tests.weights.upstream import upstream
from tests.weights.zoo import DEPTH, HEADS, SIDE, WIDTH, ZOO

RECIPES = Path(__file__).parents[2] / "configs" / "pretrain"
SIZES = {"encoder.name": "vit_ti8", "encoder.width": WIDTH, "encoder.depth": DEPTH, "encoder.heads": HEADS}
SIZES |= {"input_size": SIDE, "augment.local.size": 16}

# {file in the project's naming: (recipe, what differs from it)}
PUBLIC = {
    "MAE": ("mae", {}),
    "MoCo v3": ("mocov3", {}),
    "DINO": ("dino", {}),
    "DINO training checkpoint": ("dino", {}),
    "iBOT": ("ibot", {}),
    "DINOv2": ("dinov2", {}),
    "DINOv2 registers, SwiGLU": ("dinov2", {"encoder.registers": 4, "encoder.mlp": "swiglu", "encoder.mlp_dim": 256}),
    "LOCA": ("loca", {"encoder.mlp_dim": 3 * WIDTH}),
    "DeiT III": ("supervised", {"encoder.layer_scale": 1e-4}),
    "timm AugReg": ("supervised", {}),
    "timm folder, averaged": ("supervised", {"pooling": "mean"}),
}


def encoder(recipe, **changes):
    path = f"{RECIPES}/{recipe}_b16_imagenet.py"
    return build_pretrainer(config.resolve("pretrain", path, SIZES | changes)).encoder


def state_of(vit):
    """Shapes of the encoders of both networks by name, as a train state has them."""
    images = np.zeros((1, SIDE, SIDE, 3), np.float32)
    network = {"encoder": jax.eval_shape(vit.init, jax.random.key(0), images)["params"]}
    return checkpoint.to_arrays({"online": network, "target": network})


@pytest.mark.parity
@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_checkpoint_gives_both_networks_its_encoder_to_the_bit(name, tmp_path):
    recipe, changes = PUBLIC[name]
    path, vit = {**ZOO, **FLAX_ZOO}[name](tmp_path).path, encoder(recipe, **changes)
    given = warm_start.read(str(path), vit, state_of(vit))
    drawn = ("encoder.mask_token",) if vit.masked else ()
    assert given.record["drawn"] == [f"{network}.{inner}" for network in ("online", "target") for inner in drawn]
    file = weights.load(path).arrays
    for inner, x in file.items():
        for network in ("online", "target"):
            name = f"{network}.encoder.{inner.replace('/', '.')}"
            if vit.arch.positions == "learned" or inner != "positions":
                np.testing.assert_array_equal(given.arrays[name], x, err_msg=name)


def test_arrays_are_those_of_the_file(tmp_path):
    from safetensors.numpy import save_file

    arrays = timm_arrays()
    save_file(arrays, tmp_path / "dino.safetensors")
    changes = {"encoder.width": 64, "encoder.depth": 1, "encoder.heads": 1, "encoder.mlp_dim": 128}
    vit = encoder("dino", **changes)
    given = warm_start.read(str(tmp_path / "dino.safetensors"), vit, state_of(vit)).arrays
    for network in ("online", "target"):
        ours = {name.removeprefix(f"{network}.encoder."): x for name, x in given.items() if name.startswith(network)}
        np.testing.assert_array_equal(ours["block_00.attention.qkv.kernel"], arrays["blocks.0.attn.qkv.weight"].T)
        np.testing.assert_array_equal(ours["block_00.mlp.down.kernel"], arrays["blocks.0.mlp.fc2.weight"].T)
        np.testing.assert_array_equal(ours["norm.bias"], arrays["norm.bias"])
        np.testing.assert_array_equal(ours["positions"], arrays["pos_embed"][0, 1:])
        np.testing.assert_array_equal(ours["cls"], arrays["cls_token"][0, 0] + arrays["pos_embed"][0, 0])


@pytest.mark.parity
def test_the_resnet_of_densecl_is_refused_by_a_line(tmp_path):
    torch = upstream("torch")
    shapes = {"conv1.weight": (64, 3, 7, 7), "bn1.weight": (64,), "layer1.0.conv1.weight": (64, 64, 1, 1)}
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    torch.save({"state_dict": state, "author": "DenseCL"}, tmp_path / "densecl_r50_imagenet_200ep.pth")
    vit = encoder("densecl")
    with pytest.raises(UserError, match=r"fits no known family") as error:
        warm_start.read(str(tmp_path / "densecl_r50_imagenet_200ep.pth"), vit, state_of(vit))
    assert "\n" not in str(error.value)
