"""The smallest pretraining run that has every part, shared by the tests so that it is compiled once."""

import functools

import numpy as np

from hummingbird import config, train

CONFIG = "configs/pretrain/demo.py:tiny"
# Never more than these images: each is rendered once per process.
DATA = {"data.scenes.pretrain_images": 64, "data.scenes.size": 48, "data.threads": 0}


def tiny_config(**changes):
    return config.resolve("pretrain", CONFIG, {**DATA, **changes})


@functools.cache
def program(devices=1, **changes):
    """The compiled parts of the tiny run on the first `devices` devices."""
    import jax

    return train.build_program(tiny_config(**changes), 64, jax.devices()[:devices])


def batch(seed, size=16, side=32):
    """A random global batch, as the step takes it."""
    from hummingbird.objectives import Batch

    rng = np.random.default_rng(seed)
    views = rng.integers(0, 256, (size, 2, side, side, 3), dtype=np.uint8)
    return Batch({"global": views}, rng.integers(0, 5, size).astype(np.int32))
