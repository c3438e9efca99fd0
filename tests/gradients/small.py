"""Small ViTs with drawn parameters, in plain form and with every variation at once, for the tests of gradients."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hummingbird.models.architecture import Architecture
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.vit import ViT

PLAIN = Architecture(patch_size=8, width=32, depth=2, heads=4, mlp_dim=48, grid=(2, 3), cls=False)
WITH_CLS = dataclasses.replace(PLAIN, cls=True)
ALL_AT_ONCE = dataclasses.replace(
    PLAIN, cls=True, registers=2, swiglu=True, activation="silu", layer_scale=True, rotary=100.0, pre_norm=True
)
ARCHITECTURES = {
    "plain": PLAIN,
    "cls": WITH_CLS,
    "layer scale": dataclasses.replace(WITH_CLS, layer_scale=True),
    "all variations": ALL_AT_ONCE,
}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)


@functools.cache
def encoder(name="cls", patch_size=8) -> FrozenEncoder:
    """An encoder with parameters that are neither 0 nor 1."""
    arch = dataclasses.replace(ARCHITECTURES[name], patch_size=patch_size)
    params = jax.eval_shape(ViT(arch).init, jax.random.key(0), jnp.zeros((1, 2 * patch_size, 3 * patch_size, 3)))[
        "params"
    ]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0.1, 0.3, x.shape), jnp.float32), params)
    return FrozenEncoder(FrozenViT(arch), params, name, f"small {name}")
