"""What we write loads in timm and transformers with the same features, and comes back unchanged."""

from __future__ import annotations

import json
from typing import Any

import flax.struct
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hummingbird import config, weights
from hummingbird.encoder import load_encoder
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import build_pretrainer
from hummingbird.models.vit import normalize
from hummingbird.run.saver import Saver
from tests.weights.hf_zoo import HF_ZOO
from tests.weights.small import timm_arrays
from tests.weights.upstream import relative_error, upstream
from tests.weights.zoo import HALF, IMAGENET, ZOO, grid, pixels

ENCODER = {
    "encoder.name": "vit_ti8",
    "encoder.width": 32,
    "encoder.depth": 2,
    "encoder.heads": 4,
    "encoder.mlp_dim": 96,
}
FORMATS = ("timm", "hf", "big_vision", "hummingbird")


@flax.struct.dataclass
class State:
    """The part of a train state that an export reads."""

    step: Any
    online: Any
    target: Any


def workdir_of(folder, recipe=None, **changes):
    """A training workdir with drawn encoders, saved as training saves it; the encoder and its two trees."""
    settings = {"input_size": 32, "batch_size": 4, "context.bank_length": 0, **ENCODER, **changes}
    resolved = config.resolve("pretrain", recipe, settings)
    vit = build_pretrainer(resolved).encoder
    shapes = jax.eval_shape(vit.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    rng = np.random.default_rng(0)
    trees = {
        network: jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) * 0.2, shapes)
        for network in ("online", "target")
    }
    state = State(np.int32(5), *({"encoder": trees[network]} for network in ("online", "target")))
    with Saver(folder, config=config.to_flat(resolved), keep=1) as saver:
        saver.save(state, {})
    return vit, trees


def our_features(vit, params, images):
    x = normalize(jnp.asarray(images, jnp.float32) / 255)
    tokens = jax.jit(lambda p, x: vit.apply({"params": p}, x).patches)(params, x)
    return np.asarray(tokens).reshape(len(images), images.shape[1] // 8, images.shape[2] // 8, -1)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[False, True], ids=["patches", "cls"])
def run(request, tmp_path_factory):
    """(workdir, encoder, trees), with and without a [CLS] token; the layers of one are scanned."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    changes = {"encoder.cls_token": request.param, "encoder.scan_layers": request.param}
    return folder, *workdir_of(folder, **changes)


@pytest.mark.parity
def test_timm_loads_an_export_strictly_with_the_same_features(run, images, tmp_path):
    timm, torch = upstream("timm"), upstream("torch")
    folder, vit, trees = run
    for network in ("online", "target"):
        weights.export_weights(str(folder), str(tmp_path / network), format="timm", network=network)
        model = timm.create_model(f"local-dir:{tmp_path / network}", pretrained=True).eval()
        state = {n: torch.from_numpy(x) for n, x in load_file(tmp_path / network / "model.safetensors").items()}
        model.load_state_dict(state, strict=True)
        with torch.no_grad():
            tokens = model.forward_features(pixels(images, IMAGENET))[:, int(vit.arch.cls) :]
        assert relative_error(our_features(vit, trees[network], images), grid(tokens, images)) < 1e-4
        assert tuple(model.default_cfg["mean"]) == IMAGENET[0]


@pytest.mark.parity
def test_transformers_loads_an_export_with_the_same_features(run, images, tmp_path):
    transformers, torch = upstream("transformers"), upstream("torch")
    folder, vit, trees = run
    weights.export_weights(str(folder), str(tmp_path / "hf"), format="hf")
    model, info = transformers.AutoModel.from_pretrained(
        tmp_path / "hf", output_loading_info=True, add_pooling_layer=False
    )
    assert type(model).__name__ == ("ViTModel" if vit.arch.cls else "IJepaModel")
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        tokens = model.eval()(pixels(images, IMAGENET)).last_hidden_state[:, int(vit.arch.cls) :]
    assert relative_error(our_features(vit, trees["online"], images), grid(tokens, images)) < 1e-4
    processor = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert (tuple(processor["image_mean"]), tuple(processor["image_std"])) == IMAGENET


def test_big_vision_names_and_shapes_are_those_of_its_vit(run, tmp_path):
    folder, vit, _ = run
    weights.export_weights(str(folder), str(tmp_path / "npz"), format="big_vision")
    arrays = dict(np.load(tmp_path / "npz" / "params.npz"))
    shapes = {name: x.shape for name, x in arrays.items()}
    block = "params/Transformer/encoderblock_1/"
    assert shapes["params/embedding/kernel"] == (8, 8, 3, 32)
    assert shapes["params/pos_embedding"] == (1, 16, 32)
    assert shapes[block + "MultiHeadDotProductAttention_0/query/kernel"] == (32, 4, 8)
    assert shapes[block + "MultiHeadDotProductAttention_0/query/bias"] == (4, 8)
    assert shapes[block + "MultiHeadDotProductAttention_0/out/kernel"] == (4, 8, 32)
    assert shapes[block + "MlpBlock_0/Dense_0/kernel"] == (32, 96)
    assert shapes["params/Transformer/encoder_norm/scale"] == (32,)
    assert ("params/cls" in shapes) == vit.arch.cls
    assert len(shapes) == 5 + 2 * 16 + int(vit.arch.cls)


@pytest.mark.parametrize("format", FORMATS)
def test_every_export_comes_back_as_the_same_encoder(run, format, images, tmp_path):
    folder, vit, trees = run
    said = weights.export_weights(str(folder), str(tmp_path / "out"), format=format)
    (tmp_path / "file").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert modes == {(tmp_path / "file").stat().st_mode}  # others may read it, if they may read what this user writes
    back = weights.load(tmp_path / "out")
    assert back.family == "hummingbird"
    expected = trees["online"]
    if vit.scan_layers:
        expected = {n: x for n, x in expected.items() if n != "blocks"} | {
            f"block_{i:02d}": jax.tree.map(lambda x, i=i: x[i], trees["online"]["blocks"]) for i in range(2)
        }
    expected = flax.traverse_util.flatten_dict(expected, sep="/")
    assert back.arrays.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(back.arrays[name], x, err_msg=name)
    if format == "hummingbird":
        encoder = load_encoder(str(tmp_path / "out"))
        assert weights.describe(tmp_path / "out")["fingerprint"] == said["fingerprint"]
        other = np.concatenate([images, images[:, :8]], 1)  # a grid that positions are resized for
        assert relative_error(encoder(other), our_features(vit, trees["online"], other)) < 1e-5


@pytest.mark.parity
def test_fixed_positions_are_written_out_and_fixed_again_when_imported(images, tmp_path):
    timm, torch = upstream("timm"), upstream("torch")
    vit, trees = workdir_of(tmp_path / "run", **{"encoder.positions": "sincos2d"})
    weights.export_weights(str(tmp_path / "run"), str(tmp_path / "out"))
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    with torch.no_grad():
        tokens = model.forward_features(pixels(images, IMAGENET))
    assert relative_error(our_features(vit, trees["online"], images), grid(tokens, images)) < 1e-4
    assert weights.load(tmp_path / "out").arch.positions == "sincos2d"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("positions", ["learned", "sincos2d"])
def test_the_model_card_says_where_fixed_positions_are_not_those_of_other_libraries(tmp_path, format, positions):
    """They interpolate the table of one size; we compute it for each."""
    workdir_of(tmp_path / "run", **{"encoder.positions": positions})
    weights.export_weights(str(tmp_path / "run"), str(tmp_path / "out"), format=format)
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("Only at 32x32 pixels" in card) == (positions == "sincos2d" and format != "hummingbird")


@pytest.mark.parametrize(
    ("name", "statistics", "prefix"),
    [("timm AugReg", HALF, 1), ("DeiT III", IMAGENET, 1), ("SigLIP (OpenCLIP)", HALF, 0)],
)
@pytest.mark.parity
def test_other_projects_weights_can_be_passed_on_to_timm(name, statistics, prefix, images, tmp_path):
    timm, torch = upstream("timm"), upstream("torch")
    specimen = ZOO[name](tmp_path)
    weights.export_weights(str(specimen.path), str(tmp_path / "out"))
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    with torch.no_grad():
        tokens = model.forward_features(pixels(images, statistics))
    assert relative_error(grid(tokens[:, prefix:], images), specimen.features(images)) < 1e-4


@pytest.mark.parity
def test_registers_and_layerscale_are_passed_on_to_transformers(images, tmp_path):
    transformers, torch = upstream("transformers"), upstream("torch")
    (tmp_path / "in").mkdir()
    specimen = HF_ZOO["HF DINOv2 registers"](tmp_path / "in")
    weights.export_weights(str(specimen.path), str(tmp_path / "out"), format="hf")
    model = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        tokens = model(pixels(images, IMAGENET)).last_hidden_state[:, 5:]
    assert relative_error(grid(tokens, images), specimen.features(images)) < 1e-4


@pytest.mark.parity
def test_what_a_format_cannot_express_is_refused_and_nothing_is_left(tmp_path):
    (tmp_path / "in").mkdir()
    path = HF_ZOO["HF DINOv3, gated"](tmp_path / "in").path
    for format in ("timm", "hf", "big_vision"):
        with pytest.raises(UserError, match="rotary positions, SwiGLU"):
            weights.export_weights(str(path), str(tmp_path / "out"), format=format)
    with pytest.raises(UserError, match="use one of timm, hf, big_vision, hummingbird"):
        weights.export_weights(str(path), str(tmp_path / "out"), format="onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    with pytest.raises(UserError, match="exists"):
        weights.export_weights(str(path), str(tmp_path / "in"))


def test_a_network_that_does_not_exist_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="online or target"):
        weights.export_weights(str(run[0]), str(tmp_path / "out"), network="teacher")


def test_the_model_card_says_what_it_is_how_it_was_made_and_how_to_load_it(run, tmp_path):
    folder = run[0]
    (folder / "metrics.json").write_text(json.dumps({"metrics": {"miou": 41.5, "per_class_iou": {"cat": 1.0}}}))
    for format, call in zip(FORMATS, ("timm.create_model", "AutoModel", "np.load", "load_file"), strict=True):
        weights.export_weights(str(folder), str(tmp_path / format), format=format, network="target")
        card = (tmp_path / format / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: ")
        for part in ("# demo (target, step 5)", call, "| patch_size | 8 |", "miou: 41.5", "`encoder.name`: vit_ti8"):
            assert part in card, (format, part)
        assert "0.485" in card
        assert "None" not in card.split("## Origin")[0].split("## Scores")[1]


def test_an_edited_export_is_refused(tmp_path):
    save_file(timm_arrays(), tmp_path / "dino.safetensors")
    weights.export_weights(str(tmp_path / "dino.safetensors"), str(tmp_path / "out"))
    arrays = load_file(tmp_path / "out" / "model.safetensors")
    arrays["norm.bias"] = arrays["norm.bias"] + 1
    save_file(arrays, tmp_path / "out" / "model.safetensors")
    with pytest.raises(UserError, match="does not describe the arrays"):
        weights.load(tmp_path / "out")
