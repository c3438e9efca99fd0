"""Collectives are counted as often as they run, with the bytes of their results."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hummingbird.devices import hlo


def compiled_text(function, *shapes_and_specs):
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("d",))
    shardings = [NamedSharding(mesh, PartitionSpec(*spec)) for _, spec in shapes_and_specs]
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape, _ in shapes_and_specs]
    out = NamedSharding(mesh, PartitionSpec())
    return jax.jit(function, in_shardings=shardings, out_shardings=out).lower(*shapes).compile().as_text()


def test_a_sum_over_the_batch_is_one_all_reduce_of_the_result():
    text = compiled_text(lambda x: x.sum(axis=0), ((8, 16), ("d",)))
    assert hlo.collectives(text) == {"all-reduce": {"count": 1, "bytes": 16 * 4}}


def test_collectives_in_a_loop_count_once_per_trip():
    def loop(w, x):
        # Each trip depends on the one before, so that nothing can be moved out of the loop.
        return jax.lax.scan(lambda c, _: (jnp.tanh(x * c).sum(axis=0), None), w, None, length=5)[0]

    found = hlo.collectives(compiled_text(loop, ((16,), ()), ((8, 16), ("d",))))
    assert found == {"all-reduce": {"count": 5, "bytes": 5 * 16 * 4}}


def test_a_program_without_communication_has_none():
    assert hlo.collectives(compiled_text(lambda x: x * 2, ((8, 16), ()))) == {}


def test_an_asynchronous_collective_counts_once():
    # The TPU compiler prints an all-gather in the computation that starts it and in each that continues it.
    piece = '  %g.{} = bf16[75,2048]{{1,0}} all-gather(%p), channel_id=1, frontend_attributes={{chain_id="{}"}}'
    lines = ["%start (p: bf16[75,8]) -> bf16[75,2048] {", piece.format(1, 0), "}"]
    lines += ["%on (p: bf16[75,8]) -> bf16[75,2048] {", piece.format(2, 0), "}"]
    lines += ["ENTRY %main (p: bf16[75,8]) -> bf16[75,2048] {", piece.format(3, 1)]
    lines += ["  %a = bf16[75,2048]{1,0} fusion(%p), calls=%start", "  %b = bf16[75,2048]{1,0} fusion(%a), calls=%on"]
    lines += ["  %c = bf16[75,2048]{1,0} all-gather(%p), channel_id=1", "}"]
    assert hlo.collectives("\n".join(lines)) == {"all-gather": {"count": 3, "bytes": 3 * 75 * 2048 * 2}}


def test_an_asynchronous_collective_that_is_carried_on_in_a_loop_counts_once():
    # Started before the loop over layers, carried on beside the products of each layer, awaited afterwards.
    piece = '  %g.{} = bf16[75,2048]{{1,0}} all-gather(%p), channel_id=1, frontend_attributes={{chain_id="0"}}'
    lines = ["%start (p: bf16[75,8]) -> bf16[75,2048] {", piece.format(1), "}"]
    lines += ["%on (p: bf16[75,8]) -> bf16[75,2048] {", piece.format(2), "}"]
    lines += ["%body (p: bf16[75,2048]) -> bf16[75,2048] {", "  %b = bf16[75,2048]{1,0} fusion(%p), calls=%on", "}"]
    lines += ["%while (p: bf16[75,2048]) -> pred[] {", "  %n = s32[] constant(12)", "}"]
    lines += ["ENTRY %main (p: bf16[75,8]) -> bf16[75,2048] {"]
    lines += ["  %a = bf16[75,2048]{1,0} fusion(%p), calls=%start"]
    lines += ["  %w = bf16[75,2048]{1,0} while(%a), condition=%while, body=%body", "}"]
    assert hlo.collectives("\n".join(lines)) == {"all-gather": {"count": 1, "bytes": 75 * 2048 * 2}}


def test_a_collective_in_a_computation_that_is_called_twice_counts_twice():
    lines = ["%sum (p: f32[16]) -> f32[16] {", "  %r = f32[16]{0} all-reduce(%p), channel_id=1, to_apply=%add", "}"]
    lines += ["ENTRY %main (p: f32[16]) -> f32[16] {", "  %a = f32[16]{0} call(%p), to_apply=%sum"]
    lines += ["  %b = f32[16]{0} call(%a), to_apply=%sum", "}"]
    assert hlo.collectives("\n".join(lines)) == {"all-reduce": {"count": 2, "bytes": 2 * 16 * 4}}
