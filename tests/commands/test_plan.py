"""A plan describes a compiled program in numbers and in words."""

import jax
import jax.numpy as jnp
import pytest

from hummingbird.commands import plan
from hummingbird.devices import topology
from hummingbird.devices.chips import Chip
from hummingbird.errors import UserError
from tests import tiny

SETUP = plan.Setup(
    topology="v3:2x2",
    device_kind="TPU v3",
    devices=8,
    mesh={"data": 8, "fsdp": 1},
    encoder="vit_b16",
    batch_size=4096,
    bank_length=153_600,
    parameters=86_000_000,
    compile_seconds=26.0,
)


def test_a_compiled_program_is_analysed_per_device():
    x = jnp.ones((64, 32), jnp.float32)
    compiled = jax.jit(lambda x: (x @ x.T).sum()).lower(x).compile()
    unknown = plan.analyse(compiled, "cpu", operations=1e9)
    assert unknown["argument_bytes"] == 64 * 32 * 4
    assert unknown["total_bytes"] >= unknown["argument_bytes"] + unknown["temporary_bytes"]
    assert (unknown["fits"], unknown["memory_bytes"], unknown["collectives"]) == (None, None, {})
    assert "roofline" not in unknown
    known = plan.analyse(compiled, "TPU v3", operations=61.5e12)
    assert known["fits"]
    assert known["roofline"] == {"seconds": {"compute": 1.0, "memory": 0.0, "network": 0.0}, "bound": "compute"}


def test_the_roofline_is_bound_by_the_slowest_part():
    chip = Chip(memory=1e9, flops=100.0, bandwidth=10.0, network=1.0)
    found = plan.roofline(chip, operations=100.0, memory_bytes=20.0, network_bytes=1.5)
    assert found == {"seconds": {"compute": 1.0, "memory": 2.0, "network": 1.5}, "bound": "memory"}


@pytest.mark.parametrize(
    ("memory", "said"), [(2**34, "TPU v3 (v3:2x2): fits"), (2**30, "DOES NOT FIT"), (None, "device memory unknown")]
)
def test_the_table_says_whether_it_fits(memory, said):
    analysis = plan.Analysis(
        fits=None if memory is None else memory >= 3 * 2**31,
        argument_bytes=2**31,
        temporary_bytes=2**32,
        total_bytes=3 * 2**31,
        memory_bytes=memory,
        flops=2e12,
        hbm_bytes_at_least=7_000_000_000,
        collectives={"all-reduce": {"count": 3, "bytes": 5_000_000}},
        collective_bytes=5_000_000,
    )
    fill = plan.Memory(argument_bytes=2**31, temporary_bytes=2**33, total_bytes=5 * 2**31)
    text = plan.table(plan.with_fill(SETUP, analysis, None))
    assert "filling bank" not in text
    assert "2.00 Tflop, HBM >= 7.0 GB" in text
    assert "the paper     810 ms per step on 128 TPU v3 cores" in text
    assert said in text
    assert "arguments 2.00 GiB, temporary 4.00 GiB, total 6.00 GiB" in text
    assert "all-reduce               3 x        5.00 MB" in text
    peak = plan.with_fill(SETUP, analysis, fill)  # 10 GiB
    assert (peak["peak"], peak["peak_bytes"]) == ("fill", 5 * 2**31)
    assert peak["fits"] is (None if memory is None else memory >= 5 * 2**31)
    assert "filling bank  temporary 8.00 GiB, total 10.00 GiB; this is the peak of the run" in plan.table(peak)


def test_the_table_of_a_program_that_is_too_large_gives_the_reason():
    assert plan.table({**SETUP, "fits": False, "error": "out of memory"}) == "v3:2x2: does not fit (out of memory)"


def test_gpus_that_are_not_there_are_bound_by_compiling_for_cpus(monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    target = topology.find("gpu:2x24GB")
    assert [device.platform for device in target.devices] == ["cpu"] * 2
    assert (target.kind, target.memory) == ("GPU of 24 GB (bound by compiling for a CPU)", 21_600_000_000)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    assert topology.find("gpu:1x24GB").memory == 12 * 10**9
    with pytest.raises(UserError, match="900 GPUs, but this process has 8 CPU devices"):
        topology.find("gpu:900x24GB")


@pytest.mark.slow
@pytest.mark.program
def test_a_plan_for_gpus_says_whether_they_are_large_enough():
    found = plan.plan(tiny.tiny_config(), "gpu:1x1GB")
    assert (found["fits"], found["topology"], found["devices"]) == (True, "gpu:1x1GB", 1)
    assert found["memory_bytes"] == 900_000_000
    assert "1 x GPU of 1 GB (bound by compiling for a CPU) (gpu:1x1GB): fits" in plan.table(found)
