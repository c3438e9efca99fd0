"""Losses of decoders against NumPy in float64, and what pixels without a label do to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hummingbird.decoders import losses
from tests import reference
from tests.directional import assert_same_value_and_gradient

VOID = 255
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, (2, 6, 8))
LABELS[RNG.random(LABELS.shape) < 0.3] = VOID
LOGITS = RNG.normal(size=(2, 3, 4, 3))
TRUTH = RNG.uniform(0.5, 9, (2, 15, 18))
VALID = RNG.random(TRUTH.shape) < 0.7
DEPTH = RNG.uniform(0.5, 9, (2, 5, 6, 1))


def larger(x, size):
    return np.stack([reference.bilinear(image, *size) for image in x])


def pixel_losses(logits):
    likely = reference.softmax(larger(logits, LABELS.shape[1:]))
    return -np.log(np.take_along_axis(likely, np.where(LABELS == VOID, 0, LABELS)[..., None], -1)[..., 0])


@pytest.mark.parametrize("over", ["valid", "all"])
@pytest.mark.parametrize("most", [2**27, 40], ids=["at once", "in strips"])
def test_cross_entropy_is_the_mean_over_labelled_pixels(over, most, monkeypatch):
    monkeypatch.setattr(losses, "MOST_LOGITS", most)
    valid = LABELS != VOID

    def exact(logits):
        return pixel_losses(logits)[valid].sum() / (valid.sum() if over == "valid" else valid.size)

    assert_same_value_and_gradient(lambda x: losses.cross_entropy(x, jnp.asarray(LABELS), VOID, over), exact, LOGITS)


def test_logits_are_worked_off_in_equal_strips():
    assert [losses._strips(512, row) for row in (2**18, 2**19, 2**26, 2**40)] == [1, 2, 256, 512]


def gradients(logits, depth, labels, truth, valid):
    """Values and gradients of all losses."""
    of = jax.value_and_grad
    return (
        of(losses.cross_entropy)(logits, labels, VOID),
        of(losses.sig_loss)(depth, truth, valid),
        of(losses.regression_loss)(depth, truth[..., None], valid),
        of(losses.gradient_loss)(depth, truth, valid),
    )


def test_pixels_without_a_label_carry_no_gradient():
    """Where outputs have the size of the labels, each belongs to one pixel."""
    logits, depth = (np.float32(x) for x in (RNG.normal(size=(*LABELS.shape, 3)), TRUTH[..., None] + 1))
    found = jax.jit(gradients)(logits, depth, LABELS, np.float32(TRUTH), VALID)
    entropy, sig, error, slopes = (np.abs(gradient).max(-1) > 0 for _, gradient in found)
    np.testing.assert_array_equal(entropy, LABELS != VOID)
    np.testing.assert_array_equal(sig, VALID)
    np.testing.assert_array_equal(error, VALID)
    assert not slopes[~VALID].any()


def test_a_batch_without_labels_costs_nothing():
    none, truth = np.zeros(VALID.shape, bool), np.full(TRUTH.shape, np.nan, np.float32)
    found = jax.jit(gradients)(np.float32(LOGITS), np.float32(DEPTH), np.full(LABELS.shape, VOID), truth, none)
    assert not any(np.any(x) for x in jax.tree.leaves(found))


def test_a_class_that_the_head_lacks_is_not_scored_silently():
    loss = jax.jit(losses.cross_entropy, static_argnums=2)
    assert np.isnan(loss(np.float32(LOGITS), np.full(LABELS.shape, 3), VOID))


def log_ratio(depth):
    return np.log(larger(depth, TRUTH.shape[1:])[..., 0] + 1e-3) - np.log(TRUTH + 1e-3)


@pytest.mark.parametrize("warm_up", [False, True])
def test_sig_loss_is_the_deviation_and_mean_of_log_ratios(warm_up):
    def exact(depth):
        g = log_ratio(depth)[VALID]
        return np.sqrt((0 if warm_up else g.var(ddof=1)) + 0.15 * g.mean() ** 2)

    ours = lambda x: losses.sig_loss(x, jnp.float32(TRUTH), jnp.asarray(VALID), warm_up)
    assert_same_value_and_gradient(ours, exact, DEPTH)


def test_a_constant_factor_costs_only_its_logarithm():
    truth = np.float32(TRUTH)
    sig, slopes = jax.jit(lambda x: (losses.sig_loss(x, truth, VALID), losses.gradient_loss(x, truth, VALID)))(
        1.7 * truth[..., None]
    )
    assert float(sig) == pytest.approx(np.sqrt(0.15) * np.log(1.7), rel=2e-3)  # but for the 0.001 added to depths
    assert float(slopes) < 1e-2


def test_the_gradient_loss_compares_pixels_two_apart_on_four_maps():
    def exact(depth):
        g, total = log_ratio(depth), 0.0
        for stride in (1, 2, 4, 6):
            part, valid = g[:, ::stride, ::stride], VALID[:, ::stride, ::stride]
            images, rows, columns = part.shape
            for b, y, x in np.ndindex(images, rows, columns):
                for at in ((b, y + 2, x), (b, y, x + 2)):
                    if at[1] < rows and at[2] < columns and valid[b, y, x] and valid[at]:
                        total += abs(part[b, y, x] - part[at]) / valid.sum()
        return total

    ours = lambda x: losses.gradient_loss(x, jnp.float32(TRUTH), jnp.asarray(VALID))
    assert_same_value_and_gradient(ours, exact, DEPTH)


@pytest.mark.parametrize("power", [1, 2])
def test_regression_is_the_mean_over_channels_of_valid_pixels(power):
    truth, values = RNG.normal(size=(2, 4, 6, 3)), RNG.normal(size=(2, 2, 3, 3))
    valid = RNG.random((2, 4, 6)) < 0.7
    exact = lambda x: (np.abs(larger(x, (4, 6)) - truth)[valid] ** power).mean()
    ours = lambda x: losses.regression_loss(x, jnp.float32(truth), jnp.asarray(valid), power)
    assert_same_value_and_gradient(ours, exact, values)
