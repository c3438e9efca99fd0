"""The smallest pretraining run that has every part, shared by the tests so that it is compiled once."""

import functools
import os
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest

from hummingbird import config, train

CONFIG = "configs/pretrain/demo.py:tiny"
# For the environment of a process that trains it on one device, as `pretrain` does here.
ONE_DEVICE = {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
# Keys that start so change nothing that is compiled.
NOT_COMPILED = ("checkpoint_every", "data.", "init_from", "keep_checkpoints", "log_every", "online_eval.", "pictures.")
# Never more than these images: each is rendered once per process.
DATA = {"data.scenes.pretrain_images": 64, "data.scenes.size": 48, "data.threads": 0}


def tiny_config(**changes):
    return config.resolve("pretrain", CONFIG, {**DATA, **changes})


def program(devices=1, **changes):
    """The parts of the tiny run that are compiled, on the first `devices` devices; built once for the same changes."""
    return _program(devices, tuple(sorted(changes.items())))


@functools.cache
def _program(devices, changes):
    import jax

    return train.build_program(tiny_config(**dict(changes)), 64, jax.devices()[:devices])


@functools.cache
def _augment():
    import jax

    from hummingbird.data.augment import build_photometric, photometric

    return jax.jit(functools.partial(photometric, settings=build_photometric(tiny_config())))


def augmented(batch, step=0):
    """The views of a batch as that step sees them: [B, 2, S, S, 3] in [0, 1]."""
    import jax

    return _augment()(jax.random.fold_in(jax.random.key(0), step), batch.views["global"])


def pretrain(workdir, *hooks, devices=1, **changes):
    """Trains the tiny run; such runs share one program in a process. Draws no curves, which takes seconds."""
    compiled = {key: changes[key] for key in sorted(changes) if not key.startswith(NOT_COMPILED)}
    if compiled or devices != 1:
        _own_program()
    with mock.patch("hummingbird.run.curves.write"):
        return train.pretrain(tiny_config(**changes), str(workdir), hooks, program(devices, **compiled))


def _own_program():
    """Fails tests that compile a training program without the mark by which scripts/test --fast leaves them out."""
    if os.environ.get("TINY_PROGRAMS") == "shared":
        pytest.fail("this test compiles a training program of its own: mark it with pytest.mark.program")


def batch(seed, size=16, side=32, like=None):
    """A random global batch, as the step takes it; `like`: a batch of shapes, `Program.batch`, in place of sizes."""
    from hummingbird.objectives import Batch

    rng = np.random.default_rng(seed)
    shapes = {"global": (size, 2, side, side, 3)} if like is None else {name: x.shape for name, x in like.views.items()}
    views = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}
    return Batch(views, rng.integers(0, 5, size).astype(np.int32))


def placed(program, seed, **like):
    """`batch` on the devices of a program, as a run places it: for NumPy arrays JAX would trace and compile again."""
    import jax

    from hummingbird.devices import mesh

    return jax.tree.map(lambda x: mesh.to_global(program.mesh, x), batch(seed, **like))


def drawn(shapes, seed=0):
    """Arrays drawn by NumPy for a tree of shapes: scales and variances are 1, integers 0, all else small.

    Drawing them as the modules do compiles a program, which costs a test about a second.
    """
    import jax

    rng = np.random.default_rng(seed)

    def draw(path, x):
        ones = path[-1] in (jax.tree_util.DictKey("scale"), jax.tree_util.DictKey("var"))
        values = np.ones(x.shape) if ones else 0.1 * rng.normal(size=x.shape)
        return np.zeros(x.shape, x.dtype) if x.dtype == np.int32 else values.astype(x.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def drawn_heads(objective, width=32, seed=0):
    """Parameters, statistics and further state of an objective for an encoder of this width."""
    import jax

    return drawn(jax.eval_shape(lambda key: objective.init(key, width), jax.random.key(0)), seed)


def network(params, stats, outputs):
    """The tiny network without a bank, after it has made `outputs` of a batch."""
    import jax.numpy as jnp

    from hummingbird.models.context import init_bank
    from hummingbird.models.network import Network

    empty = jnp.zeros((0, 1, 32))
    return Network(program(1).model, params, stats, init_bank(0, 1, 32), empty, empty, outputs)


class Gradient(NamedTuple):
    """A loss, its gradients with respect to theta and to the pooled views [B, V, D], and new `extra`."""

    loss: np.ndarray
    theta: dict
    pooled: np.ndarray
    extra: dict


def gradient(devices=1, seed=0, **changes):
    """Loss and gradients of a batch, in a state drawn by NumPy and without augmentation.

    Compiles in a quarter of a step's time. The same for any number of devices and micro-batches, if an objective is
    right.
    """
    import jax

    from hummingbird import train_step
    from hummingbird.data.views import GLOBAL
    from hummingbird.devices import mesh
    from hummingbird.models.parallel import on_mesh

    _own_program()
    made = train.build_program(tiny_config(**changes), 64, jax.devices()[:devices])
    algorithm = made.algorithm
    state = drawn(made.state.replace(opt_state=()), seed)
    schedules = {name: x(0) if callable(x) else x for name, x in algorithm.schedules.items()}
    nothing = np.zeros((*made.batch.views[GLOBAL].shape[:2], algorithm.model.encoder.width), np.float32)

    def of(state, batch):
        def loss(theta, added):
            def encode(encode_images, mesh, *arguments):
                outputs, targets = on_mesh(encode_images, mesh)(*arguments)
                pooled = outputs[GLOBAL].pooled + added
                return {**outputs, GLOBAL: outputs[GLOBAL]._replace(pooled=pooled)}, targets

            with mock.patch.object(train_step, "on_mesh", lambda *of: functools.partial(encode, *of)):
                return train_step.forward(algorithm, state, batch, schedules, theta)

        (value, passed), (theta, pooled) = jax.value_and_grad(loss, (0, 1), has_aux=True)(state.online, nothing)
        return Gradient(value, theta, pooled, passed.extra)

    layout = (made.shardings.replace(opt_state=()), mesh.batch_sharding(made.mesh))
    as_they_are = lambda key, views, settings, positions: views / np.float32(255)
    with mock.patch.object(train_step, "photometric", as_they_are):
        return jax.device_get(jax.jit(of, in_shardings=layout)(state, batch(seed, like=made.batch)))


def assert_same_gradient(one, other, zero=()):
    """Two results of `gradient` agree up to rounding.

    `zero`: parameters that add the same to all pooled views, which batch norm takes away again. What reaches the views
    sums to zero. Its rounding error may be that of one number as large as the sum of the absolute values.
    """
    import jax

    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-4)
    # A bias before batch norm has no gradient but rounding errors, in proportion to the gradients around it.
    noise = 2e-6 * max(1.0, *(np.abs(x).max() for x in jax.tree.leaves(one.theta)))
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(one[1:]), jax.tree.leaves(other[1:]), strict=True
    ):
        if jax.tree_util.keystr(path[1:], simple=True, separator=".") in zero:
            for found, x in ((one, ours), (other, theirs)):
                rounding = np.finfo(np.float32).eps * np.abs(found.pooled).sum((0, 1)).max()
                np.testing.assert_array_less(np.abs(x), rounding)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-3 * np.abs(ours).max() + noise)
