"""Heads: layers and shapes, and each against its formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.decoders.heads import HEADS, Sizes, build_head
from hummingbird.decoders.linear import Linear
from hummingbird.decoders.upernet import UperNet, adaptive_mean
from hummingbird.errors import UserError
from tests import reference, tiny


def features(count, side=6, width=5, seed=0):
    rng = np.random.default_rng(seed)
    maps = [rng.normal(size=(2, side, side, width)).astype(np.float32) for _ in range(count)]
    return maps, [rng.normal(size=(2, width)).astype(np.float32) for _ in range(count)]


def variables(head, maps, cls):
    shapes = jax.eval_shape(lambda key: head.init({"params": key, "dropout": key}, maps, cls, True), jax.random.key(0))
    return tiny.drawn(shapes)


def outputs(head, maps, cls=None):
    """Shapes of what a head returns in training."""

    def run(key, maps, cls):
        return head.init_with_output({"params": key, "dropout": key}, maps, cls, train=True)[0]

    return jax.eval_shape(run, jax.random.key(0), maps, cls)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_returns_float32_maps_of_its_channels(name):
    head = build_head(
        name, Sizes(1 if name == "depth_bins" else 3, depth=12, has_cls=True, width=8, dtype=jnp.bfloat16)
    )
    found = outputs(head, *features(len(head.layers)))
    assert found.output.shape[-1] == head.channels
    assert {x.dtype for x in found if x is not None} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("name", "depth", "layers", "norm"),
    [
        ("linear", 12, (-1,), True),
        ("upernet", 12, (3, 5, 7, 11), False),
        ("upernet", 24, (7, 11, 15, 23), False),
        ("depth_bins", 12, (-1,), True),
    ],
)
def test_layers_are_those_of_the_published_heads(name, depth, layers, norm):
    head = build_head(name, Sizes(1, depth))
    assert (head.layers, head.norm) == (layers, norm)


def test_stages_give_upernet_all_their_maps():
    head = build_head("upernet", Sizes(3, depth=4, staged=True, width=8))
    assert head.layers == (0, 1, 2, 3)
    maps = [jax.ShapeDtypeStruct((2, 32 // 2**i, 32 // 2**i, 4 * 2**i), jnp.float32) for i in range(4)]
    assert outputs(head, maps).output.shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("side", "output", "auxiliary"),
    [(32, (2, 128, 128, 3), (2, 32, 32, 3)), (37, (2, 148, 148, 3), (2, 37, 37, 3))],
    ids=["512 pixels, patches of 16", "518 pixels, patches of 14"],
)
def test_the_pyramid_has_four_cells_for_each_patch(side, output, auxiliary):
    maps = [jax.ShapeDtypeStruct((2, side, side, 8), jnp.float32)] * 4
    found = outputs(UperNet(3, (0, 1, 2, 3), width=4, auxiliary_width=4), maps)
    assert (found.output.shape, found.auxiliary.shape) == (output, auxiliary)


def test_a_linear_head_is_one_product_over_all_layers():
    head = build_head("linear", Sizes(3, depth=12, layers=(-2, -1)))
    maps, _ = features(2)
    given = variables(head, maps, None)
    exact = reference.dense(given["params"]["output"], np.concatenate(maps, -1).astype(np.float64))
    np.testing.assert_allclose(head.apply(given, maps).output, exact, atol=1e-5)


def test_batch_norm_takes_the_statistics_of_the_batch_and_keeps_a_tenth_of_them():
    head = build_head("bn_linear", Sizes(3, depth=12))
    (x,), _ = features(1)
    start = variables(head, [x], None)
    found, state = head.apply(start, [x], train=True, mutable=["batch_stats"])
    p, exact = start["params"], x.astype(np.float64)
    mean, var = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    normed = (exact - mean) / np.sqrt(var + 1e-5) * p["norm"]["scale"] + p["norm"]["bias"]
    np.testing.assert_allclose(found.output, reference.dense(p["output"], normed), atol=1e-5)
    old, new = start["batch_stats"]["norm"], state["batch_stats"]["norm"]
    np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(new["var"], 0.9 * old["var"] + 0.1 * var, rtol=1e-4)


def test_dropout_drops_whole_channels_of_an_image():
    head = Linear(5, dropout=0.5)
    maps = [np.ones((3, 2, 2, 5), np.float32)]
    params = {"params": {"output": {"kernel": jnp.eye(5), "bias": jnp.zeros(5)}}}
    apply = jax.jit(lambda maps: head.apply(params, maps, train=True, rngs={"dropout": jax.random.key(0)}).output)
    found = np.asarray(apply(maps))
    assert set(np.unique(found)) == {0, 2}
    assert (found == found[:, :1, :1]).all()


@pytest.mark.parametrize("upsampled", [1, 4])
def test_depth_bins_are_the_expectation_over_upsampled_features(upsampled):
    """DINOv2 upsamples the features, [CLS] beside them, then multiplies."""
    head = build_head("depth_bins", Sizes(1, depth=12, has_cls=True)).clone(upsampled=upsampled)
    maps, cls = features(1)
    given = variables(head, maps, cls)
    whole = np.concatenate([maps[0], np.broadcast_to(cls[0][:, None, None], maps[0].shape)], -1)
    larger = np.stack([reference.bilinear(x, 6 * upsampled, 6 * upsampled) for x in whole])
    weights = np.maximum(reference.dense(given["params"]["output"], larger), 0) + 0.1
    exact = (weights * np.linspace(1e-3, 10, 256)).sum(-1) / weights.sum(-1)
    found = np.asarray(jax.jit(head.apply)(given, maps, cls).output)[..., 0]
    np.testing.assert_allclose(found, exact, rtol=1e-4)
    assert found.min() >= 1e-3
    assert found.max() <= 10


def test_regression_starts_near_the_mean_of_the_labels():
    head = build_head("regression", Sizes(2, depth=12, scale=3.0, offset=5.0, batch_norm=False))
    maps, _ = features(1)
    given = variables(head, maps, None)
    plain = reference.dense(given["params"]["output"], maps[0])
    np.testing.assert_allclose(head.apply(given, maps).output, 3 * plain + 5, rtol=1e-5)


@pytest.mark.parametrize("cells", [1, 2, 3, 6])
def test_adaptive_means_overlap_where_cells_do_not_divide_the_map(cells):
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3))
    edges = [(i * 16 // cells, -(-(i + 1) * 16 // cells)) for i in range(cells)]
    exact = [[x[:, a:b, c:d].mean((1, 2)) for c, d in edges] for a, b in edges]
    np.testing.assert_allclose(adaptive_mean(jnp.float32(x), cells), np.transpose(exact, (2, 0, 1, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "line"),
    [
        ("upper", {}, "decoder.name: 'upper' is not known, use one of linear, bn_linear, segmenter, upernet"),
        ("linear", {"layers": (3, 12)}, r"layers \[3, 12\]: the encoder has layers 0 to 11"),
        ("upernet", {"layers": (-1,)}, "decoder.layers: upernet takes four layers of the encoder, not 1"),
    ],
)
def test_heads_that_cannot_be_built_are_refused_by_a_line(name, changes, line):
    with pytest.raises(UserError, match=line):
        build_head(name, Sizes(3, depth=12, **changes))
