"""Memory traffic of compiled programs: each operation reads its operands and writes its results once per trip."""

import jax
import jax.numpy as jnp

from hummingbird.devices import traffic

PROGRAM = """
%inner (p: f32[5,8,128], i: s32[]) -> f32[8,128] {
  %p = f32[5,8,128]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %slice = f32[1,8,128]{2,1,0} dynamic-slice(%p, %i, %i, %i), dynamic_slice_sizes={1,8,128}
  ROOT %flat = f32[8,128]{1,0} bitcast(%slice)
}

%add_slice (p: f32[5,8,128], i: s32[], c: f32[8,128]) -> f32[8,128] {
  %c = f32[8,128]{1,0:T(8,128)S(1)} parameter(2)
  %p = f32[5,8,128]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %part = f32[8,128]{1,0} fusion(%p, %i), kind=kLoop, calls=%inner
  ROOT %sum = f32[8,128]{1,0:T(8,128)S(1)} add(%c, %part)
}

%store (p: f32[5,8,128], c: f32[8,128], i: s32[]) -> f32[5,8,128] {
  %p = f32[5,8,128]{2,1,0} parameter(0)
  %c = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %i = s32[] parameter(2)
  %one = f32[1,8,128]{2,1,0} bitcast(%c)
  ROOT %put = f32[5,8,128]{2,1,0} dynamic-update-slice(%p, %one, %i, %i, %i)
}

%body (t: (s32[], f32[8,128], f32[5,8,128], f32[5,8,128])) -> (s32[], f32[8,128], f32[5,8,128], f32[5,8,128]) {
  %t = (s32[], f32[8,128]{1,0:T(8,128)S(1)}, f32[5,8,128]{2,1,0}, f32[5,8,128]{2,1,0}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%t), index=0
  %c = f32[8,128]{1,0:T(8,128)S(1)} get-tuple-element(%t), index=1
  %xs = f32[5,8,128]{2,1,0} get-tuple-element(%t), index=2
  %ys = f32[5,8,128]{2,1,0} get-tuple-element(%t), index=3
  %new = f32[8,128]{1,0:T(8,128)S(1)} fusion(%xs, %i, %c), kind=kLoop, calls=%add_slice
  %kept = f32[5,8,128]{2,1,0} fusion(%ys, %new, %i), kind=kLoop, calls=%store
  ROOT %out = (s32[], f32[8,128]{1,0:T(8,128)S(1)}, f32[5,8,128]{2,1,0}, f32[5,8,128]{2,1,0}) tuple(%i, %new, %xs, %kept)
}

%condition (t: (s32[], f32[8,128], f32[5,8,128], f32[5,8,128])) -> pred[] {
  %t = (s32[], f32[8,128], f32[5,8,128], f32[5,8,128]) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %n = s32[] constant(5)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (t: (s32[], f32[8,128], f32[5,8,128], f32[5,8,128])) -> (s32[], f32[8,128], f32[5,8,128], f32[5,8,128]) {
  %t = (s32[], f32[8,128]{1,0:T(8,128)S(1)}, f32[5,8,128]{2,1,0}, f32[5,8,128]{2,1,0}) parameter(0)
  ROOT %loop = (s32[], f32[8,128]{1,0:T(8,128)S(1)}, f32[5,8,128]{2,1,0}, f32[5,8,128]{2,1,0}) while(%t), condition=%condition, body=%body
}
"""  # noqa: E501
SLICE = 8 * 128 * 4


def test_a_loop_that_reads_and_writes_a_slice_per_trip_moves_each_array_once():
    # 5 slices read, 5 written; the sum stays in on-chip memory, and so do the scalars. Indices of 4 bytes are noise.
    assert 0 <= traffic.hbm_bytes(PROGRAM) - 5 * 2 * SLICE <= 5 * 2 * 2 * 4


def test_a_kernel_counts_with_its_own_estimate_and_an_asynchronous_copy_once():
    lines = ["ENTRY %main (p: bf16[8,128]) -> bf16[8,128] {", "  %p = bf16[8,128]{1,0} parameter(0)"]
    lines += ['  %k = bf16[8,128]{1,0} custom-call(%p), custom_call_target="tpu_custom_call", backend_config=']
    lines[-1] += '{"custom_call_config":{"cost_estimate":{"flops":"10","transcendentals":"1","bytes_accessed":"5000"}}}'
    lines += ["  %s = (bf16[8,128]{1,0:T(8,128)S(1)}, bf16[8,128]{1,0}, u32[]{:S(2)}) copy-start(%k)"]
    lines += ["  ROOT %d = bf16[8,128]{1,0:T(8,128)S(1)} copy-done(%s)", "}"]
    assert traffic.hbm_bytes("\n".join(lines)) == 5000 + 8 * 128 * 2


def test_a_collective_that_other_fusions_carry_on_counts_once_and_their_own_results_each_time():
    program = """
%start (p: bf16[2,128]) -> (bf16[2,128], bf16[8,128]) {
  %p = bf16[2,128]{1,0} parameter(0)
  %g = bf16[8,128]{1,0} all-gather(%p), channel_id=1, frontend_attributes={chain_id="0"}
  ROOT %s = (bf16[2,128]{1,0}, bf16[8,128]{1,0}) custom-call(%p, %g), custom_call_target="AsyncCollectiveStart"
}

%beside (p: bf16[2,128], b: bf16[8,128], x: f32[16,128]) -> (f32[16,128], bf16[2,128], bf16[8,128]) {
  %p = bf16[2,128]{1,0} parameter(0)
  %b = bf16[8,128]{1,0} parameter(1)
  %x = f32[16,128]{1,0} parameter(2)
  %g = bf16[8,128]{1,0} all-gather(%p), channel_id=1, frontend_attributes={chain_id="0"}
  %y = f32[16,128]{1,0} tanh(%x)
  ROOT %t = (f32[16,128]{1,0}, bf16[2,128]{1,0}, bf16[8,128]{1,0}) tuple(%y, %p, %g)
}

%done (p: bf16[2,128], b: bf16[8,128]) -> bf16[8,128] {
  %p = bf16[2,128]{1,0} parameter(0)
  %b = bf16[8,128]{1,0} parameter(1)
  %g = bf16[8,128]{1,0} all-gather(%p), channel_id=1, frontend_attributes={chain_id="0"}
  ROOT %d = bf16[8,128]{1,0} custom-call(%p, %b, %g), custom_call_target="AsyncCollectiveDone"
}

%body (t: (s32[], bf16[2,128], bf16[8,128], f32[16,128])) -> (s32[], bf16[2,128], bf16[8,128], f32[16,128]) {
  %t = (s32[], bf16[2,128]{1,0}, bf16[8,128]{1,0}, f32[16,128]{1,0}) parameter(0)
  %i = s32[]{:S(6)} get-tuple-element(%t), index=0
  %p = bf16[2,128]{1,0} get-tuple-element(%t), index=1
  %b = bf16[8,128]{1,0} get-tuple-element(%t), index=2
  %x = f32[16,128]{1,0} get-tuple-element(%t), index=3
  %f = (f32[16,128]{1,0}, bf16[2,128]{1,0}, bf16[8,128]{1,0}) fusion(%p, %b, %x), kind=kOutput, calls=%beside
  %y = f32[16,128]{1,0} get-tuple-element(%f), index=0
  %q = bf16[2,128]{1,0} get-tuple-element(%f), index=1
  %c = bf16[8,128]{1,0} get-tuple-element(%f), index=2
  ROOT %out = (s32[], bf16[2,128]{1,0}, bf16[8,128]{1,0}, f32[16,128]{1,0}) tuple(%i, %q, %c, %y)
}

%condition (t: (s32[], bf16[2,128], bf16[8,128], f32[16,128])) -> pred[] {
  %t = (s32[], bf16[2,128]{1,0}, bf16[8,128]{1,0}, f32[16,128]{1,0}) parameter(0)
  %i = s32[]{:S(6)} get-tuple-element(%t), index=0
  %n = s32[]{:S(6)} constant(12)
  ROOT %less = pred[]{:S(6)} compare(%i, %n), direction=LT
}

ENTRY %main (p: bf16[2,128], x: f32[16,128]) -> bf16[8,128] {
  %p = bf16[2,128]{1,0} parameter(0)
  %x = f32[16,128]{1,0} parameter(1)
  %i = s32[]{:S(6)} constant(0)
  %a = (bf16[2,128]{1,0}, bf16[8,128]{1,0}) fusion(%p), kind=kCustom, calls=%start
  %q = bf16[2,128]{1,0} get-tuple-element(%a), index=0
  %b = bf16[8,128]{1,0} get-tuple-element(%a), index=1
  %t = (s32[], bf16[2,128]{1,0}, bf16[8,128]{1,0}, f32[16,128]{1,0}) tuple(%i, %q, %b, %x)
  %w = (s32[], bf16[2,128]{1,0}, bf16[8,128]{1,0}, f32[16,128]{1,0}) while(%t), condition=%condition, body=%body
  %r = bf16[2,128]{1,0} get-tuple-element(%w), index=1
  %c = bf16[8,128]{1,0} get-tuple-element(%w), index=2
  ROOT %d = bf16[8,128]{1,0} fusion(%r, %c), kind=kCustom, calls=%done
}
"""
    gathered, activations = (2 + 8) * 128 * 2, 2 * 16 * 128 * 4
    assert traffic.hbm_bytes(program) == gathered + 12 * activations


def test_traffic_of_a_compiled_scan_grows_with_its_trips():
    def moved(length):
        def f(xs):
            return jax.lax.scan(lambda c, x: (jnp.tanh(c @ x), None), jnp.ones((64, 64)), xs)[0]

        return traffic.hbm_bytes(
            jax.jit(f).lower(jax.ShapeDtypeStruct((length, 64, 64), jnp.float32)).compile().as_text()
        )

    trip = (moved(40) - moved(8)) / 32
    assert 3 * 64 * 64 * 4 <= trip <= 8 * 64 * 64 * 4  # the product alone has three arrays of this size
