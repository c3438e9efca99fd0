import numpy as np
import pytest

from hummingbird.retrieval.index import quantise


@pytest.fixture(scope="module")
def keys():
    """3,000 unit keys of 30 dimensions around 40 centres: blocks of four leave two over."""
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(40, 30))[rng.integers(0, 40, 3000)] + 0.5 * rng.normal(size=(3000, 30))
    return (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)


def decode(codes, codebooks, dim):
    """Codes [n, blocks] back to vectors [n, dim]."""
    return codebooks[np.arange(codes.shape[1]), codes].reshape(len(codes), -1)[:, :dim]


def cost(error, keys, weight):
    """The loss of anisotropic quantisation, float64: error across the key plus `weight` times the error along it."""
    along = np.einsum("nd,nd->n", error, keys, dtype=np.float64)
    return (error.astype(np.float64) ** 2).sum(1) + (weight - 1) * along**2


def test_leaves_are_unit_centres_and_none_is_empty(keys):
    leaves = quantise.train_leaves(keys, 64)
    np.testing.assert_allclose(np.linalg.norm(leaves, axis=1), 1, atol=1e-6)
    nearest = quantise.nearest_leaf(keys, leaves)
    np.testing.assert_array_equal(nearest, np.argmax(keys.astype(np.float64) @ leaves.T.astype(np.float64), axis=1))
    assert (np.bincount(nearest, minlength=64) > 0).all()
    first = (keys @ keys[:64].T).max(axis=1).mean()  # served by the rows that training begins from
    assert (keys @ leaves.T).max(axis=1).mean() > first + 0.02


def test_a_leaf_without_keys_moves_to_one():
    twice = np.repeat(np.eye(6, dtype=np.float32), 2, axis=0)  # the first rows are alike
    leaves = quantise.train_leaves(twice, 6)
    np.testing.assert_array_equal(np.sort(quantise.nearest_leaf(np.eye(6, dtype=np.float32), leaves)), np.arange(6))


@pytest.mark.long
def test_codes_are_at_a_minimum_over_every_single_block(keys):
    quantiser = quantise.train(keys, 16, 4, 0.3)
    leaf, codes = np.zeros(len(keys), np.int32), np.zeros((len(keys), 8), np.uint8)
    quantise.encode(keys, quantiser, leaf, codes)
    weight = quantise.anisotropy(0.3, 30)
    residual = keys - quantiser.leaves[leaf]
    error = residual - decode(codes, quantiser.codebooks, 30)
    final = cost(error, keys, weight)
    better = np.zeros(len(keys), bool)
    for block in range(8):
        for code in range(16):
            other = codes.copy()
            other[:, block] = code
            better |= cost(residual - decode(other, quantiser.codebooks, 30), keys, weight) < final - 1e-5
    assert better.mean() < 0.2  # two rounds of coordinate descent leave few keys to be improved
    # It takes a larger error as a whole for a smaller one along the key.
    plain = quantise.Quantiser(quantiser.leaves, quantiser.codebooks, 0.0)
    quantise.encode(keys, plain, leaf, codes)
    nearest = residual - decode(codes, quantiser.codebooks, 30)
    assert (error**2).sum() > (nearest**2).sum()
    assert cost(error, keys, weight).mean() < 0.95 * cost(nearest, keys, weight).mean()
    distances = ((residual[:, :4, None] - quantiser.codebooks[0].T) ** 2).sum(1)
    np.testing.assert_array_equal(codes[:, 0], distances.argmin(1))


@pytest.mark.long
def test_the_chunk_size_does_not_change_the_codes(keys, monkeypatch):
    quantiser = quantise.train(keys[:1000], 8, 4, 0.2)
    found = []
    for chunk in (3000, 700):
        monkeypatch.setattr(quantise, "CHUNK", chunk)
        leaf, codes = np.zeros(len(keys), np.int32), np.zeros((len(keys), 8), np.uint8)
        quantise.encode(keys, quantiser, leaf, codes)
        found.append((leaf, codes))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_weight_of_the_error_along_a_key_follows_the_threshold():
    assert quantise.anisotropy(0.2, 385) == pytest.approx(384 * 0.04 / 0.96)
    assert quantise.anisotropy(0.0, 385) == 1
