"""Loading encoders: what a path or a name stands for."""

import functools

import jax
import numpy as np
import pytest

import hummingbird as hb
from hummingbird.encoder import arithmetic
from hummingbird.errors import UserError
from hummingbird.models.architecture import build_architecture
from hummingbird.weights import shipped
from hummingbird.weights.own import frozen_vit, random_params
from tests import reference, tiny

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    return workdir, tiny.pretrain(workdir)


@pytest.mark.long
def test_a_workdir_gives_the_encoder_of_its_newest_step(trained):
    workdir, state = trained
    encoder = hb.load_encoder(str(workdir))
    features = encoder(IMAGES)
    assert features.shape == (3, 4, 6, 32)
    assert features.dtype == np.float32
    assert (encoder.patch_size, encoder.dim) == (8, 32)
    model = tiny.program(1).model
    encode = jax.jit(functools.partial(model.apply, method="encode"))
    want = encode({"params": state.online}, IMAGES / np.float32(255)).patches
    np.testing.assert_allclose(features.reshape(3, 24, 32), want, atol=1e-5)


@pytest.mark.long
def test_online_target_and_older_steps_are_distinct(trained):
    workdir, _ = trained
    encoders = [
        hb.load_encoder(str(workdir)),
        hb.load_encoder(str(workdir), network="target"),
        hb.load_encoder(str(workdir / "checkpoints" / "00000000")),
    ]
    assert len({e.fingerprint for e in encoders}) == 3
    assert len({e.name for e in encoders}) == 3
    assert hb.load_encoder(str(workdir)).fingerprint == encoders[0].fingerprint


@pytest.mark.long
def test_fingerprints_depend_on_what_is_computed_with_the_same_arrays(trained):
    workdir, _ = trained
    for path in (str(workdir), f"random:{workdir}"):
        assert hb.load_encoder(path).fingerprint != hb.load_encoder(path, dtype="bfloat16").fingerprint
    sizes = {"name": "vit_ti8", "width": 32, "depth": 1}
    archs = [build_architecture(sizes | {"heads": heads}, 16) for heads in (2, 4)]
    few, many = (frozen_vit(arch, random_params(archs[0]), "random") for arch in archs)
    assert not np.allclose(few(IMAGES), many(IMAGES))
    assert few.fingerprint != many.fingerprint


@pytest.mark.long
def test_every_dtype_loads_and_says_how_it_computes(trained):
    workdir, _ = trained
    full, fast, half = (hb.load_encoder(str(workdir), dtype=dtype) for dtype in ("float32", "tf32", "bfloat16"))
    assert arithmetic(fast) == {"dtype": "tf32", "backend": "cpu", "device_kind": "cpu"}
    assert len({full.fingerprint, fast.fingerprint, half.fingerprint}) == 3
    np.testing.assert_array_equal(fast(IMAGES), full(IMAGES))  # a CPU has no such products
    with pytest.raises(UserError, match=r"encoder.dtype 'half' is not known: use one of float32, tf32, bfloat16"):
        hb.load_encoder(str(workdir), dtype="half")


@pytest.mark.long
def test_pooling_attention_sums_to_one(trained):
    attention = hb.load_encoder(str(trained[0])).attention(IMAGES)
    assert attention.shape == (3, 4, 6)
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, rtol=1e-5)
    assert hb.load_encoder("rgb:8").attention(IMAGES) is None


@pytest.mark.long
def test_images_are_pooled_as_in_training(trained):
    encoder = hb.load_encoder(str(trained[0]))
    pooled = encoder.pooled(IMAGES)
    assert pooled.shape == (3, encoder.dim)
    assert not np.allclose(pooled, encoder(IMAGES).mean(axis=(1, 2)))
    np.testing.assert_allclose(encoder.pooled(IMAGES[:1]), pooled[:1], rtol=1e-4, atol=1e-5)
    assert hb.load_encoder("rgb:8").pooled(IMAGES) is None


@pytest.mark.long
def test_random_weights_are_the_same_each_time_and_take_a_run_s_architecture(trained):
    first, again = (hb.load_encoder(f"random:{trained[0]}") for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert first(IMAGES).shape == (3, 4, 6, 32)
    assert not np.allclose(first(IMAGES), hb.load_encoder(str(trained[0]))(IMAGES))


def test_raw_patches_are_the_pixels():
    features = hb.load_encoder("rgb:16")(IMAGES)
    np.testing.assert_allclose(features[1, 1, 2], IMAGES[1, 16:32, 32:48].ravel() / 127.5 - 1, atol=1e-6)


def test_features_do_not_depend_on_the_batch(trained):
    encoder = hb.load_encoder(str(trained[0]))
    np.testing.assert_allclose(encoder(IMAGES)[1:2], encoder(IMAGES[1:2]), atol=1e-5)
    np.testing.assert_allclose(reference.unit(encoder(IMAGES)).std(), reference.unit(encoder(IMAGES[::-1])).std(), 1e-5)


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 3, 11])
def test_features_do_not_depend_on_the_devices_that_share_a_batch(count, trained, monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    shared = hb.load_encoder(f"random:{trained[0]}")
    features = shared(images)
    assert {n for _, n in shared._placed} == {min(count, jax.local_device_count())}
    first = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: first)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    np.testing.assert_allclose(features, hb.load_encoder(f"random:{trained[0]}")(images), atol=1e-5)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere", "does not exist"),
        ("random:vit_x16", "vit_x16"),
        ("random:vit_s0", "vit_s0"),
        ("rgb:big", "rgb:16"),
        ("shipped:none", "which has shipped:photographs"),
    ],
)
def test_what_is_not_an_encoder_is_refused_with_what_to_give(path, said):
    with pytest.raises(UserError, match=said):
        hb.load_encoder(path)


def test_the_shipped_encoder_is_small_and_tells_textures_apart():
    stripes = np.indices((32, 32)).sum(0) % 8 < 4
    flat = np.full((32, 32), 128)
    images = np.stack([np.repeat(255 * stripes[..., None], 3, -1), np.repeat(flat[..., None], 3, -1)]).astype(np.uint8)
    encoder = hb.load_encoder("shipped:photographs")
    features = encoder(images)
    assert (features.shape, encoder.patch_size) == ((2, 4, 4, 96), 8)
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    assert (unit[0] * unit[1]).sum(-1).max() < 0.5 < (unit[0, 1, 1] * unit[0, 2, 2]).sum()
    assert sum(file.stat().st_size for file in (shipped.FOLDER / "photographs").iterdir()) < 5e6
    queries = hb.load_encoder("shipped:photographs", features="query")(images)
    assert queries.shape == features.shape
    assert not np.allclose(queries, features)


def test_floating_point_images_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        hb.load_encoder("rgb:8")(IMAGES / 255.0)
