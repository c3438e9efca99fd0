"""Gradients of tokens against the closed form, and of every imported family against `jax.grad` of the whole network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from hummingbird.gradients import losses
from hummingbird.gradients.heads import named_key
from hummingbird.gradients.projection import dense_matrices
from hummingbird.gradients.tail import run_body, select, take_gradients
from hummingbird.models.frozen_vit import FrozenViT
from tests.gradients.closed_form import Norm, Tail, delta, forward, loss
from tests.gradients.small import IMAGES, encoder
from tests.weights.hf_zoo import HF_ZOO
from tests.weights.upstream import relative_error
from tests.weights.zoo import ZOO

RNG = np.random.default_rng(0)
HEAD = RNG.normal(size=(32, 12)), RNG.normal(size=12)
NEGATIVES = RNG.normal(size=(9, 12))
# The printed loss, and that of the public code.
TEMPERATURES = {"paper": (0.07, 0.07), "public-code": (0.07, 1.0)}


def tail_of(vit):
    """The last block of an encoder in float64."""
    block = vit.params["block_01"]
    array = lambda x: np.asarray(x, np.float64)
    norm = lambda x: Norm(array(x["scale"]), array(x["bias"]), vit.backbone.arch.epsilon)
    dense = lambda x: (array(x["kernel"]), array(x["bias"]))
    return Tail(
        array(block["scale1"]),
        norm(block["norm2"]),
        dense(block["mlp"]["up"]),
        dense(block["mlp"]["down"]),
        array(block["scale2"]),
        norm(vit.params["norm"]),
        HEAD,
    )


@pytest.fixture(scope="module")
def last():
    """The tokens before the projection, and those after it, in float64."""
    vit = encoder("layer scale")
    found = jax.jit(lambda params: select(vit.backbone, run_body(vit.backbone, params, IMAGES[:1]), "all"))(vit.params)
    kernel, bias = vit.backbone.projection(vit.params)
    projected = np.asarray(found.attended, np.float64)[0] @ np.asarray(kernel, np.float64) + np.asarray(bias)
    return vit, found, np.asarray(found.residual, np.float64)[0], projected


@pytest.mark.parametrize("preset", TEMPERATURES)
def test_the_closed_form_is_the_slope_of_the_loss(preset, last):
    vit, _, residual, projected = last
    tail, step = tail_of(vit), 1e-5
    value = lambda p: loss(forward(residual, p, tail)[0], NEGATIVES, *TEMPERATURES[preset])
    found = delta(residual, projected, tail, NEGATIVES, *TEMPERATURES[preset])
    for t, d in ((0, 0), (3, 17), (6, 31)):
        moved = np.zeros_like(projected)
        moved[t, d] = step
        slope = (value(projected + moved) - value(projected - moved)) / (2 * step)
        assert found[t, d] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("preset", TEMPERATURES)
def test_gradients_of_tokens_are_the_closed_form(preset, last):
    vit, found, residual, projected = last
    temperature, denominator = TEMPERATURES[preset]
    kernel, bias, negatives = (jnp.asarray(x, jnp.float32) for x in (*HEAD, NEGATIVES))

    def contrast(tokens):
        return losses.info_nce(tokens[0] @ kernel + bias, negatives, temperature, denominator)

    outer = jax.jit(lambda params, last: take_gradients(vit.backbone, params, last, contrast))(vit.params, found)
    truth = delta(residual, projected, tail_of(vit), NEGATIVES, temperature, denominator)
    assert relative_error(np.asarray(outer.delta)[0], truth) < 2e-5


@functools.cache
def kl_head(width):
    return hb.gradients.build_head("kl", 0, width, 768)


def whole_gradient(vit, images):
    """Kernel and bias of the projection, by `jax.grad` of the whole network."""
    head = kl_head(vit.dim)

    @jax.jit
    def run(params):
        def value(params):
            patches, cls = vit.outputs(params, images)[0]
            embedding = patches.mean((1, 2)) if cls is None else cls
            return losses.kl_to_uniform(losses.unit(embedding) @ head.kernel + head.bias).sum()

        return vit.projection(jax.grad(value)(params))

    return run(vit.params)


def check(vit, images):
    kernel, bias = whole_gradient(vit, images)
    truth = np.asarray(kernel) if bias is None else np.concatenate([np.asarray(kernel), np.asarray(bias)[None]])
    if not vit.backbone.has_cls:  # the mean of all patches: a sum of outer products, which the projection takes whole
        found = hb.gradients.features(vit, images, projection="dense", dim=64)[0, :64]
        key = named_key(0, "gradients projection")
        projected = dense_matrices(jnp.asarray(truth.T[None]), 64, key)[0]
        np.testing.assert_allclose(found, np.asarray(losses.unit(projected)), atol=5e-4)
        return
    factors = hb.gradients.features(vit, images, projection="none")[0]
    width = truth.shape[1]
    found = np.outer(factors[width : width + len(truth)], factors[:width])
    np.testing.assert_allclose(found, truth / np.linalg.norm(truth), atol=5e-5)


@pytest.mark.long
def test_patches_of_14_pixels_have_the_gradients_of_the_whole_network():
    check(
        encoder("all variations", patch_size=14), np.ascontiguousarray(RNG.integers(0, 256, (1, 28, 42, 3), np.uint8))
    )


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("name", [*ZOO, *HF_ZOO])
def test_every_imported_family_has_the_gradients_of_the_whole_network(name, tmp_path):
    specimen = {**ZOO, **HF_ZOO}[name](tmp_path)
    vit = hb.load_encoder(str(specimen.path))
    assert isinstance(vit.backbone, FrozenViT)
    check(vit, RNG.integers(0, 256, (1, 32, 32, 3), np.uint8))
