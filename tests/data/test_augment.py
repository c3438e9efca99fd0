"""Table 8 on the device: each operation against an independent implementation, all of them by their statistics."""

import colorsys
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from hummingbird import config
from hummingbird.data import augment

S = 16
# Compiled as a whole: that is quicker than compiling each operation in them.
LEVELS, SATURATE, TURN, DRAW = (
    jax.jit(f) for f in (augment.adjust_levels, augment.adjust_saturation, augment.adjust_hue, augment.draw)
)


@pytest.fixture(scope="module")
def settings():
    return augment.build_photometric(config.resolve("pretrain", overrides={"input_size": S}))


@pytest.fixture(scope="module")
def apply(settings):
    compiled = jax.jit(augment.photometric, static_argnums=2)
    return lambda key, views, chosen=settings: compiled(key, views, chosen)


def random_planes(seed=0, batch=2, size=S):
    x = np.random.default_rng(seed).random((batch, 2, size, size, 3)).astype(np.float32)
    return x, tuple(x[..., c] for c in range(3))


def stacked(planes):
    return np.stack([np.asarray(plane) for plane in planes], -1)


def each(values):
    """[B, 2] -> [B, 2, 1, 1]"""
    return np.asarray(values, np.float32)[..., None, None]


def through_hsv(x, change):
    """Applies `change` to each pixel in the standard library's HSV."""
    out = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*map(float, pixel)))) for pixel in x.reshape(-1, 3)]
    return np.array(out).reshape(x.shape)


def test_defaults_are_those_of_table_8():
    table = augment.build_photometric(config.resolve("pretrain"))
    assert (table.flip_probability, table.jitter_probability, table.grey_probability) == (0.5, 0.8, 0.2)
    assert (table.brightness, table.contrast, table.saturation, table.hue) == (0.4, 0.4, 0.2, 0.1)
    assert (table.blur_probability, table.solarise_probability) == ((1.0, 0.1), (0.0, 0.2))
    assert (table.blur_kernel, table.blur_sigma, table.solarise_threshold) == (23, (0.1, 2.0), 0.5)


def test_blur_scales_with_the_view_unless_disabled():
    half = config.resolve("pretrain", overrides={"input_size": 112})
    assert augment.build_photometric(half).blur_kernel == 11
    assert augment.build_photometric(half).blur_sigma == (0.05, 1.0)
    fixed = config.resolve("pretrain", overrides={"input_size": 112, "augment.blur_relative": False})
    assert augment.build_photometric(fixed).blur_kernel == 23


def test_levels_shift_and_stretch_about_the_mean_of_each_channel():
    x, planes = random_planes()
    shift, factor = [[0.2, -0.3], [0.0, 0.1]], [[1.3, 0.6], [1.0, 0.9]]
    out = stacked(LEVELS(planes, each(shift), each(factor)))
    for b in range(2):
        for v in range(2):
            image = x[b, v].astype(np.float64)
            mean = image.mean((0, 1))
            np.testing.assert_allclose(
                out[b, v], np.clip((image - mean) * factor[b][v] + mean + shift[b][v], 0, 1), atol=1e-6
            )


@pytest.mark.parametrize("factor", [0.0, 0.8, 1.2, 5.0])
def test_saturation_matches_hsv(factor):
    x, planes = random_planes()
    x[0, 0, 0, :3] = [[0, 0, 0], [0.5, 0.5, 0.5], [1, 0, 0]]
    planes = tuple(x[..., c] for c in range(3))
    out = stacked(SATURATE(planes, each(np.full((2, 2), factor))))
    np.testing.assert_allclose(out, through_hsv(x, lambda h, s, v: (h, min(s * factor, 1), v)), atol=2e-6)


@pytest.mark.parametrize("turn", [-0.1, 0.0, 0.07, 0.5])
def test_hue_matches_hsv(turn):
    x, planes = random_planes()
    x[0, 0, 0, :3] = [[0, 0, 0], [0.5, 0.5, 0.5], [1, 0, 0]]
    planes = tuple(x[..., c] for c in range(3))
    out = stacked(TURN(planes, each(np.full((2, 2), turn))))
    np.testing.assert_allclose(out, through_hsv(x, lambda h, s, v: ((h + turn) % 1, s, v)), atol=5e-6)


@pytest.mark.parametrize(("edges", "mode"), [("zero", "constant"), ("reflect", "mirror")])
def test_blur_matches_scipy(edges, mode):
    x, planes = random_planes(size=32)
    sigma = np.array([[0.3, 1.0], [2.0, 1.7]])
    on = np.array([[True, True], [True, False]])
    blur = jax.jit(functools.partial(augment.blur, kernel=9, edges=edges))
    out = stacked(blur(planes, jnp.asarray(sigma, jnp.float32), jnp.asarray(on)))
    for b in range(2):
        for v in range(2):
            expected = x[b, v].astype(np.float64)
            if on[b, v]:
                for axis in (0, 1):
                    expected = scipy.ndimage.gaussian_filter1d(expected, sigma[b, v], axis, mode=mode, radius=4)
            np.testing.assert_allclose(out[b, v], expected, atol=1e-5)


def test_grey_flip_and_solarise_by_hand():
    x, planes = random_planes()
    on = np.array([[True, False], [False, True]])
    three = jax.jit(lambda x, on: (augment.grey(x, on), augment.flip(x, on), augment.solarise(x, on, 0.5)))
    grey, flipped, solarised = (stacked(found) for found in three(planes, on))
    for b in range(2):
        for v in range(2):
            image = x[b, v]
            if not on[b, v]:
                assert (grey[b, v] == image).all()
                assert (flipped[b, v] == image).all()
                assert (solarised[b, v] == image).all()
                continue
            luma = image @ np.array([0.2989, 0.587, 0.114])
            np.testing.assert_allclose(grey[b, v], np.repeat(luma[..., None], 3, -1), atol=1e-6)
            np.testing.assert_array_equal(flipped[b, v], image[:, ::-1])
            np.testing.assert_allclose(solarised[b, v], np.where(image < 0.5, image, 1 - image))


def test_jitter_does_each_operation_once_in_the_order_drawn(settings):
    """Augments one view with the single operations, in the order drawn."""
    _, planes = random_planes(batch=1)
    uniform = np.random.default_rng(1).random((1, 2, 14)).astype(np.float32)
    uniform[..., augment.JITTER] = 0.0
    out = stacked(jax.jit(augment.jitter, static_argnums=2)(planes, jnp.asarray(uniform), settings))
    for v in range(2):
        view = tuple(plane[:, v : v + 1] for plane in planes)
        for operation in np.argsort(uniform[0, v, augment.ORDER :]):
            amount = 2 * uniform[0, v, augment.BRIGHTNESS + operation] - 1
            zero, one = each([[0.0]]), each([[1.0]])
            if operation == 0:
                view = LEVELS(view, each([[amount * 0.4]]), one)
            elif operation == 1:
                view = LEVELS(view, zero, each([[1 + amount * 0.4]]))
            elif operation == 2:
                view = SATURATE(view, each([[1 + amount * 0.2]]))
            else:
                view = TURN(view, each([[amount * 0.1]]))
        np.testing.assert_allclose(out[:, v : v + 1], stacked(view), atol=1e-5)


def test_draws_are_uniform_and_orders_all_occur():
    uniform = np.asarray(DRAW(jax.random.key(3), np.arange(2000))).reshape(-1, 14)
    assert abs(uniform.mean(0) - 0.5).max() < 0.02
    assert abs(np.corrcoef(uniform.T) - np.eye(14)).max() < 0.07
    orders, counts = np.unique(np.argsort(uniform[:, augment.ORDER :], -1), axis=0, return_counts=True)
    assert len(orders) == 24
    assert counts.min() > 4000 / 24 * 0.7


def test_probabilities_apply_per_view(apply, settings):
    """All operations but the jitter, on an image where each leaves a distinct trace; within 4 standard deviations."""
    batch = 256
    image = np.empty((S, S, 3), np.float32)
    image[:, : S // 2], image[:, S // 2 :] = (0.2, 0.1, 0.05), (0.4, 0.2, 0.1)
    image[6:12] = (0.9, 0.9, 0.6)
    views = np.broadcast_to((image * 255).astype(np.uint8), (batch, 2, S, S, 3))
    chosen = dataclasses.replace(settings, jitter_probability=0.0, blur_kernel=3, blur_sigma=(1.0, 1.0))
    out = np.asarray(apply(jax.random.key(5), views, chosen))
    happened = {
        (0.5, 0.5): out[:, :, 2:4, 2].mean((2, 3)) > out[:, :, 2:4, -3].mean((2, 3)),  # flip: left is brighter
        (0.2, 0.2): np.ptp(out, axis=-1).max((2, 3)) < 1e-6,  # grey
        (1.0, 0.1): np.abs(out[:, :, 0, 0] - out[:, :, 2, 2]).max(-1) > 1e-3,  # blur: corners get darker
        (0.0, 0.2): out[:, :, 8, 2, 0] < 0.5,  # solarise: bright becomes dark
    }
    for expected, seen in happened.items():
        for view, probability in enumerate(expected):
            slack = 4 * np.sqrt(probability * (1 - probability) / batch)
            assert abs(seen[:, view].mean() - probability) <= slack, (expected, view)


def test_result_is_in_range_differs_between_views_and_repeats(apply):
    views = np.random.default_rng(0).integers(0, 256, (8, 2, S, S, 3), dtype=np.uint8)
    views[:, 1] = views[:, 0]
    out = np.asarray(apply(jax.random.key(0), views))
    assert out.dtype == np.float32
    assert out.shape == views.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.abs(out[:, 0] - out[:, 1]).mean() > 0.01
    np.testing.assert_array_equal(out, apply(jax.random.key(0), views))
    assert np.abs(out - np.asarray(apply(jax.random.key(1), views))).mean() > 0.01


def test_augmentation_depends_on_position_not_on_batch_or_sharding(apply):
    views = np.random.default_rng(0).integers(0, 256, (8, 2, S, S, 3), dtype=np.uint8)
    whole = np.asarray(apply(jax.random.key(0), views))
    np.testing.assert_array_equal(DRAW(jax.random.key(0), np.arange(4)), DRAW(jax.random.key(0), np.arange(8))[:4])
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    spread = jax.device_put(views, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    np.testing.assert_allclose(apply(jax.random.key(0), spread), whole, atol=1e-6)


def test_local_crops_have_settings_of_their_own():
    local = {"count": 3, "blur_probability": 0.5, "jitter_probability": 0.1}
    groups = augment.build_augment(config.resolve("pretrain", overrides={"augment": {"local": local, "views": 1}}))
    assert groups["global"].blur_probability == (1.0,)
    assert groups["local"].blur_probability == (0.5, 0.5, 0.5)
    assert groups["local"].solarise_probability == (0.0, 0.0, 0.0)
    assert (groups["local"].jitter_probability, groups["local"].hue) == (0.1, 0.1)


def test_views_without_jitter_and_blur_are_only_flipped(apply):
    off = {f"{name}_probability": 0.0 for name in ("flip", "jitter", "grey")}
    off |= {f"{name}_probability": (0.0, 0.0) for name in ("blur", "solarise")}
    plain = augment.build_photometric(config.resolve("pretrain", overrides={"augment": off}))
    views = np.random.default_rng(0).integers(0, 256, (2, 2, S, S, 3), dtype=np.uint8)
    plain_views = views.astype(np.float32) / 255
    np.testing.assert_allclose(apply(jax.random.key(0), views, plain), plain_views, rtol=2e-7)
