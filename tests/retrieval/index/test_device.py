import re
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.index import build, device_kernel, device_search
from hummingbird.retrieval.index import device as device_index
from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.device import DeviceIndex
from hummingbird.retrieval.index.device_kernel import Tile
from hummingbird.retrieval.index.device_search import BLOCK, search_sharded


@pytest.fixture(scope="module")
def world():
    """5,000 unit keys and 40 unit queries, 32 dimensions."""
    rng = np.random.default_rng(0)
    keys, queries = rng.normal(size=(5000, 32)), rng.normal(size=(40, 32))
    return tuple((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (keys, queries))


def fail(*_):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 640000 bytes.")


def check(keys, queries, k, ids, similarity, atol=1e-6):
    scores = queries.astype(np.float64) @ keys.astype(np.float64).T
    best = -np.sort(-scores, axis=1)[:, :k]
    np.testing.assert_allclose(similarity, best, atol=atol)
    np.testing.assert_allclose(np.take_along_axis(scores, ids.astype(int), 1), best, atol=atol)
    assert all(len(set(row)) == k for row in ids.tolist())


@pytest.mark.parametrize("devices", [1, 3, 8])
@pytest.mark.parametrize("chunk", [128, 4096])
def test_devices_and_chunks_do_not_change_the_neighbours(world, devices, chunk):
    keys, queries = world
    index = DeviceIndex(keys, devices, chunk)
    assert index.exact
    check(keys, queries, 30, *index.search(queries, 30))


@pytest.mark.parametrize("k", [1, 5], ids=["the maxima are searched by their maxima", "all are compared"])
@pytest.mark.parametrize("order", ["falling", "rising", "mixed"])
def test_block_maxima_lose_no_neighbour_in_whatever_order_the_keys_come(k, order):
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(200 * BLOCK + 7, 8)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    query = keys[:1]
    if order != "mixed":
        keys = keys[np.argsort(keys @ query[0] * (1 if order == "rising" else -1))]
    check(keys, query, k, *DeviceIndex(keys, 1, 32 * BLOCK).search(query, k))


def test_the_kernel_for_gpus_finds_the_maxima_that_xla_finds():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
    keys, queries, count = draw(3, 16 * BLOCK, 48), draw(40, 48), 37 * BLOCK + 5  # the last chunk is partly there
    kernel = device_kernel.block_maxima(queries, keys, count, Tile(queries=16), interpret=True)
    maxima = device_search.block_maxima(queries, keys, count)
    np.testing.assert_allclose(kernel, maxima, rtol=1e-6)
    assert np.isneginf(maxima[:, 38:]).all()
    assert np.isfinite(maxima[:, :38]).all()


def test_equal_keys_are_found_in_the_order_of_their_numbers(world):
    keys, queries = world
    twice = np.concatenate([keys[:2500], keys[:2500]])
    for devices in (1, 8):
        ids, _ = DeviceIndex(twice, devices, 128).search(queries, 30)
        np.testing.assert_array_equal(ids[:, 1::2], ids[:, ::2] + 2500)


def test_a_recall_below_1_is_approximate_and_says_so(world):
    keys, queries = world
    index = DeviceIndex(keys, 8, 4096, recall=0.9)
    assert not index.exact
    ids, similarity = index.search(queries, 30)
    truth, _ = index.exactly().search(queries, 30)
    assert index.exactly().exact
    found = np.mean([len(np.intersect1d(a, b)) / 30 for a, b in zip(ids, truth, strict=True)])
    assert found > 0.85
    scores = np.einsum("qd,qkd->qk", queries, keys[ids])
    np.testing.assert_allclose(similarity, scores, atol=1e-6)


@pytest.mark.long
def test_features_on_the_devices_are_searched_where_they_are(world):
    keys, _ = world
    index = DeviceIndex(keys.astype(ml_dtypes.bfloat16))
    maps = np.random.default_rng(1).normal(size=(8, 2, 3, 32)).astype(np.float32)
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("images",))
    placed = jax.device_put(maps, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("images")))
    expected = index.search(maps.reshape(-1, 32), 10)
    with jax.transfer_guard_device_to_host("disallow"):
        found = index.start(placed, 10)
    elsewhere = index.start(jax.device_put(maps, jax.devices()[0]), 10)  # on one device: through the host
    for ours in (found(), elsewhere()):
        np.testing.assert_array_equal(ours[0], expected[0])
        np.testing.assert_array_equal(ours[1], expected[1])


def test_banks_of_similar_lengths_share_a_program(world):
    keys, queries = world
    before = None
    for length in (5000, 4990, 4900):
        found = DeviceIndex(keys[:length], 1).search(queries, 30)
        check(keys[:length], queries, 30, *found)
        compiled = search_sharded._cache_size()
        assert before in (None, compiled)
        before = compiled


def test_bfloat16_keys_are_searched_in_bfloat16(world):
    keys, queries = (x.astype(ml_dtypes.bfloat16) for x in world)
    index = DeviceIndex(keys)
    assert not index.exact  # float32 queries are rounded, so that recall is measured
    ids, similarity = index.search(world[1], 10)
    check(keys.astype(np.float32), queries.astype(np.float32), 10, ids, similarity)


def test_single_queries_and_k_above_the_bank(world):
    keys, queries = world
    ids, similarity = build_index(keys[:5], "device").search(queries[:1], 8)
    assert sorted(ids[0, :5].tolist()) == [0, 1, 2, 3, 4]
    assert ids[0, 5:].tolist() == [-1, -1, -1]
    assert np.isneginf(similarity[0, 5:]).all()


@pytest.mark.long
def test_any_number_of_queries_gives_the_same_rows(world):
    keys, queries = world
    index = DeviceIndex(keys)
    whole = index.search(np.concatenate([queries] * 30), 7)
    single = index.search(queries[3:4], 7)
    np.testing.assert_array_equal(whole[0][3 :: len(queries)], np.repeat(single[0], 30, axis=0))


def test_too_little_device_memory_is_one_clear_line(world, monkeypatch):
    monkeypatch.setattr(device_index, "put_chunk", fail)
    with pytest.raises(UserError, match=r"retrieval.index=device: 0.0 GB of keys do not fit .*retrieval.index=exact"):
        DeviceIndex(world[0])


@pytest.mark.parametrize("where", ["put_chunk", "search_sharded"])
def test_auto_leaves_devices_that_run_out_of_memory(world, monkeypatch, where):
    keys, queries = world
    monkeypatch.setattr(build.jax, "default_backend", lambda: "gpu")
    before = build_index(keys, "auto")
    assert before.kind == "device"
    check(keys, queries, 5, *before.search(queries, 5))
    monkeypatch.setattr(device_index, where, fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index = build_index(keys, "auto")
        found = index.search(queries, 5)
    assert re.search(r"do not fit .*RESOURCE_EXHAUSTED.*searching on the host instead", str(caught[0].message))
    assert index.kind == "exact"
    check(keys, queries, 5, *found)


def test_another_failure_of_a_device_is_not_taken_for_a_lack_of_memory(world, monkeypatch):
    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(build.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(device_index, "put_chunk", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        build_index(world[0], "auto")


def test_the_memory_estimate_of_a_device_holds_its_keys(world):
    keys = world[0]
    index = DeviceIndex(keys)
    own = index.keys.addressable_shards[0].data.nbytes
    working = 2 * 4 * device_search.QUERIES * (index.chunk + index.chunks * index.chunk // BLOCK)
    assert device_index.device_bytes(*keys.shape, 4) == own + working + 2 * device_search.GATHERED
