"""iBOT and DINOv2: block masks, the loss of masked patches and KoLeo against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import ViewOutputs
from hummingbird.objectives import Batch, masking
from hummingbird.objectives.dinov2 import koleo
from hummingbird.objectives.ibot import divisor, first_masked, in_even_parts, take
from tests import reference, tiny
from tests.objectives.slopes import assert_gradient
from tests.objectives.test_dino import dino_loss, head, network
from tests.objectives.test_every import TINY

KEYS = jax.random.split(jax.random.key(0), 300)


def test_block_masks_have_the_exact_number_of_patches_in_blocks():
    counts = np.arange(300) % 60
    masks = np.asarray(jax.jit(masking.block_masks, static_argnums=1)(KEYS, (14, 14), counts))
    np.testing.assert_array_equal(masks.sum(axis=1), counts)
    some = masks[counts > 30].reshape(-1, 14, 14)
    together = (some[:, 1:] & some[:, :-1]).sum() / some.sum()  # patches with a masked one below them
    assert together > 0.6  # 0.2 at random
    again = jax.jit(masking.block_masks, static_argnums=1)(KEYS[7:9], (14, 14), counts[7:9])
    np.testing.assert_array_equal(again, masks[7:9])
    assert some.mean(axis=0).min() > 0.02  # every place is masked sometimes


def test_some_views_are_masked_by_shares_in_the_range():
    masks = jax.jit(masking.some_block_masks, static_argnums=(1, 2, 3))(KEYS.reshape(150, 2), (8, 8), 0.5, (0.1, 0.5))
    shares = np.asarray(masks.mean(axis=-1)).ravel()
    masked = shares[shares > 0]
    assert 0.4 < len(masked) / 300 < 0.6
    assert masked.min() >= 6 / 64
    assert masked.max() <= 0.5
    assert masked.mean() == pytest.approx(0.3, abs=0.03)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ibot", "dinov2"])
def test_the_loss_is_its_equations_in_value_and_gradient_and_moves_its_centres(name):
    objective = tiny.program(1, **TINY[name]).algorithm.objective
    separate, sinkhorn = name == "dinov2", name == "dinov2"
    rng = np.random.default_rng(0)
    theta, xi = (tiny.drawn_heads(objective, seed=i).params for i in (0, 1))
    pooled, wanted = rng.normal(size=(2, 4, 2, 32))
    tokens, targets = rng.normal(size=(2, 4, 2, 16, 32))
    # Up to 8 of 16 are masked, and the head processes so many; one view has none, another one 8.
    mask = np.argsort(rng.random((4, 2, 16)), axis=-1) < np.array([[0, 8], [1, 5], [7, 2], [6, 3]])[..., None]
    centres = {"centre": rng.normal(size=16), "patch_centre": rng.normal(size=16)}
    schedules = {"prototypes": 1.0, "teacher_temperature": 0.5}
    narrow = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)

    @jax.jit
    def ours(theta, pooled, tokens):
        one = ViewOutputs(pooled[..., :1], pooled, pooled[..., :1], {}, tokens, {"mask": jnp.asarray(mask)})
        two = ViewOutputs(*narrow((wanted[..., :1], wanted, wanted[..., :1])), {}, narrow(targets))
        networks = network(theta, {"global": one}), network(xi, {"global": two})
        loss = objective.loss(*networks, Batch({}, jnp.zeros(4, jnp.int32)), narrow(centres), schedules)
        return loss.value, loss.extra

    def teach(logits, centre, chosen):
        """Softmax with a centre, or Sinkhorn-Knopp over the chosen rows."""
        if not sinkhorn:
            return reference.softmax((logits - centre) / 0.5)
        q = np.exp(logits[chosen] / 0.5).T
        for _ in range(3):
            q /= q.sum(axis=1, keepdims=True)
            q /= q.sum(axis=0, keepdims=True)
        out = np.zeros_like(logits)
        out[chosen] = q.T
        return out

    def independent(at):
        theta, pooled, tokens = at
        images = teach(head(exact["head"], wanted), centres["centre"], np.ones((4, 2), bool))
        total = dino_loss(head(theta["head"], pooled), images, 0.1)
        patches = teach(head(exact[patch], targets), centres["patch_centre"], mask)
        log_p = np.log(reference.softmax(head(theta[patch], tokens) / 0.1))
        losses = -np.sum(patches * log_p, axis=-1)
        means = [losses[i, v][mask[i, v]].mean() if mask[i, v].any() else 0 for i in range(4) for v in range(2)]
        return total + np.mean(means) + (0.1 * sum(spread(pooled[:, v]) for v in (0, 1)) if separate else 0)

    patch = "patch_head" if separate else "head"
    exact = jax.tree.map(lambda x: np.asarray(x, np.float64), xi)
    at = narrow((theta, pooled, tokens))
    (value, moved), gradients = jax.value_and_grad(ours, (0, 1, 2), has_aux=True)(*at)
    at = jax.tree.map(lambda x: np.asarray(x, np.float64), at)
    assert float(value) == pytest.approx(independent(at), rel=1e-5)
    assert_gradient(independent, at, gradients, rtol=2e-3)
    for key, part, x in (("centre", "head", wanted), ("patch_centre", patch, targets)):
        mean = head(exact[part], x).reshape(-1, 16).mean(axis=0)
        expected = centres[key] if sinkhorn else 0.9 * centres[key] + 0.1 * mean  # Sinkhorn reads no centres
        np.testing.assert_allclose(moved[key], expected, atol=1e-5)


def spread(x):
    """KoLeo in NumPy."""
    x = reference.unit(x)
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1) + 1e9 * np.eye(len(x))
    return -np.log(distances.min(axis=1)).mean()


def test_koleo_is_the_mean_log_distance_to_the_nearest_and_finite_for_equal_features():
    x = np.random.default_rng(0).normal(size=(7, 5))
    assert float(jax.jit(koleo)(x.astype(np.float32))) == pytest.approx(spread(x), rel=1e-4)
    value, gradient = jax.jit(jax.value_and_grad(koleo))(jnp.ones((3, 4)))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_masked_patches_come_first_and_those_beside_them_fill_the_rest():
    mask = np.random.default_rng(0).random((3, 2, 16)) < 0.3
    tokens = jnp.arange(3 * 2 * 16.0).reshape(3, 2, 16)
    chosen = first_masked(jnp.asarray(mask), 8)
    taken, counts = take(tokens, chosen), np.asarray(take(jnp.asarray(mask), chosen))
    np.testing.assert_array_equal(np.asarray(taken)[counts], np.asarray(tokens)[mask])
    assert counts.sum() == mask.sum()


def test_patches_pass_the_head_in_equal_parts():
    for count, limit in ((98, 196), (97, 196), (128, 256), (685, 1369), (16, 16)):
        most = in_even_parts(count, 64, limit)
        assert count <= most <= limit
        assert most // divisor(most, 64) == -(-count // 64)
    assert [divisor(196, 64), divisor(16, 4), divisor(7, 4)] == [49, 4, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ibot.mask_ratio": (0.1, 1.0)}, r"ibot.mask_ratio: 1.0 leaves none of the 16 patches; use less"),
        ({"ibot.mask_ratio": (0.5, 0.1)}, r"ibot.mask_ratio: 0.5 is above 0.1"),
        ({"supervised.weight": 0.1, "supervised.objective": "classifier"}, r"supervised.weight: .* no supervised part"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_a_line(changes, message):
    with pytest.raises(UserError, match=message):
        train.build_program(tiny.tiny_config(**TINY["ibot"] | changes), 64)
