"""The memory bank and the attention over it, against NumPy and against the naive formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import hummingbird as hb
from hummingbird.models import chunks, context
from tests import reference

RNG = np.random.default_rng(0)
Q, K, V = (RNG.normal(size=s).astype(np.float32) for s in ((12, 16), (50, 16), (50, 8)))


def naive(q, k, v, beta):
    unit = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    return jax.nn.softmax(unit(q) @ unit(k).T / beta, axis=-1) @ v


@pytest.mark.parametrize("chunk", [7, 16, 50, 4096])
def test_streaming_attention_equals_equation_1(chunk):
    betas = (0.02, 0.1, 1.0)
    attend = jax.jit(lambda q, k, v: [hb.models.context_attention(q, k, v, beta, chunk=chunk) for beta in betas])
    for beta, got in zip(betas, attend(Q, K, V), strict=True):
        want = reference.cross_attention(Q.astype(np.float64), K.astype(np.float64), V.astype(np.float64), beta)
        np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("chunk", [7, 50])
def test_streaming_gradients_equal_those_of_the_naive_formula(chunk):
    loss = lambda f: lambda q, v: jnp.sum(jnp.sin(f(q, v)))
    got = jax.jit(jax.grad(loss(lambda q, v: hb.models.context_attention(q, K, v, 0.1, chunk=chunk)), (0, 1)))(Q, V)
    want = jax.jit(jax.grad(loss(lambda q, v: naive(q, K, v, 0.1)), (0, 1)))(Q, V)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, atol=2e-5)


def test_keys_carry_no_gradient():
    gradient = jax.jit(jax.grad(lambda k: hb.models.context_attention(Q, k, V, 0.1).sum()))(K)
    assert not np.any(gradient)


def test_nearest_share_and_entropy_describe_the_attention():
    q, k = reference.unit(Q), reference.unit(K)
    read = jax.jit(context.attend, static_argnums=(3, 4))(q, k.reshape(5, 10, 16), V.reshape(5, 10, 8), 0.1, 10)
    p = reference.softmax(q @ k.T / 0.1)
    np.testing.assert_allclose(read.nearest, (q @ k.T).max(axis=1), atol=1e-5)
    np.testing.assert_allclose(read.share, p.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(read.entropy, -(p * np.log(p)).sum(axis=1), atol=1e-4)


@pytest.mark.parametrize(("slots", "rows"), [(1, 62), (31, 2), (2, 37), (4, 16)])
def test_a_chunk_bounds_what_is_read_at_a_time_whatever_the_bank(slots, rows):
    bank = np.arange(1, slots * rows + 1, dtype=np.float32).reshape(slots, rows, 1)
    parts, groups = chunks.in_chunks(bank, 10), chunks.grouped(bank, 10)
    assert max(np.prod(x.shape[1:3]) for x in (parts, groups)) <= 10
    assert len(parts) <= 4 * slots * rows / 10 + 1
    in_order = np.asarray(parts).ravel()
    np.testing.assert_array_equal(in_order[: bank.size], bank.ravel())
    assert not in_order[bank.size :].any()
    np.testing.assert_array_equal(chunks.ungrouped(groups, slots), bank)


def test_padding_of_the_bank_has_no_weight_and_no_gradient():
    q, k, v = reference.unit(Q), reference.unit(K[:37]).reshape(1, 37, 16), V[:37].reshape(1, 37, 8)
    loss = lambda chunk: lambda q, v: (context.attend(q, k, v, 0.1, chunk).output ** 2).sum()
    one, padded = (jax.jit(jax.value_and_grad(loss(chunk), (0, 1)))(q, v) for chunk in (37, 10))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-5), padded, one)


def test_memory_does_not_grow_with_the_bank():
    def temporary(length):
        shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((256, 16), (length, 16), (length, 16))]
        loss = lambda q, k, v: hb.models.context_attention(q, k, v, 0.1, chunk=64).sum()
        compiled = jax.jit(jax.grad(loss)).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes - 2 * 4 * length * 16  # normalised, padded keys and values

    assert temporary(8 * 512) <= 1.1 * temporary(512) + 8 * 512 * 16 * 4


@pytest.mark.parametrize(("length", "batch"), [(12, 4), (20, 8), (8, 8), (18, 12)])
def test_bank_is_first_in_first_out(length, batch):
    bank = context.init_bank(length, batch, 1)
    pushed, push = [], jax.jit(context.push)
    for step in range(9):
        ids = np.arange(step * batch, (step + 1) * batch)
        bank = push(bank, ids[:, None].astype(np.float32), ids)
        rows = bank.keys.shape[1]
        # Every row is a ring of its own: it is given batch / rows images a step and keeps its newest.
        pushed.append(ids.reshape(rows, -1))
        history = np.concatenate(pushed, axis=1)[:, -(length // rows) :]
        held = np.sort(np.asarray(bank.labels)[np.asarray(bank.labels) >= 0])
        np.testing.assert_array_equal(held, np.sort(history.ravel()))
        keys, labels = np.asarray(bank.keys)[..., 0], np.asarray(bank.labels)
        np.testing.assert_array_equal(keys[labels >= 0], labels[labels >= 0])


def test_bank_holds_the_newest_images_when_the_batch_divides_it():
    bank, push = context.init_bank(12, 4, 1), jax.jit(context.push)
    for step in range(7):
        ids = np.arange(step * 4, step * 4 + 4)
        bank = push(bank, ids[:, None].astype(np.float32), ids)
    assert sorted(np.asarray(bank.labels).ravel()) == list(range(16, 28))
    assert sorted(np.asarray(bank.labels)[int(bank.cursor)]) == [16, 17, 18, 19]  # the oldest are next to go


def test_bank_is_written_without_communication():
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    batch, rows = (NamedSharding(mesh, PartitionSpec(*s)) for s in (("data",), (None, "data")))
    bank = context.init_bank(24, 8, 4)
    layout = context.ContextBank(rows, rows, NamedSharding(mesh, PartitionSpec()))
    step = jax.jit(context.push, in_shardings=(layout, batch, batch), out_shardings=layout)
    text = step.lower(bank, jnp.zeros((8, 4)), jnp.zeros(8, jnp.int32)).compile().as_text()
    assert not any(word in text for word in ("all-gather", "all-reduce", "collective-permute", "all-to-all"))


def test_an_empty_bank_cannot_be_attended_to():
    with pytest.raises(ValueError, match="at least one key"):
        context.context_attention(np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 3)), 0.1)
