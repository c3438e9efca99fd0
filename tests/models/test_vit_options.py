"""Options of the encoder: registers, LayerScale, SwiGLU, stochastic depth, mask tokens, subsets of tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import config
from hummingbird.encoder import load_encoder
from hummingbird.errors import UserError
from hummingbird.models.architecture import build_architecture
from hummingbird.models.blocks import Mlp, survival_factors
from hummingbird.models.vit import build_vit, take_tokens
from hummingbird.run.saver import Saver
from hummingbird.weights import export_weights
from tests import tiny

SMALL = {"name": "vit_ti8", "width": 32, "depth": 2, "heads": 2}
OPTIONS = {"encoder.registers": 2, "encoder.layer_scale": 0.1, "encoder.mlp": "swiglu", "encoder.drop_path": 0.5}
IMAGES = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)


@functools.cache
def built(masked=False, **changes):
    vit = build_vit(SMALL | changes, 32, masked=masked)
    return vit, tiny.drawn(jax.eval_shape(vit.init, jax.random.key(0), IMAGES)["params"])


@pytest.mark.long
def test_options_are_parts_of_the_architecture():
    vit, _ = built(masked=True, registers=3, layer_scale=1e-5, mlp="swiglu")
    params = jax.jit(vit.init)(jax.random.key(0), IMAGES)["params"]
    assert vit.arch.registers == params["registers"].shape[0] == 3
    np.testing.assert_array_equal(params["block_01"]["scale2"], np.full(32, 1e-5, np.float32))
    hidden = 88  # two thirds of 4 x 32, up to a multiple of 8
    assert params["block_00"]["mlp"]["up"]["kernel"].shape == (32, 2 * hidden)
    assert (vit.arch.activation, vit.arch.swiglu, params["mask_token"].shape) == ("silu", True, (32,))
    assert build_vit({"name": "vit_b14", "mlp": "swiglu"}, 224).arch.mlp_dim == 2048  # DINOv2


def test_masked_patches_are_replaced_and_keep_their_positions():
    vit, params = built(masked=True, positions="sincos2d")
    apply = jax.jit(vit.apply)
    mask = np.zeros((3, 16), bool)
    mask[1, 5] = mask[2] = True
    tokens = apply({"params": params}, IMAGES, mask).patches
    changed = IMAGES.copy()
    changed[1, 8:16, 8:16] = changed[2] = 0  # patch 5 is in row 1, column 1
    np.testing.assert_allclose(apply({"params": params}, changed, mask).patches, tokens, atol=1e-6)
    unmasked = apply({"params": params}, IMAGES, np.zeros_like(mask)).patches
    np.testing.assert_allclose(tokens[0], unmasked[0], atol=1e-6)
    assert np.abs(tokens[1] - unmasked[1]).max() > 1e-3
    assert np.std(tokens[2], axis=0).max() > 1e-3  # all masked, told apart by their positions


@pytest.mark.long
def test_kept_tokens_are_encoded_in_their_order_as_if_there_were_no_others():
    vit, params = built(positions="sincos2d")
    apply = jax.jit(lambda images, keep: vit.apply({"params": params}, images, keep=keep).patches)
    order = np.stack([np.random.default_rng(i).permutation(16) for i in range(3)])
    every = jax.jit(vit.apply)({"params": params}, IMAGES).patches
    np.testing.assert_allclose(apply(IMAGES, order), np.take_along_axis(every, order[..., None], 1), atol=1e-5)
    some = apply(IMAGES, order[:, :4])
    changed = IMAGES.copy()
    for image, rest in zip(changed, order[:, 4:], strict=True):
        for row, column in np.stack(np.divmod(rest, 4), -1):
            image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 9
    np.testing.assert_allclose(apply(changed, order[:, :4]), some, atol=1e-5)
    assert np.abs(some - np.take_along_axis(every, order[:, :4, None], 1)).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_taking_tokens_is_exact(dtype):
    x = jax.random.normal(jax.random.key(0), (2, 5, 3), dtype)
    keep = np.array([[4, 0], [1, 1]])
    np.testing.assert_array_equal(take_tokens(x, keep), np.take_along_axis(np.asarray(x), keep[..., None], 1))


def test_stochastic_depth_skips_branches_of_single_images():
    vit, params = built(drop_path=0.5)
    keys = jax.random.split(jax.random.key(3), 3)
    factors = jax.jit(survival_factors, static_argnums=(1, 2))(keys, 2, 0.5)
    assert np.all(factors[0] == 1)  # the rate of the first layer is 0
    assert set(np.unique(factors[1])) == {0, 2}
    apply = jax.jit(lambda images, keys: vit.apply({"params": params}, images, drop_keys=keys).patches)
    tokens = apply(IMAGES, keys)

    @jax.jit
    def by_hand(params, first, second):
        bound = vit.bind({"params": params})
        x, _ = bound.layers[0](bound.embed(IMAGES)[0], None)
        block = bound.layers[1]
        y = x + first[:, None, None] * block.project(block.attend(x, None))
        return bound.normed(y + second[:, None, None] * block.mlp(block.norm2(y)))

    expected = by_hand(params, *np.asarray(factors[1]).T)
    np.testing.assert_allclose(tokens, expected[:, 1:] if vit.arch.cls else expected, atol=1e-5)
    # An image is treated alike whatever the rest of the batch.
    np.testing.assert_allclose(apply(IMAGES[[2, 0, 1]], keys[jnp.array([2, 0, 1])])[1], tokens[0], atol=1e-5)


def test_stochastic_depth_leaves_expectations_as_they_are():
    factors = survival_factors(jax.random.split(jax.random.key(0), 4000), 3, 0.4)
    np.testing.assert_allclose(factors.mean(axis=(1, 2)), 1, atol=0.03)
    np.testing.assert_allclose((factors == 0).mean(axis=(1, 2)), [0, 0.2, 0.4], atol=0.02)


@pytest.mark.long
def test_scanned_layers_drop_the_same_branches():
    vit, params = built(drop_path=0.5, layer_scale=0.5, registers=1)
    scanned, _ = built(drop_path=0.5, layer_scale=0.5, registers=1, scan_layers=True, remat=True)
    layers = [params[f"block_{i:02d}"] for i in range(2)]
    others = {name: x for name, x in params.items() if not name.startswith("block_")}
    stacked = others | {"blocks": jax.tree.map(lambda *x: jnp.stack(x), *layers)}
    keys = jax.random.split(jax.random.key(1), 3)
    apply = lambda vit, params: jax.jit(vit.apply)({"params": params}, IMAGES, drop_keys=keys).patches
    np.testing.assert_allclose(apply(scanned, stacked), apply(vit, params), atol=1e-5)


@pytest.mark.slow
@pytest.mark.program
def test_a_run_with_every_option_does_not_depend_on_devices_or_micro_batches():
    changes = {**OPTIONS, "objective.name": "simclr", "context.bank_length": 0, "encoder.depth": 2}
    one, four = tiny.gradient(1, **changes), tiny.gradient(4, micro_batches=2, **changes)
    tiny.assert_same_gradient(one, four)


@pytest.mark.program
def test_a_run_with_every_option_is_loaded_exported_and_refused_where_a_format_lacks_them(tmp_path):
    changes = {**OPTIONS, "objective.name": "ibot", "context.bank_length": 0, "dino.prototypes": 16}
    settings, run = tiny.tiny_config(**changes), tmp_path / "run"
    state = jax.tree.map(lambda x: jnp.asarray(np.full(x.shape, 0.1, x.dtype)), tiny.program(1, **changes).state)
    assert "mask_token" in state.online["encoder"]
    with Saver(run, config=config.to_flat(settings), keep=1) as saver:
        saver.save(state, {})
    images = np.zeros((1, 32, 32, 3), np.uint8)
    features = load_encoder(str(run))(images)
    export_weights(str(run), str(tmp_path / "own"), "hummingbird")
    np.testing.assert_allclose(load_encoder(str(tmp_path / "own"))(images), features, atol=1e-5)
    for format in ("timm", "hf", "big_vision"):
        with pytest.raises(UserError, match="SwiGLU"):
            export_weights(str(run), str(tmp_path / format), format)


def test_drop_path_of_one_is_refused():
    with pytest.raises(UserError, match=r"encoder.drop_path: 1.0 is not accepted, expected a number from 0 to 0.95"):
        config.resolve("pretrain", overrides={"encoder.drop_path": 1.0})


def test_of_the_activation_the_backward_pass_keeps_its_input_only():
    """Scanned layers keep all that is not recomputed: for the exact GELU three float32 arrays of the MLP's width."""
    arch = build_architecture(SMALL, 32)
    mlp, x = Mlp(arch, jnp.bfloat16), jax.ShapeDtypeStruct((2, 5, arch.width), jnp.bfloat16)
    params = jax.eval_shape(mlp.init, jax.random.key(0), x)
    kept = jax.eval_shape(lambda params, x: jax.vjp(mlp.apply, params, x)[1], params, x)
    wide = [array.dtype for array in jax.tree.leaves(kept) if array.shape == (2, 5, arch.mlp_dim)]
    assert wide
    assert set(wide) == {jnp.dtype(jnp.bfloat16)}
