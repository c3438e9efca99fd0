"""Runs of every objective are exported: what their encoders differ in arrives, or is refused by a line."""

from pathlib import Path

import flax.traverse_util
import numpy as np
import pytest

from hummingbird import config, weights
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import build_pretrainer
from hummingbird.objectives import OBJECTIVES
from tests.weights.test_export import our_features, workdir_of
from tests.weights.upstream import relative_error, upstream
from tests.weights.zoo import IMAGENET, grid, pixels

RECIPES = Path(__file__).parents[2] / "configs" / "pretrain"
REGISTERS = {"encoder.registers": 3}


# Every kind of encoder that a recipe has; the other recipes have one of these, too.
KINDS = ("hummingbird", "mocov3", "simsiam", "dino", "ibot", "dinov2", "loca")
PLAIN = {"augment.local.size": 16, "dtype": "float32"}


def recipe(name):
    return str(RECIPES / ("vit_b16_imagenet.py" if name == "hummingbird" else f"{name}_b16_imagenet.py"))


def run_of(folder, name, **changes):
    """A training workdir of a recipe's encoder, narrow and with two layers."""
    return workdir_of(folder, recipe(name), **PLAIN, **changes)


def test_these_are_all_kinds_of_encoders():
    def kind(name):
        vit = build_pretrainer(config.resolve("pretrain", recipe(name))).encoder
        return vit.arch, vit.masked

    assert {kind(name) for name in OBJECTIVES} == {kind(name) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_an_encoder_of_each_kind_is_written_for_timm_and_hugging_face_and_comes_back(name, tmp_path):
    vit, trees = run_of(tmp_path / "run", name)
    for format in ("timm", "hf"):
        weights.export_weights(str(tmp_path / "run"), str(tmp_path / format), format=format)
        back = weights.load(tmp_path / format)
        assert back.arch == vit.arch
        # Without the token of masked patches: only training uses it.
        flat = flax.traverse_util.flatten_dict(trees["online"], sep="/")
        assert back.arrays.keys() == flat.keys() - {"mask_token"}
        for array, x in back.arrays.items():
            np.testing.assert_array_equal(x, flat[array], err_msg=array)


@pytest.mark.parity
@pytest.mark.parametrize(("name", "changes"), [("mae", {}), ("loca", {}), ("dinov2", {}), ("dinov2", REGISTERS)])
def test_timm_and_transformers_compute_the_same_features(name, changes, tmp_path):
    """Fixed positions beside [CLS], another GELU, LayerScale beside a mask token, registers."""
    timm, transformers, torch = upstream("timm"), upstream("transformers"), upstream("torch")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    vit, trees = run_of(tmp_path / "run", name, **changes)
    for format in ("timm", "hf"):
        weights.export_weights(str(tmp_path / "run"), str(tmp_path / format), format=format)
    expected, x = our_features(vit, trees["online"], images), pixels(images, IMAGENET)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    model, info = transformers.AutoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not info["mismatched_keys"]
    with torch.no_grad():
        for tokens in (theirs.forward_features(x), model.eval()(x).last_hidden_state):
            assert relative_error(expected, grid(tokens[:, vit.arch.prefix :], images)) < 1e-4


@pytest.mark.parametrize(
    ("changes", "format", "said"),
    [
        ({"encoder.mlp": "swiglu"}, "timm", "timm, which has no SwiGLU by name; use another format"),
        ({"encoder.mlp": "swiglu"}, "hf", "Hugging Face, which has no SwiGLU here"),
        ({**REGISTERS, "encoder.layer_scale": 0.0}, "hf", "Hugging Face, which has no registers without LayerScale"),
        (REGISTERS, "big_vision", "big_vision, which has no LayerScale, registers"),
    ],
)
def test_what_a_format_lacks_is_refused_by_a_line(changes, format, said, tmp_path):
    run_of(tmp_path / "run", "dinov2", **changes)
    with pytest.raises(UserError, match=said):
        weights.export_weights(str(tmp_path / "run"), str(tmp_path / "out"), format=format)
    assert not (tmp_path / "out").exists()
