import sys

import ml_dtypes
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.index import build as index
from hummingbird.retrieval.index import scann_build
from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.exact import ExactIndex, merge_top_k, top_k
from hummingbird.retrieval.index.scann import find_scann


def unit(rng, n, d):
    x = rng.normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def clustered():
    """20,000 keys and 200 queries around 300 centres."""
    rng = np.random.default_rng(0)
    centres = unit(rng, 300, 32)
    draw = lambda n: centres[rng.integers(0, 300, n)] + 0.3 * unit(rng, n, 32)
    keys, queries = draw(20_000), draw(200)
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (keys, queries))


class NoScann:
    """An import finder for which ScaNN is not installed."""

    def find_spec(self, name, *_):
        if name == "scann":
            raise ModuleNotFoundError("No module named 'scann'", name="scann")


@pytest.fixture
def no_scann_yet(monkeypatch):
    """`find_scann` imports again; the real module is back after the test."""

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "scann"]:
            monkeypatch.delitem(sys.modules, name)
        find_scann.cache_clear()

    forget()
    yield
    forget()


def check_exact(keys, queries, k, ids, similarity):
    scores = queries.astype(np.float64) @ keys.T.astype(np.float64)
    best = -np.sort(-scores, axis=1)[:, :k]
    np.testing.assert_allclose(similarity, best, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, ids.astype(int), 1), best, atol=1e-6)
    assert all(len(set(row)) == k for row in ids.tolist())


@pytest.mark.parametrize("chunk", [257, 5000, 65_536])
def test_exact_index_finds_the_true_neighbours_for_any_chunk_size(clustered, chunk):
    keys, queries = clustered
    ids, similarity = ExactIndex(keys, chunk=chunk).search(queries, 30)
    assert ids.shape == similarity.shape == (len(queries), 30)
    check_exact(keys, queries, 30, ids, similarity)


class CountedKeys(np.ndarray):
    """Keys that count how often each is read."""

    def __getitem__(self, part):
        self.reads[part] += 1
        return self.view(np.ndarray)[part]


def test_exact_index_reads_each_key_once_for_any_number_of_queries(clustered):
    """Keys may lie on a disk."""
    keys, queries = clustered[0].astype(ml_dtypes.bfloat16), np.tile(clustered[1], (11, 1))
    counted = keys.view(CountedKeys)
    counted.reads = np.zeros(len(keys), int)
    ids, similarity = ExactIndex(counted, chunk=7000).search(queries, 5)
    assert (counted.reads == 1).all()
    check_exact(keys, queries[2000:], 5, ids[2000:], similarity[2000:])


def test_exact_index_pads_where_k_exceeds_the_bank():
    rng = np.random.default_rng(1)
    keys = unit(rng, 3, 8)
    ids, similarity = build_index(keys, "exact").search(keys[1:2], 5)
    assert ids.dtype == np.int32
    assert similarity.dtype == np.float32
    assert ids[0, 0] == 1
    assert sorted(ids[0, :3].tolist()) == [0, 1, 2]
    assert ids[0, 3:].tolist() == [-1, -1]
    assert np.isneginf(similarity[0, 3:]).all()


def test_ties_are_ordered_by_id_deterministically():
    keys = np.ones((6, 4), np.float32) / 2
    first, second = (build_index(keys, "exact").search(keys[:1], 3)[0].tolist() for _ in range(2))
    assert first == second == [sorted(first[0])]
    ids, _ = merge_top_k(np.array([[4]]), np.array([[1.0]]), np.array([[2]]), np.array([[1.0]]))
    assert ids.tolist() == [[2]]


def test_block_maxima_lose_no_neighbour():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(7, 5003)).astype(np.float32)
    columns, values = top_k(scores, 12, block=16)
    np.testing.assert_array_equal(values, -np.sort(-scores, axis=1)[:, :12])
    np.testing.assert_array_equal(np.take_along_axis(scores, columns, 1), values)


def test_scann_recall_and_order(clustered):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    keys, queries = clustered
    found = build_index(keys, "scann", leaves=64, leaves_to_search=32, reorder=300)
    assert found.kind == "scann"
    assert not found.exact
    ids, similarity = found.search(queries, 30)
    truth, _ = build_index(keys, "exact").search(queries, 30)
    recall = np.mean([len(set(a) & set(b)) / 30 for a, b in zip(ids.tolist(), truth.tolist(), strict=True)])
    assert recall > 0.95
    assert (np.diff(similarity, axis=1) <= 0).all()
    np.testing.assert_allclose(similarity, np.einsum("qd,qkd->qk", queries, keys[ids]), atol=1e-5)


@pytest.mark.long
def test_shards_keep_the_recall_and_rescore_exactly(clustered, monkeypatch):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    keys, queries = clustered
    truth, _ = build_index(keys, "exact").search(queries, 30)
    monkeypatch.setattr(scann_build, "SHARD_BYTES", 4 * 7000 * 32)
    found = build_index(keys, "scann", leaves=32, leaves_to_search=16, reorder=300)
    assert len(found.searchers) == 3
    ids, similarity = found.search(queries, 30)
    recall = np.mean([len(set(a) & set(b)) / 30 for a, b in zip(ids.tolist(), truth.tolist(), strict=True)])
    assert recall > 0.95
    assert (np.diff(similarity, axis=1) <= 0).all()
    np.testing.assert_allclose(similarity, np.einsum("qd,qkd->qk", queries, keys[ids]), atol=1e-6)


def test_scann_is_built_once_and_can_be_moved(clustered, tmp_path, monkeypatch):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    keys, queries = clustered
    settings = {"leaves": 32, "leaves_to_search": 8}
    first = build_index(keys, "scann", str(tmp_path / "a"), **settings).search(queries, 10)
    (tmp_path / "a").rename(tmp_path / "b")
    monkeypatch.setattr(scann_build, "write_index", lambda *a, **k: pytest.fail("built again"))
    again = build_index(keys, "scann", str(tmp_path / "b"), **settings).search(queries, 10)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    file = next(p for p in sorted((tmp_path / "b").rglob("*.npy")))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"does not match its checksum; delete"):
        build_index(keys, "scann", str(tmp_path / "b"), **settings)


@pytest.mark.long
def test_scann_is_deterministic(clustered):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    keys, queries = clustered
    settings = {"leaves": 128, "leaves_to_search": 4, "training_sample": 5000, "reorder": 40}
    first, second = (build_index(keys, "scann", **settings).search(queries, 30) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_scann_pads_where_it_finds_fewer_than_k(clustered):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    keys, queries = clustered
    ids, similarity = build_index(keys[:2000], "scann", leaves=500, leaves_to_search=1).search(queries, 200)
    assert (ids == -1).any()
    assert (np.isneginf(similarity) == (ids == -1)).all()
    assert all((np.bincount(row[row >= 0]) <= 1).all() for row in ids)


def test_scann_falls_back_to_exact_with_a_warning_for_few_keys(clustered):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    with pytest.warns(UserWarning, match=r"fewer than 512 leaves"):
        assert build_index(clustered[0][:400], "scann", preset="table6").kind == "exact"


@pytest.mark.usefixtures("no_scann_yet")
def test_without_scann_the_search_is_exact_with_a_warning(clustered, monkeypatch):
    keys, queries = clustered
    monkeypatch.setattr(sys, "meta_path", [NoScann(), *sys.meta_path])
    with pytest.warns(UserWarning, match=r"scann is not installed, searching exactly instead"):
        found = build_index(keys, "scann")
    check_exact(keys, queries, 5, *found.search(queries, 5))
    monkeypatch.setattr(index, "AUTO_SCANN_LENGTH", 1000)
    assert build_index(keys, "auto").kind == "exact"  # without a warning: nobody chose ScaNN
    assert index.index_bytes("scann", *keys.shape, 4, 4) == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ImportError('libtensorflow_framework.so.2: cannot open')", r"ImportError: libtensorflow_framework"),
        (
            "class NotFoundError(Exception): pass\nraise NotFoundError('undefined symbol: _ZN10')",
            r"NotFoundError: undef",
        ),
        ("import scann_that_is_not_there", r"ModuleNotFoundError: No module named 'scann_that_is_not_there'"),
        ("raise AttributeError", r"AttributeError: AttributeError"),
        ("", r"ModuleNotFoundError: No module named 'scann.scann_ops'"),
    ],
)
@pytest.mark.parametrize("kind", ["scann", "auto"])
@pytest.mark.usefixtures("no_scann_yet")
def test_any_exception_on_importing_scann_is_a_warning(clustered, tmp_path, monkeypatch, body, reason, kind):
    keys, queries = clustered
    (tmp_path / "scann").mkdir()
    (tmp_path / "scann" / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(index, "AUTO_SCANN_LENGTH", 1000)
    with pytest.warns(UserWarning, match=rf"scann cannot be imported \({reason}.*\), searching exactly instead"):
        found = build_index(keys, kind)
    check_exact(keys, queries, 5, *found.search(queries, 5))
    assert index.index_bytes(kind, *keys.shape, 4, 4) == 0


def test_auto_searches_small_banks_exactly(clustered):
    assert build_index(clustered[0], "auto").kind == "exact"


@pytest.mark.parametrize("kind", ["exact", "scann", "device", "auto"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_keys_are_refused_for_every_kind(clustered, kind, bad):
    keys = clustered[0][:1000].copy()
    keys[700, 3] = bad
    with pytest.raises(UserError, match=r"\[700\]"):
        build_index(keys, kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["exact", "scann", "device"])
@pytest.mark.parametrize("given", ["float64", "float16", "big-endian", "column by column"])
def test_keys_of_any_float_type_and_layout_have_the_same_neighbours(clustered, kind, given):
    if kind == "scann":
        pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    keys, queries = clustered[0][:3000].astype(np.float16).astype(np.float32), clustered[1]
    change = {"big-endian": lambda: keys.astype(">f4"), "column by column": lambda: np.asfortranarray(keys)}
    other = change.get(given, lambda: keys.astype(given))()
    settings = {"leaves": 32, "leaves_to_search": 8}
    ids, similarity = build_index(other, kind, **settings).search(queries, 10)
    want_ids, want = build_index(keys, kind, **settings).search(queries, 10)
    np.testing.assert_array_equal(ids, want_ids)
    np.testing.assert_array_equal(similarity, want)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_non_finite_keys_are_refused_in_every_type(clustered, dtype):
    keys = clustered[0][:1000].astype(dtype)
    keys[700, 3] = np.nan
    with pytest.raises(UserError, match=r"\[700\]"):
        build_index(keys, "exact")


@pytest.mark.parametrize("keys", [np.ones(4), np.ones((2, 3, 4)), np.float32(1), [[1.0], [1.0, 2.0]], [["a"]]])
def test_keys_of_a_wrong_shape_are_refused_in_one_line(keys):
    with pytest.raises(UserError, match=r"^index keys: .*\[M, D\][^\n]*$"):
        build_index(keys, "exact")


def test_unknown_kinds_and_settings_name_the_valid_ones():
    keys = np.eye(4, dtype=np.float32)
    with pytest.raises(UserError, match=r"exact.*scann"):
        build_index(keys, "faiss")
    with pytest.raises(UserError, match=r"leaves_to_search"):
        build_index(keys, "exact", num_leaves=3)
    with pytest.raises(UserError, match=r"at least one key"):
        build_index(keys[:0], "exact")


@pytest.mark.long
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shards", [1, 3])
def test_the_memory_estimate_of_scann_is_within_five_percent(clustered, tmp_path, monkeypatch, shards, dtype):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    keys = clustered[0].astype(dtype)
    monkeypatch.setattr(scann_build, "SHARD_BYTES", -(-4 * keys.size // shards))
    assert len(build_index(keys, "scann", str(tmp_path), leaves=32, leaves_to_search=8).searchers) == shards
    loaded = {path: path.stat().st_size for path in tmp_path.rglob("*.npy")}
    codes = sum(size for path, size in loaded.items() if path.name == "hashed_dataset.npy")
    # Codes are bytes in the file; two share a byte in memory. Those of one shard are there as read meanwhile.
    most = sum(loaded.values()) - codes + codes / 2 + codes / shards
    estimate = index.index_bytes("scann", *keys.shape, keys.itemsize, 4)
    assert estimate == pytest.approx(most, rel=0.05)


def test_the_memory_estimate_of_exact_indexes_is_what_they_keep(clustered):
    keys = clustered[0]
    asked = (*keys.shape, keys.itemsize, 4)
    for kind in ("exact", "auto"):
        assert np.shares_memory(build_index(keys, kind).keys, keys)
        assert index.index_bytes(kind, *asked) == 0
    assert index.index_bytes("device", *asked) == pytest.approx(build_index(keys, "device").keys.nbytes, rel=0.05)


@pytest.mark.parametrize("order", ["worst first", "best first", "repeated"])
@pytest.mark.parametrize("k", [1, 40])
def test_the_threshold_loses_no_neighbour_whatever_the_order_of_the_keys(clustered, order, k):
    """Worst first, nearly every score is above the best so far; repeated keys are ordered by number."""
    keys, queries = clustered[0][:6000], clustered[1][:3]
    near = np.argsort(keys @ queries[0])
    keys = {"worst first": keys[near], "best first": keys[near[::-1]], "repeated": np.repeat(keys[:60], 100, 0)}[order]
    ids, similarity = ExactIndex(keys, chunk=1500).search(queries, k)
    scores = queries @ keys.T
    if order == "repeated":  # to the bit, so that ties are ties
        scores = np.repeat(scores[:, ::100], 100, axis=1)
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k] // 100
        np.testing.assert_array_equal(ids // 100, expected)
        assert all(len(set(row)) == k for row in ids.tolist())
    else:
        check_exact(keys, queries, k, ids, similarity)
    assert (np.diff(similarity, axis=1) <= 0).all()


def test_equal_keys_in_different_chunks_are_ordered_by_number():
    keys = np.tile(np.eye(4, dtype=np.float32), (300, 1))
    ids, _ = ExactIndex(keys, chunk=100).search(keys[:1], 30)
    assert ids[0].tolist() == [4 * i for i in range(30)]
