"""Gradient features of patches: against the whole network's gradient, the public code's description, and batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from hummingbird.config.features import Features
from hummingbird.errors import UserError
from hummingbird.gradients import patches
from hummingbird.gradients.incontext import build_gradient_encoder, build_support, find_negatives, in_context
from hummingbird.gradients.losses import info_nce
from hummingbird.gradients.presets import PRESETS
from hummingbird.gradients.projection import tensor
from hummingbird.gradients.support import choose, interleaved
from tests.gradients.small import IMAGES, encoder
from tests.weights.upstream import relative_error

RNG = np.random.default_rng(0)


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


@pytest.fixture(scope="module")
def paper():
    """An encoder with the support of two images."""
    return in_context(encoder(), preset="paper", projection="tensor", dim=8).fit(IMAGES[:2])


@pytest.mark.long
def test_terms_of_the_tokens_are_the_gradient_of_the_image_loss():
    """Of the whole network, by jax.grad: KL and SimCLR, patches and [CLS]."""
    vit = encoder()
    wrapped = in_context(vit, gradients=("simclr",), preset="paper")
    head = wrapped.heads["simclr"]
    negatives = RNG.normal(size=(4, 32)).astype(np.float32)
    choices = patches.Choices(Features(gradients=("simclr",)), 0, 0.07)
    tree = {"encoder": vit.params, "heads": {"simclr": head._asdict()}}

    @jax.jit
    def both(params):
        def loss(params):
            maps, cls = vit.outputs(params, IMAGES[:1])[0]
            tokens = jnp.concatenate([cls, maps.reshape(-1, 32)])
            return info_nce(tokens @ head.kernel + head.bias, negatives @ head.kernel + head.bias)

        rows = patches.run_tokens(vit.backbone, False, tree, IMAGES[:1])
        found = patches.take_gradients(
            vit.backbone, params, patches.LastBlock(*rows[:2]),
            lambda x: patches.simclr_loss(tree, choices.denominator, x[0], negatives, jnp.ones(4, bool)),
        )  # fmt: skip
        return vit.projection(jax.grad(loss)(params)), found

    (kernel, bias), found = both(vit.params)
    summed = np.einsum("bte,btd->ed", found.inputs, found.delta)
    assert relative_error(summed[:-1], np.asarray(kernel)) < 1e-5
    assert relative_error(summed[-1], np.asarray(bias)) < 1e-5


@pytest.mark.long
def test_an_image_has_the_same_features_alone_in_a_batch_and_padded(paper):
    batch = paper.encode_prompt(IMAGES, [0, 1, None, None, None])
    assert batch.shape == (5, 2, 3, 8 + 32)
    np.testing.assert_allclose(np.linalg.norm(batch[..., :8], axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(paper.encode_prompt(IMAGES[:1], [0]), batch[:1], atol=1e-6)
    padded = np.concatenate([IMAGES[3:], np.zeros_like(IMAGES[:3])])
    np.testing.assert_allclose(paper(padded)[:2], batch[3:], atol=1e-6)
    assert np.abs(paper(IMAGES[:1]) - batch[:1]).max() > 1e-3  # its own patches are among its negatives


@pytest.mark.long
def test_a_constant_image_has_features_without_nan_and_zero_gradients_stay_zero(paper):
    found = paper(np.full((1, 16, 24, 3), 7, np.uint8))
    assert np.isfinite(found).all()
    delta, inputs = jnp.zeros((1, 2, 3)), jnp.ones((1, 2, 4))
    part = patches.project(delta, inputs, Features(projection="tensor"), 5, jax.random.key(0))
    assert not np.asarray(part).any()


@pytest.mark.long
def test_public_code_is_a_literal_transcription_of_its_description():
    """3 tokens, 5 neighbours: scrambled rows, 2 of 5, coins, no temperature in the log-sum-exp; in loops, float64."""
    width, preset = 4, PRESETS["public-code"]
    memory = RNG.normal(size=(9, width)).astype(np.float32)
    tokens = RNG.normal(size=(1, 3, width)).astype(np.float32)
    rows, kept = find_negatives(build_support(memory, np.arange(9)), preset, tokens, [None], [11], 0, interleave=True)

    unit = memory / np.linalg.norm(memory, axis=1, keepdims=True)
    want = []
    for token in tokens[0]:
        nearest = sorted(range(9), key=lambda row: -float(unit[row] @ token))[:5]
        numbers = [float(x) for row in nearest for x in unit[row]]  # the five rows, one after the other
        mixed = [[numbers[5 * channel + n] for channel in range(width)] for n in range(5)]
        want += mixed[:2]
    np.testing.assert_allclose(rows[0], want, rtol=1e-6)
    assert len(kept[0]) == 6

    weight, bias = RNG.normal(size=(width, 2)), RNG.normal(size=2)
    latents = [x @ weight + bias for x in tokens[0].astype(float)]
    negatives = [np.asarray(x) @ weight + bias for x, coin in zip(want, kept[0], strict=True) if coin]
    cosine = lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    loss = 0.0
    for i in range(3):
        others = [cosine(latents[i], latents[j]) for j in range(3) if j != i]
        attract = sum(s / 0.07 for s in others) / len(others)
        loss += (-attract + np.log(sum(np.exp(s) for s in [*others, *(cosine(latents[i], n) for n in negatives)]))) / 3
    got = info_nce(
        jnp.asarray(np.stack(latents)), jnp.asarray(rows[0] @ weight + bias), denominator=preset.denominator,
        kept=jnp.asarray(kept[0]),
    )  # fmt: skip
    assert float(got) == pytest.approx(loss, rel=1e-5)


def test_negatives_are_exactly_half_true_rows_and_never_an_images_own():
    memory = RNG.normal(size=(12, 4)).astype(np.float32)
    support = build_support(memory, np.repeat([0, 1, 2], 4))
    tokens = memory[None, :4]
    rows, kept = find_negatives(support, PRESETS["paper"], tokens, [0], [5], 0)
    assert rows.shape == (1, 4, 4)
    assert kept.all()
    distance = np.abs(rows[0][:, None] - memory[None]).max(-1)
    assert (distance.argmin(1) >= 4).all()  # of images 1 and 2
    np.testing.assert_allclose(distance.min(1), 0, atol=1e-5)  # with their lengths
    again, _ = find_negatives(support, PRESETS["paper"], tokens, [None], [5], 0)
    assert (np.abs(again[0][:, None] - memory[None]).max(-1).argmin(1) < 4).any()


def test_choices_differ_between_images_and_not_between_calls():
    first, second = choose(PRESETS["paper"], 50, 0, 1), choose(PRESETS["paper"], 50, 0, 1)
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[0], choose(PRESETS["paper"], 50, 0, 2)[0])
    assert 20 < choose(PRESETS["public-code"], 50, 0, 1)[1].sum() < 80


def test_interleaving_mixes_every_neighbour_into_each():
    rows = np.arange(15, dtype=np.float32).reshape(1, 5, 3)
    assert {int(x) // 3 for x in interleaved(rows)[0, 0]} == {0, 1, 3}  # of five rows, those three channels come from


@pytest.mark.long
def test_tensor_features_are_projections_of_unit_factors():
    vit = encoder()
    exact = in_context(vit, projection="none")(IMAGES[:1]).reshape(6, -1)
    tokens, inputs, delta = exact[:, :32], exact[:, 32:65], exact[:, 65:]
    wrapped = in_context(vit, projection="tensor", dim=8)
    found = wrapped(IMAGES[:1]).reshape(6, -1)
    key = patches.named_key(0, "gradients projection")
    want = np.asarray(tensor(delta, inputs, 8, key, 8))
    np.testing.assert_allclose(found[:, :8], want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(found[:, 8:], tokens, atol=1e-6)
    assert wrapped.dim == 40
    assert in_context(vit, projection="none").dim == exact.shape[1]


def test_fingerprints_tell_settings_supports_and_encoders_apart(paper):
    others = [
        dataclasses.replace(paper, seed=1),
        dataclasses.replace(paper, support=None),
        dataclasses.replace(paper, encoder=encoder("plain")),
        paper.fit(IMAGES[:1]),
        in_context(encoder(), preset="attraction", projection="tensor", dim=8),
    ]
    assert len({paper.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_bad_input_is_refused_in_one_line(paper):
    with pytest.raises(UserError, match=r"raw RGB .* has no last attention"):
        in_context(hb.load_encoder("rgb:8"))
    with pytest.raises(UserError, match=r"function has no last attention to take gradients at; use a ViT"):
        in_context(lambda images: images)
    with pytest.raises(UserError, match=r"dino compares views of whole images .* use kl or simclr"):
        build_gradient_encoder(encoder(), Features(gradients=("dino",)), 0)
    with pytest.raises(UserError, match=r"looks up neighbours in a prompt: call encoder.fit"):
        dataclasses.replace(paper, support=None)(IMAGES)
    with pytest.raises(UserError, match=r"contrasts the tokens of an image, and these have one"):
        in_context(encoder("plain"))(IMAGES[:, :8, :8])
    with pytest.raises(UserError, match=r"features.interleave is for features.preset=public-code"):
        Features(interleave=True)
