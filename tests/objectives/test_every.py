"""What holds for every objective of other machinery: devices and micro-batches do not matter, runs learn and resume."""

import shutil

import jax
import numpy as np
import pytest

from hummingbird.encoder import load_encoder
from hummingbird.run import checkpoint
from tests import tiny

pytestmark = pytest.mark.program

HEAD = {"dino.hidden_dim": 32, "dino.bottleneck_dim": 8, "dino.prototypes": 16, "dino.frozen_epochs": 0.25}
LOCAL = {"augment.local.count": 3, "augment.local.size": 16}
MASKS = {"ibot.chunk": 4, "ibot.mask_probability": 1.0}
QUERIES = {"queries": 3, "query_size": 16, "prototypes": 16, "query_area": (0.1, 0.4)}
QUERIES = {f"loca.{name}": x for name, x in QUERIES.items()}
QUERIES |= {"augment.same_crop": True, "augment.flip_probability": 0.0}
ALONE = {"context.bank_length": 0, "pooling": "mean"}
# Colours and blur are tested elsewhere and take long to compile.
PLAIN = {"jitter_probability": 0.0, "blur_probability": (0.0, 0.0), "local.jitter_probability": 0.0}
PLAIN = {f"augment.{name}": x for name, x in (PLAIN | {"local.blur_probability": 0.0}).items()}

# {objective: settings of its tiny run}; with context, a bank and attention pooling where that applies
TINY = {
    "dino": {**HEAD, **LOCAL},
    "ibot": {**HEAD, **MASKS, "context.bank_length": 0, "pooling": "cls"},
    "dinov2": {**HEAD, **MASKS, **ALONE, "dino.centring": "sinkhorn", "ibot.separate_head": True},
    "mae": {**ALONE, "augment.views": 1, "mae.decoder_dim": 16, "mae.decoder_depth": 1, "mae.decoder_heads": 2},
    "maskfeat": {**ALONE, "maskfeat.cell": 4},
    "loca": {**HEAD, **ALONE, **QUERIES},
}
TINY = {name: {"objective.name": name, **PLAIN, **changes} for name, changes in TINY.items()}


def some(*usual):
    """All objectives; those that are not usual run with scripts/test --all only, since each is compiled."""
    return [name if name in usual else pytest.param(name, marks=pytest.mark.slow) for name in TINY]


@pytest.mark.parametrize("name", some())
def test_devices_and_micro_batches_do_not_change_loss_and_gradient(name):
    one, four = tiny.gradient(1, **TINY[name]), tiny.gradient(4, micro_batches=2, **TINY[name])
    assert np.isfinite(one[0])
    tiny.assert_same_gradient(one, four)


@pytest.mark.parametrize("name", some())
def test_a_run_learns_and_is_equal_to_itself_after_a_stop(name, tmp_path):
    program, run, losses = tiny.program(1, **TINY[name]), tmp_path / "run", []
    state = program.init()
    for _ in range(4):
        state, metrics = program.step(state, tiny.placed(program, 0, like=program.batch))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] or name == "dino"  # whose target is still nearly random
    assert bool(jax.tree.leaves(state.target)) == program.algorithm.objective.has_target

    state = jax.device_get(tiny.pretrain(run, **TINY[name]))
    shutil.rmtree(checkpoint.steps(run)[0])
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(tiny.pretrain(run, **TINY[name])), state)
    assert load_encoder(str(run))(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 4, 4, 32)
