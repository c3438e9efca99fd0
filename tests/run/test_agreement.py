"""Processes decide alike: what they exchange, and a checkpoint that one of them cannot read."""

import pytest

from hummingbird.run import checkpoint
from hummingbird.run.agreement import from_all
from tests.devices import pair

TWO_PROCESSES = """
import os, sys
from unittest import mock
from hummingbird.devices import distributed

distributed.initialize()
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from hummingbird.run import checkpoint
from hummingbird.run.agreement import from_all
from hummingbird.run.saver import Saver
from hummingbird.train_step import TrainState

me = jax.process_index()
assert from_all("a" * 1000 if me else "") == ["", "a" * 1000]

split = NamedSharding(Mesh(jax.devices(), "x"), PartitionSpec("x"))
whole = NamedSharding(split.mesh, PartitionSpec())
def state(step):
    made = TrainState(jnp.int32(step), {"w": jnp.full(4, step, jnp.float32)}, {}, {}, {}, (), (), {})
    places = jax.tree.map(lambda x: split if x.ndim else whole, made)
    return jax.jit(lambda: made, out_shardings=places)()

with Saver(sys.argv[1], config={}, keep=3) as saver:
    for step in (1, 2):
        saver.save(state(step), {})

read = checkpoint._read

def failing(folder, *arguments):
    if me == 1 and folder.name.endswith("2"):
        raise checkpoint.Damaged("its arrays cannot be read (stale handle)")
    return read(folder, *arguments)

from jax.experimental import multihost_utils
multihost_utils.sync_global_devices("saved")
places = jax.tree.map(lambda x: x.sharding, state(0))
with mock.patch.object(checkpoint, "_read", failing):
    restored, manifest = checkpoint.restore_newest(sys.argv[1], state(0), places)
assert manifest["step"] == 1, manifest
assert int(restored.step) == 1
"""


def test_a_process_on_its_own_has_its_own_text():
    assert from_all("text") == ["text"]


@pytest.mark.process
def test_a_read_that_fails_in_one_of_two_processes_lets_both_restore_the_same_older_step(tmp_path, repository):
    zero, one = pair.run(repository, "-c", TWO_PROCESSES, tmp_path)
    assert (zero.status, one.status) == (0, 0), (zero, one)
    assert "process 1 of 2 found that its arrays cannot be read (stale handle)" in zero.err


def test_a_manifest_that_cannot_be_read_is_damage(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(checkpoint.Damaged, match=r"its manifest.json cannot be read \(Is a directory\)"):
        checkpoint.read_manifest(checkpoint.absolute(tmp_path))
