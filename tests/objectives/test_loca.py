"""LOCA: its crops, places, losses and cross-attention against float64 NumPy; what it refuses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.models.cross_attention import CrossBlock
from hummingbird.objectives import queries
from hummingbird.objectives.loca import cluster_loss, place_loss
from tests import reference, tiny
from tests.objectives.slopes import assert_gradient
from tests.objectives.test_every import TINY

LOCA = TINY["loca"]
KEYS = jax.random.split(jax.random.key(0), (50, 4))
ERF = np.vectorize(math.erf)


def test_boxes_stay_in_the_view_and_have_areas_and_shapes_in_their_ranges():
    top, left, height, width = np.moveaxis(np.asarray(queries.sample_boxes(KEYS, 32, (0.1, 0.4))), -1, 0)
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 32 + 1e-4
    share, ratio = height * width / 32**2, width / height
    assert share.min() + 1e-6 >= 0.1
    assert share.max() <= 0.4 + 1e-6
    assert share.mean() == pytest.approx(0.25, abs=0.02)
    assert ratio.min() + 1e-6 >= 3 / 4
    assert ratio.max() <= 4 / 3 + 1e-6


def test_a_query_of_the_same_scale_is_a_part_of_the_view_and_its_places_are_there():
    image = np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32)
    boxes = np.array([[[8, 16, 16, 16], [0, 0, 32, 32]]], np.float32)
    crops = np.asarray(jax.jit(queries.cut, static_argnums=2)(image, boxes, 16))
    np.testing.assert_allclose(crops[0, 0], image[0, 8:24, 16:32], atol=1e-5)
    inner = image[0].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))  # half the size: a triangle over four pixels
    assert np.abs(crops[0, 1] - inner).mean() < 0.15
    place = np.asarray(queries.places(jnp.asarray(boxes), grid=2, patch=8, rows=4))
    assert place.tolist() == [[[6, 7, 10, 11], [5, 7, 13, 15]]]


def test_the_place_of_every_patch_is_where_its_pixels_come_from():
    """Each patch of the view has its own colour, so that a query's patches show where they lie."""
    colours = np.arange(16, dtype=np.float32).reshape(4, 4)
    image = np.repeat(np.repeat(colours, 8, 0), 8, 1)[None, ..., None] * np.ones(3, np.float32)
    boxes = queries.sample_boxes(KEYS[:1], 32, (0.02, 0.06))  # at most one patch large
    crops = np.asarray(jax.jit(queries.cut, static_argnums=2)(image, boxes, 8))[..., 0]  # [1, Q, 8, 8]
    place = np.asarray(queries.places(boxes, grid=8, patch=8, rows=4)).reshape(crops.shape)
    assert (np.abs(crops - place) < 0.5).mean() > 0.8  # borders are blended


def test_cross_attention_is_its_formula_in_value_and_gradient():
    rng, block = np.random.default_rng(1), CrossBlock(2)
    x, y, out = rng.normal(size=(2, 3, 4, 8)), rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 3, 4, 8))
    visible = rng.random((2, 3, 5)) < 0.5
    visible[..., 0] = True
    narrow = x.astype(np.float32), y.astype(np.float32)
    params = tiny.drawn(jax.eval_shape(block.init, jax.random.key(0), *narrow, visible)["params"])

    def ours(params, x, y):
        return jnp.sum(block.apply({"params": params}, x, y, visible) * out.astype(np.float32))

    def norm(p, x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

    def independent(at):
        p, x, y = at
        total = 0.0
        for b in range(2):
            for group in range(3):
                tokens, seen = x[b, group], norm(p["norm_y"], y[b])[visible[b, group]]
                q = reference.dense(p["query"], norm(p["norm_x"], tokens))
                k, v = reference.dense(p["key"], seen), reference.dense(p["value"], seen)
                heads = (slice(0, 4), slice(4, 8))
                mixed = [reference.softmax(q[:, h] @ k[:, h].T / 2) @ v[:, h] for h in heads]
                tokens = tokens + reference.dense(p["out"], np.concatenate(mixed, axis=1))
                hidden = reference.dense(p["up"], norm(p["norm_mlp"], tokens))
                tokens = tokens + reference.dense(p["down"], 0.5 * hidden * (1 + ERF(hidden / np.sqrt(2))))
                total += np.sum(tokens * out[b, group])
        return total

    at = (params, x.astype(np.float32), y.astype(np.float32))
    value, gradients = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(*at)
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), at)
    assert float(value) == pytest.approx(independent(exact), rel=1e-4)
    assert_gradient(independent, exact, gradients, rtol=2e-3, atol=1e-3)


def test_losses_are_cross_entropies_of_places_and_of_clusters_at_them():
    rng = np.random.default_rng(2)
    logits, student, place = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 6, (2, 3, 4))
    assigned = reference.softmax(rng.normal(size=(2, 6, 5)))

    def ours(logits, student):
        losses, _ = place_loss(logits, place)
        return losses.mean() + cluster_loss(assigned.astype(np.float32), student, place, 0.3)

    def independent(at):
        places, clusters = np.log(reference.softmax(at[0])), np.log(reference.softmax(at[1] / 0.3))
        total = 0.0
        for b, q, n in np.ndindex(place.shape):
            total -= places[b, q, n, place[b, q, n]] + assigned[b, place[b, q, n]] @ clusters[b, q, n]
        return total / place.size

    at = (logits.astype(np.float32), student.astype(np.float32))
    value, gradients = jax.jit(jax.value_and_grad(ours, (0, 1)))(*at)
    exact = tuple(np.asarray(x, np.float64) for x in at)
    assert float(value) == pytest.approx(independent(exact), rel=1e-5)
    assert_gradient(independent, exact, gradients)
    perfect = 50 * jax.nn.one_hot(place, 6)
    assert place_loss(perfect, place)[1].tolist() == [1, 1]


def test_only_the_online_network_finds_places():
    state = tiny.program(1, **LOCA).state
    assert set(state.online) - set(state.target) == {"locate_block", "place"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augment.same_crop": False},
            r"augment.same_crop: objective.name=loca cuts its queries from one crop; use true",
        ),
        (
            {"augment.flip_probability": 0.5},
            r"augment.flip_probability: objective.name=loca does not follow flips; use 0",
        ),
        ({"loca.query_size": 20}, r"loca.query_size: 20 is not a multiple of the patch size 8"),
        ({"loca.prototypes": 1}, r"loca.prototypes: 1 is not accepted, expected an integer >= 2"),
        ({"loca.mask_ratio": 0.99}, r"loca.mask_ratio: 0.99 leaves none of the 16 patches; use less"),
        ({"loca.query_area": (0.5, 0.1)}, r"loca.query_area: 0.5 is above 0.1"),
        ({"context.bank_length": 32}, r"context.bank_length: objective.name=loca compares no pooled features"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_a_line(changes, message):
    with pytest.raises(UserError, match=message):
        train.build_program(tiny.tiny_config(**LOCA | changes), 64)
