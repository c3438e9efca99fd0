"""The fused kernels, interpreted, and attention without a running maximum, against the streaming attention."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from hummingbird.config.pretrain import Context
from hummingbird.devices import flops
from hummingbird.errors import UserError
from hummingbird.models import bank_attention, fused_kernels
from hummingbird.models.bounded_attention import LOWEST, attend_bounded
from hummingbird.models.context import attend
from hummingbird.models.fused_attention import attend_fused
from tests import reference, tiny

RNG = np.random.default_rng(0)
BETA = 0.1


def drawn(queries, slots, rows, width, values, dtype=np.float32):
    arrays = [reference.unit(RNG.normal(size=s)) for s in ((queries, width), (slots, rows, width))]
    return [jnp.asarray(x, dtype) for x in (*arrays, RNG.normal(size=(slots, rows, values)))]


def both(attention, q, keys, values, weights):
    """What an attention returns, and its gradients of queries and values."""

    def loss(q, values):
        read = attention(q, keys, values)
        return jnp.sum(read.output * weights), read

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(q, values)


def assert_close(got, want, rtol):
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert g.dtype == w.dtype
        g, w = (np.asarray(x, np.float64) for x in (g, w))
        np.testing.assert_allclose(g, w, atol=rtol * np.abs(w).max())


@pytest.mark.long
@pytest.mark.parametrize(
    ("sizes", "length", "wide"),
    [((24, 3, 8, 16, 5), None, False), ((300, 3, 100, 32, 24), None, False), ((130, 2, 100, 16, 16), 150, True)],
    ids=["one block", "several blocks, none of them full", "entries that do not count"],
)
def test_values_and_gradients_are_those_of_the_streaming_attention(sizes, length, wide):
    arrays = drawn(*sizes)
    weights = RNG.normal(size=(sizes[0], sizes[4])).astype(np.float32)
    # So little memory that the smallest block is taken.
    fused = functools.partial(attend_fused, beta=BETA, length=length, vmem=1, wide=wide, interpret=True)
    streaming = functools.partial(attend, beta=BETA, chunk=sizes[2], length=length)
    assert_close(both(fused, *arrays, weights), both(streaming, *arrays, weights), rtol=1e-5)


@pytest.mark.parametrize("length", [None, 250])
@pytest.mark.parametrize("chunk", [100, 64])  # of 300 entries; 64 does not divide them
def test_without_a_running_maximum_values_and_gradients_are_the_same(chunk, length):
    arrays, weights = drawn(140, 3, 100, 32, 24), RNG.normal(size=(140, 24)).astype(np.float32)
    bounded, streaming = (
        functools.partial(attention, beta=BETA, chunk=chunk, length=length) for attention in (attend_bounded, attend)
    )
    assert_close(both(bounded, *arrays, weights), both(streaming, *arrays, weights), rtol=1e-5)


def test_without_a_running_maximum_no_weight_vanishes_at_the_lowest_temperature():
    q, opposite = jnp.eye(1, 4), jnp.array([[[-0.7, (1 - 0.49) ** 0.5, 0, 0], [-1.0, 0, 0, 0]]])
    values = jnp.array([[[1.0], [5.0]]])
    for attention in (functools.partial(attend_bounded, beta=LOWEST), functools.partial(attend, beta=LOWEST)):
        read = attention(q, opposite, values, chunk=1)
        np.testing.assert_allclose([read.output[0, 0], read.nearest[0], read.share[0]], [1, -0.7, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("attention", "statistics", "rounded"),
    [
        (functools.partial(attend_fused, vmem=1, interpret=True), 1e-5, 6e-3),  # statistics in float32 throughout
        (functools.partial(attend_bounded, chunk=150), 6e-3, 1e-2),  # of the rounded weights; one more rounding
    ],
    ids=["fused", "bounded"],
)
def test_bfloat16_gives_what_float32_gives_for_the_same_numbers(attention, statistics, rounded):
    arrays = drawn(140, 2, 150, 32, 32, jnp.bfloat16)
    weights = np.asarray(jnp.asarray(RNG.normal(size=(140, 32)), jnp.bfloat16), np.float32)
    gradients, read = both(functools.partial(attention, beta=BETA), *arrays, weights)
    assert [x.dtype for x in gradients] == [jnp.bfloat16, jnp.bfloat16]
    exact = both(functools.partial(attend, beta=BETA, chunk=150), *[x.astype(jnp.float32) for x in arrays], weights)
    assert_close(read[1:], exact[1][1:], rtol=statistics)
    assert_close([read[0], *(x.astype(jnp.float32) for x in gradients)], [exact[1][0], *exact[0]], rtol=rounded)


def test_on_a_mesh_the_kernel_gives_what_it_gives_on_one_device():
    q, keys, values = drawn(48, 2, 64, 16, 16)
    attention = bank_attention.build_bank_attention(Context(temperature=BETA, attention="fused"))
    mesh, split = Mesh(np.asarray(jax.devices()[:4]), ("data",)), PartitionSpec("data")
    four = jax.shard_map(attention, mesh=mesh, in_specs=(split, None, None), out_specs=split, check_vma=False)
    assert_close(jax.jit(four)(q, keys, values), jax.jit(attention)(q, keys, values), rtol=1e-5)


def test_automatically_the_kernel_is_taken_where_scores_would_leave_the_chip(monkeypatch):
    read = lambda tokens: jax.eval_shape(
        functools.partial(bank_attention.attend_automatically, beta=BETA, chunk=2048, vmem=2**24),
        *(jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in ((tokens, 64), (75, 2048, 64), (75, 2048, 64))),
    )
    taken = []
    for name in ("attend", "attend_fused"):
        monkeypatch.setattr(bank_attention, name, lambda *arguments, name=name, **more: taken.append(name))
    read(6_272), read(12_544)
    assert taken == ["attend", "attend_fused"]


def test_every_device_gets_the_form_that_suits_it():
    @dataclasses.dataclass
    class Device:
        device_kind: str
        platform: str

    def chosen(device, platform="tpu", **settings):
        return bank_attention.build_bank_attention(Context(**settings), Device(device, platform)).func

    assert chosen("TPU v4") is bank_attention.attend_automatically
    assert chosen("TPU v4", attention="fused") is attend_fused
    assert chosen("TPU v4", attention="streaming") is attend
    assert chosen("TPU v4", neighbours=3) is bank_attention.attend_nearest
    assert chosen("TPU v2") is attend
    assert chosen("cpu", "cpu") is attend
    assert chosen("cpu", "cpu", attention="bounded") is attend_bounded
    assert chosen("NVIDIA H100 80GB HBM3", "gpu") is attend_bounded
    assert chosen("NVIDIA H100 80GB HBM3", "gpu", temperature=0.01) is attend
    with pytest.raises(UserError, match=r"context\.attention: the fused kernel is for TPUs, not for NVIDIA H100"):
        chosen("NVIDIA H100", "gpu", attention="fused")
    with pytest.raises(UserError, match=r"context\.attention: bounded needs a context\.temperature of at least 0\.02"):
        chosen("NVIDIA H100", "gpu", attention="bounded", temperature=0.01)


def test_products_in_the_kernels_are_counted_once_per_block():
    q, keys, values = drawn(256, 2, 128, 16, 16)
    step = lambda attention: jax.grad(lambda q, v: attention(q, keys, v).output.sum(), (0, 1))
    fused = functools.partial(attend_fused, beta=BETA, vmem=1, interpret=True)
    streaming = functools.partial(attend, beta=BETA, chunk=128)
    assert flops.count(step(fused), q, values) == flops.count(step(streaming), q, values)


def test_blocks_fit_the_memory_and_bound_the_traffic():
    mib = 2**20
    for width in (384, 768, 1024, 1280):
        sizes = fused_kernels.Sizes(12_544, 153_600, width, width, bytes=2)
        forward, backward = fused_kernels.forward_block(sizes, 16 * mib), fused_kernels.backward_block(sizes, 16 * mib)
        assert 4 * forward.queries * (width + forward.keys) < 16 * mib
        assert 4 * backward.keys * (width + backward.queries) < 16 * mib
        # Each key and value passes by once for every block of queries.
        passes = math.ceil(12_544 / forward.queries)
        assert fused_kernels.forward_traffic(sizes, forward) >= passes * 153_600 * 4 * width
        # Products per byte: from about 240 on, a TPU's units are the limit and not its memory.
        products = 2 * 12_544 * 153_600 * 2 * width
        assert products / fused_kernels.forward_traffic(sizes, forward) > 600
        assert 2 * products / fused_kernels.backward_traffic(sizes, backward) > 350


@pytest.mark.slow
@pytest.mark.program
def test_a_training_step_on_two_devices_has_the_gradient_of_the_streaming_attention():
    changes = {"context.bank_length": 32, "micro_batches": 2}
    fused, streaming = (tiny.gradient(2, **changes, **{"context.attention": name}) for name in ("fused", "streaming"))
    tiny.assert_same_gradient(fused, streaming, zero=("pool.value.bias",))
