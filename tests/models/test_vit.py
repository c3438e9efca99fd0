"""The pretraining encoder against transformers' ViTModel with the same weights, and its promises of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture, encoder_sizes
from hummingbird.models.positions import resize_positions, sincos2d
from hummingbird.models.vit import ViT, build_vit, normalize, patchify
from tests import tiny
from tests.weights.upstream import randomize, relative_error, upstream

SIZES = {"patch_size": 8, "width": 32, "depth": 2, "heads": 4, "mlp_dim": 96}
GRID = (4, 4)


@pytest.fixture(scope="module")
def reference():
    """A random ViTModel of transformers; its epsilon is set to ours, 1e-6 as in ViT's and DeiT's own code."""
    transformers = upstream("transformers")
    config = transformers.ViTConfig(
        hidden_size=SIZES["width"],
        num_hidden_layers=SIZES["depth"],
        num_attention_heads=SIZES["heads"],
        intermediate_size=SIZES["mlp_dim"],
        image_size=GRID[0] * SIZES["patch_size"],
        patch_size=SIZES["patch_size"],
        layer_norm_eps=1e-6,
    )
    return randomize(transformers.ViTModel(config, add_pooling_layer=False))


def copied(model) -> dict:
    """Our parameters from a ViTModel, written out here so that the test does not lean on the package's importer."""
    arrays = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}

    def dense(*names):
        kernels, biases = zip(*((arrays[f"{n}.weight"].T, arrays[f"{n}.bias"]) for n in names), strict=True)
        return {"kernel": np.concatenate(kernels, 1), "bias": np.concatenate(biases)}

    def norm(name):
        return {"scale": arrays[f"{name}.weight"], "bias": arrays[f"{name}.bias"]}

    kernel = arrays["embeddings.patch_embeddings.projection.weight"]  # [D, 3, p, p]
    positions = arrays["embeddings.position_embeddings"][0]
    params = {
        "patch_embed": {
            "kernel": kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0]),
            "bias": arrays["embeddings.patch_embeddings.projection.bias"],
        },
        "cls": arrays["embeddings.cls_token"][0, 0] + positions[0],
        "positions": positions[1:],
        "norm": norm("layernorm"),
    }
    stem = next(n for n in arrays if n.endswith("layers.0.attention.q_proj.weight")).split("0.attention")[0]
    for i in range(SIZES["depth"]):
        at = f"{stem}{i}."
        params[f"block_{i:02d}"] = {
            "norm1": norm(at + "layernorm_before"),
            "attention": {
                "qkv": dense(*(f"{at}attention.{x}_proj" for x in "qkv")),
                "out": dense(at + "attention.o_proj"),
            },
            "norm2": norm(at + "layernorm_after"),
            "mlp": {"up": dense(at + "mlp.fc1"), "down": dense(at + "mlp.fc2")},
        }
    return params


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parity
def test_features_are_those_of_transformers_vit_with_the_same_weights(reference, images, scan_layers):
    torch = upstream("torch")
    with torch.no_grad():
        theirs = reference(torch.from_numpy(images.transpose(0, 3, 1, 2))).last_hidden_state.numpy()
    params = copied(reference)
    if scan_layers:
        layers = [params.pop(f"block_{i:02d}") for i in range(SIZES["depth"])]
        params["blocks"] = jax.tree.map(lambda *x: np.stack(x), *layers)
    vit = ViT(Architecture(**SIZES, grid=GRID), scan_layers=scan_layers)
    ours = jax.jit(vit.apply)({"params": params}, images)
    assert relative_error(np.asarray(ours.cls), theirs[:, 0]) < 1e-5
    assert relative_error(np.asarray(ours.patches), theirs[:, 1:]) < 1e-5


@pytest.mark.parity
def test_features_at_another_size_are_those_of_transformers_given_our_resized_positions(reference):
    torch = upstream("torch")
    params = copied(reference)
    images = np.random.default_rng(1).normal(size=(1, 48, 24, 3)).astype(np.float32)
    ours = jax.jit(ViT(Architecture(**SIZES, grid=GRID)).apply)({"params": params}, images)
    assert ours.patches.shape == (1, 18, SIZES["width"])

    # torch's antialiased bicubic resize is the same filter (a = -0.5), computed by other code.
    table = reference.embeddings.position_embeddings
    grid = table[:, 1:].reshape(1, *GRID, -1).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(grid, size=(6, 3), mode="bicubic", antialias=True)
    resized = torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
    with torch.no_grad():
        patches = reference.embeddings.patch_embeddings.projection(torch.from_numpy(images.transpose(0, 3, 1, 2)))
        x = torch.cat([reference.embeddings.cls_token, patches.flatten(2).transpose(1, 2)], dim=1) + resized
        for layer in reference.get_submodule("layers" if hasattr(reference, "layers") else "encoder.layers"):
            x = layer(x)
        theirs = reference.layernorm(x).numpy()
    assert relative_error(np.asarray(ours.patches), theirs[:, 1:]) < 1e-5


@pytest.mark.parametrize("new", [(4, 4), (6, 3), (2, 2), (7, 9)])
def test_positions_resize_to_any_grid_and_stay_when_the_grid_stays(new):
    table = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
    resize = jax.jit(lambda table: resize_positions(table, GRID, new))
    resized = np.asarray(resize(table))
    assert resized.shape == (new[0] * new[1], 5)
    if new == GRID:
        np.testing.assert_array_equal(resized, table)
    constant = np.asarray(resize(np.ones((16, 5), np.float32)))
    np.testing.assert_allclose(constant, 1.0, rtol=1e-6)


@pytest.mark.parametrize("cls_token", [False, True])
@pytest.mark.parametrize("positions", ["learned", "sincos2d"])
def test_tokens_have_the_documented_shapes_and_parameters(cls_token, positions):
    vit = ViT(Architecture(**SIZES, grid=GRID, cls=cls_token, positions=positions))
    images = np.zeros((2, 16, 40, 3), np.float32)
    params = tiny.drawn(jax.eval_shape(vit.init, jax.random.key(0), images)["params"])
    assert ("positions" in params) == (positions == "learned")
    assert ("cls" in params) == cls_token
    tokens = jax.eval_shape(vit.apply, {"params": params}, images)
    assert tokens.patches.shape == (2, 10, SIZES["width"])
    assert (tokens.cls is None) != cls_token
    if cls_token:
        assert tokens.cls.shape == (2, SIZES["width"])


def test_sincos_positions_are_those_of_the_formula():
    table = sincos2d(3, 5, 8).reshape(3, 5, 8)
    for row, column, channel in [(0, 0, 0), (2, 4, 1), (1, 3, 2), (2, 0, 5), (1, 4, 7)]:
        kind, i = divmod(channel, 2)  # sin column, cos column, sin row, cos row; two frequencies each
        angle = (column if kind < 2 else row) / 10_000 ** (i / 2)
        expected = np.sin(angle) if kind % 2 == 0 else np.cos(angle)
        assert table[row, column, channel] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(UserError, match="multiple of 4"):
        sincos2d(2, 2, 6)


def test_patches_are_cut_in_row_column_channel_order():
    images = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = np.asarray(patchify(jnp.asarray(images), 2))
    assert patches.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(patches[1, 1, 2], images[1, 2:4, 4:6].reshape(-1))


@pytest.mark.parametrize("shape", [(1, 30, 32, 3), (1, 32, 20, 3)])
def test_a_patch_size_that_does_not_divide_is_refused(shape):
    with pytest.raises(UserError, match="cannot be cut into patches of 8"):
        patchify(jnp.zeros(shape), 8)
    with pytest.raises(UserError, match="not a multiple of the patch size 16"):
        build_vit({"name": "vit_ti16"}, 40)


@pytest.mark.parametrize("name", ["resnet50", "vit_b", "vit_x16", "vit_b0", "vit_b16x"])
def test_unknown_encoder_names_are_refused_with_the_valid_form(name):
    with pytest.raises(UserError, match=r"vit_\{ti,s,b,l,h\}PATCH"):
        encoder_sizes(name)


def test_named_sizes_have_the_parameter_counts_of_vit_table_1():
    for name, millions in {"vit_b16": 86, "vit_l16": 307, "vit_h14": 632}.items():
        vit = build_vit({"name": name, "cls_token": True, "scan_layers": True}, 224)
        shapes = jax.eval_shape(vit.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
        count = sum(x.size for x in jax.tree.leaves(shapes)) / 1e6
        assert count == pytest.approx(millions, rel=0.015), name  # the table rounds, and counts a head


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(UserError, match=r"encoder\.heads 5 does not divide"):
        build_vit({"name": "vit_ti16", "heads": 5}, 32)


def test_normalization_is_imagenets():
    pixel = np.asarray(normalize(jnp.full((1, 1, 1, 3), 0.5)))[0, 0, 0]
    np.testing.assert_allclose(pixel, [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225], rtol=1e-5)


def test_parameters_of_another_shape_are_refused():
    """Flax compares shapes at every use, also with those that tests/conftest.py lets it infer once."""
    images = jnp.zeros((1, 16, 16, 3))
    vit = ViT(Architecture(patch_size=8, width=16, depth=1, heads=2, mlp_dim=32, grid=(2, 2)))
    params = jax.eval_shape(vit.init, jax.random.key(0), images)["params"]
    params = jax.tree.map(lambda x: jnp.zeros(x.shape), params)
    vit.apply({"params": params}, images)
    params["norm"]["scale"] = jnp.zeros(17)
    with pytest.raises(ScopeParamShapeError, match=r"\(16,\), but the existing parameter .* \(17,\)"):
        vit.apply({"params": params}, images)
