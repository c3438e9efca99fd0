"""Refinement by the guided filter, against its definition in float64."""

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.incontext import refine
from hummingbird.incontext.refine import Guide, refined_values, refined_winners
from tests.incontext.test_prompt import Fourier, filled, scene


def by_definition(image, plane, radius, epsilon):
    """He et al., Eqs. 19-21: in each window a linear function of the colour, fitted to the plane; then their mean."""
    guide = np.pad(image.astype(np.float64) / 255, ((2 * radius,) * 2, (2 * radius,) * 2, (0, 0)), mode="symmetric")
    plane = np.pad(plane.astype(np.float64), 2 * radius, mode="symmetric")
    height, width = plane.shape
    lines = np.zeros((height, width, 4))
    for y in range(radius, height - radius):
        for x in range(radius, width - radius):
            part = np.s_[y - radius : y + radius + 1, x - radius : x + radius + 1]
            colours, values = guide[part].reshape(-1, 3), plane[part].ravel()
            covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
            slope = np.linalg.solve(covariance, (colours * values[:, None]).mean(0) - colours.mean(0) * values.mean())
            lines[y, x] = (*slope, values.mean() - slope @ colours.mean(0))
    found = np.zeros((height - 4 * radius, width - 4 * radius))
    for y, x in np.ndindex(found.shape):
        mean = lines[y + radius : y + 3 * radius + 1, x + radius : x + 3 * radius + 1].reshape(-1, 4).mean(0)
        found[y, x] = mean[:3] @ guide[y + 2 * radius, x + 2 * radius] + mean[3]
    return found


def test_the_filter_is_the_guided_filter():
    rng = np.random.default_rng(0)
    image, plane = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8), rng.random((9, 11)).astype(np.float32)
    # The reference mirrors image and plane; the border of the package's second average mirrors the fits instead.
    expected = by_definition(image, plane, 1, 1e-2)
    np.testing.assert_allclose(Guide(image, 1, 1e-2).filter(plane)[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-4)


def test_votes_follow_an_edge_between_patches():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 13:] = 200
    votes = np.zeros((4, 4, 2), np.float32)  # patches of 8: the second column is of both classes
    votes[:, :, 1] = np.array([0.0, 0.4, 1.0, 1.0])
    votes[..., 0] = 1 - votes[..., 1]
    labels = refined_winners(votes, (32, 32), image).classes
    assert (labels == (np.arange(32) >= 13)).mean() > 0.99


def test_strips_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    image, votes = rng.integers(0, 256, (60, 20, 3)).astype(np.uint8), rng.random((12, 4, 3)).astype(np.float32)
    whole, values = refined_winners(votes, (60, 20), image), refined_values(votes, (60, 20), image)
    monkeypatch.setattr(refine, "STRIP_PIXELS", 140)
    parts = refined_winners(votes, (60, 20), image)
    np.testing.assert_allclose(parts.votes, whole.votes, atol=1e-4)
    np.testing.assert_allclose(refined_values(votes, (60, 20), image), values, atol=1e-4)


@pytest.mark.parametrize("resize", ["squash", "none"])
def test_a_prompt_refines_if_it_is_set(resize):
    prompt, query = filled(2, resize=resize), scene(9)[0]
    plain, fine = prompt.predict(query), prompt.predict(query, refine="guided")
    assert plain.labels.shape == fine.labels.shape
    assert (plain.labels != fine.labels).any()
    np.testing.assert_array_equal(plain.confidence.similarity, fine.confidence.similarity)
    depth = hb.Prompt(Fourier(), task="depth", input_size=64, resize=resize, refine="guided")
    depth.add(scene(0)[0], scene(0)[0][..., 0] / 50.0 + 1)
    assert depth.predict(query).labels.shape == query.shape[:2]
