"""Tiny random Flax models with the parameter trees of big_vision, vision_transformer and Scenic's LOCA.

Those projects are not on the package index; these are Flax's own layers (attention, convolution, norm) put together as
they do, so that the trees have the same names and shapes, and positions are resized by the functions that they call.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from tests.weights.zoo import DEPTH, HALF, HEADS, IMAGENET, PATCH, SIDE, WIDTH, Specimen

GRID = (SIDE // PATCH, SIDE // PATCH)
BLOCKS = [f"encoderblock_{i}" for i in range(DEPTH)]


class MlpBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = nn.gelu(nn.Dense(3 * WIDTH)(x))
        return nn.Dense(WIDTH)(hidden)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=HEADS)(y, y)
        y = nn.LayerNorm()(x)
        return x + MlpBlock()(y)


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i in range(DEPTH):
            x = Layer(name=f"encoderblock_{i}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class BigVision(nn.Module):
    """`positions` [1, h * w, D] are given to init; other grids get resized ones in the parameters."""

    cls: bool

    @nn.compact
    def __call__(self, images):
        x = nn.Conv(WIDTH, (PATCH, PATCH), (PATCH, PATCH), padding="VALID", name="embedding")(images)
        x = x.reshape(len(x), -1, WIDTH)
        x = x + self.param("pos_embedding", nn.initializers.normal(0.3), (1, x.shape[1], WIDTH))
        if self.cls:
            cls = self.param("cls", nn.initializers.normal(0.3), (1, 1, WIDTH))
            x = jnp.concatenate([jnp.tile(cls, (len(x), 1, 1)), x], 1)
        return Transformer(name="Transformer")(x)[:, int(self.cls) :]


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.Conv(WIDTH, (PATCH, PATCH), (PATCH, PATCH), padding="VALID", name="embedding")(images)
        table = self.param("posembed_input", nn.initializers.normal(0.3), (1, *GRID, WIDTH))
        return (x + jax.image.resize(table, (1, *x.shape[1:]), "bilinear")).reshape(len(x), -1, WIDTH)


class Loca(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = Tokens(name="ToTokenSequence_0")(images)
        for i in range(DEPTH):
            x = Layer(name=f"encoderblock_{i}")(x)
        x = nn.LayerNorm(name="encoder_norm")(x)
        nn.Dense(4, name="position_predictor")(x)  # one of the heads that are left behind
        return x


def drawn(model: nn.Module, seed: int = 0) -> dict[str, Any]:
    """Random parameters, none of them 0 or 1."""
    params = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, SIDE, SIDE, 3)))["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.asarray(x) + rng.normal(size=x.shape).astype(np.float32) * 0.1, params)


def specimen(path: pathlib.Path, model: nn.Module, params: Any, statistics: tuple, family: str) -> Specimen:
    mean, std = (np.asarray(x, np.float32) for x in statistics)
    normalized = lambda images: (images / np.float32(255) - mean) / std

    def features(images: np.ndarray) -> np.ndarray:
        rows, columns = images.shape[1] // PATCH, images.shape[2] // PATCH
        new = dict(params)
        if "pos_embedding" in new:  # big_vision resizes them when it loads: scipy.ndimage.zoom, order 1
            cells = new["pos_embedding"].reshape(*GRID, WIDTH)
            new["pos_embedding"] = scipy.ndimage.zoom(cells, (rows / GRID[0], columns / GRID[1], 1), order=1).reshape(
                1, -1, WIDTH
            )
        out = jax.jit(model.apply)({"params": new}, normalized(images))
        return np.asarray(out).reshape(len(images), rows, columns, WIDTH)

    def outputs(images: np.ndarray) -> list[np.ndarray]:
        wanted = lambda module, _: isinstance(module, Layer) or module.name == "encoder_norm"
        run = jax.jit(lambda p, x: model.apply({"params": p}, x, capture_intermediates=wanted)[1]["intermediates"])
        found = run(params, normalized(images))
        found = found.get("Transformer", found)
        return [np.asarray(found[name]["__call__"][0]) for name in (*BLOCKS, "encoder_norm")]

    return Specimen(path, features, family, outputs)


def flat(params: Any) -> dict[str, np.ndarray]:
    return flax.traverse_util.flatten_dict(params, sep="/")


def big_vision(folder: pathlib.Path) -> Specimen:
    """SigLIP's form: under params/img/, beside a text tower, layers stacked by a scan."""
    model = BigVision(cls=False)
    params = drawn(model)
    arrays = flat(params)
    stacked = {}
    for name in [n for n in arrays if "/encoderblock_0/" in n]:
        layers = [arrays.pop(name.replace("_0/", f"_{i}/", 1)) for i in range(DEPTH)]
        stacked[name.replace("encoderblock_0", "encoderblock")] = np.stack(layers)
    arrays = {f"params/img/{n}": x for n, x in (arrays | stacked).items()}
    arrays["params/txt/Embed_0/embedding"] = np.ones((3, 4), np.float32)
    np.savez(folder / "siglip.npz", **arrays)
    return specimen(folder / "siglip.npz", model, params, HALF, "big_vision")


def vision_transformer(folder: pathlib.Path) -> Specimen:
    """AugReg's npz: the older names, and a position for [CLS] in the table."""
    model = BigVision(cls=True)
    params = drawn(model)
    names = {"MultiHeadDotProductAttention_0": "MultiHeadDotProductAttention_1", "LayerNorm_1": "LayerNorm_2"}
    names |= {"MlpBlock_0": "MlpBlock_3", "pos_embedding": "Transformer/posembed_input/pos_embedding"}
    arrays = {}
    for name, x in flat(params).items():
        for old, new in names.items():
            name = name.replace(old, new)
        arrays[name] = x
    at_cls = np.full((1, 1, WIDTH), 0.25, np.float32)
    positions = "Transformer/posembed_input/pos_embedding"
    arrays[positions] = np.concatenate([at_cls, arrays[positions]], 1)
    arrays["cls"] = arrays["cls"] - at_cls
    arrays["head/kernel"], arrays["head/bias"] = np.ones((WIDTH, 5), np.float32), np.ones(5, np.float32)
    np.savez(folder / "B_16.npz", **arrays)
    return specimen(folder / "B_16.npz", model, params, HALF, "big_vision")


def loca(folder: pathlib.Path) -> Specimen:
    """Scenic's train state in Flax msgpack, the trained network beside its moving average."""
    model = Loca()
    params, average = drawn(model), drawn(model, seed=1)
    state = {"global_step": np.int32(7), "opt_state": {"0": {"mu": params}}, "params": params, "ema_params": average}
    (folder / "checkpoint_7").write_bytes(flax.serialization.msgpack_serialize(state))
    return specimen(folder, model, params, IMAGENET, "loca")


FLAX_ZOO: dict[str, Callable[[pathlib.Path], Specimen]] = {
    "big_vision SigLIP npz": big_vision,
    "vision_transformer AugReg npz": vision_transformer,
    "LOCA": loca,
}
