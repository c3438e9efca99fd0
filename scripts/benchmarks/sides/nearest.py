"""Part 3 of `scripts/bench pretrain`: how close attention to the nearest entries is to attention to all entries."""

from __future__ import annotations

import argparse
import functools
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from hummingbird import config as settings
from hummingbird.data import augment, crops
from hummingbird.models.bank_attention import build_bank_attention
from hummingbird.models.context import l2_normalize, unit_keys
from hummingbird.models.pretrainer import Pretrainer, build_pretrainer, patch_features
from hummingbird.run import checkpoint

NEAREST = (1, 8, 30, 128)
CROPS_AT_A_TIME = 128


def measure_neighbours(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the distances between both attentions, a row for each k; see `scripts/benchmarks/pretrain.py`."""
    _, manifest, arrays = checkpoint.load_newest(options.checkpoint)
    config = settings.of_run(manifest["config"], **{"context.neighbours": 0})
    tree, model = traverse_util.unflatten_dict(arrays, sep="."), build_pretrainer(config)
    online, target = ({"params": tree[n], "batch_stats": tree[f"{n}_stats"]} for n in ("online", "target"))
    files = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if len(files) < 10:
        sys.exit(f"bench: {options.images} holds {len(files)} JPEGs; give a folder with at least 10 in --images")
    held_out = files[::5]
    known = [path for path in files if path not in set(held_out)]
    encode = jax.jit(lambda variables, x: patch_features(model, variables, x))
    first = photographs(known, options.entries, config, seed=0)[:, 0]
    keys = np.concatenate([np.asarray(encode(target, x)).mean((1, 2)) for x in in_parts(first)])
    others = photographs(held_out, options.queries // 16, config, seed=1)[:, 1]
    tokens = np.concatenate([np.asarray(encode(online, x)) for x in in_parts(others)])
    tokens = tokens.reshape(-1, tokens.shape[-1])
    q = jnp.asarray(np.random.default_rng(0).permutation(tokens)[: options.queries])
    gradient = jax.random.normal(jax.random.key(0), q.shape)

    @functools.partial(jax.jit, static_argnums=0)
    def compiled(k: int, *arrays: Any) -> tuple[Any, ...]:
        with_k = settings.of_run(manifest["config"], **{"context.neighbours": k}).context
        return contextualised(model.clone(bank_attention=build_bank_attention(with_k)), *arrays)

    read = lambda k: compiled(k, online, q, keys[:, None], gradient)
    beta = config.context.temperature
    weights = jnp.sort(jax.nn.softmax(l2_normalize(q) @ l2_normalize(jnp.asarray(keys)).T / beta))[:, ::-1]
    full = read(0)
    far = lambda x, y: float(jnp.mean(jnp.linalg.norm(x - y, axis=-1) / jnp.linalg.norm(y, axis=-1)))
    near = lambda x, y: float(jnp.mean(jnp.sum(l2_normalize(x) * l2_normalize(y), axis=-1)))
    rows = {}
    for k in NEAREST:
        c, vhat, through_c, through_vhat = read(k)
        rows[k] = {
            "contextualised": far(c, full[0]),
            "attended": far(vhat, full[1]),
            "mass": float(weights[:, :k].sum(axis=1).mean()),
            "gradient_cosine": near(through_c, full[2]),
            "attended_gradient_cosine": near(through_vhat, full[3]),
        }
    return {
        "trained": {"width": model.encoder.width, "on": config.data.name, "steps": manifest["step"]},
        "photographs": len(files),
        "entries": len(np.unique(keys, axis=0)),
        "queries": len(q),
        "temperature": beta,
        "entropy_nats": float(-jnp.sum(weights * jnp.log(weights + 1e-30), axis=1).mean()),
        "k": rows,
    }


def contextualised(model: Pretrainer, variables: Any, q: Any, keys: Any, gradient: Any) -> tuple[Any, ...]:
    """Returns c, vhat, and the gradients of q [T, D] for a gradient [T, D] of c and of vhat."""

    def run(module: Pretrainer, q: Any) -> tuple[Any, Any]:
        values = module.values(jnp.asarray(keys))
        unit = unit_keys(jnp.asarray(keys), values.dtype)
        return module.contextualise(q[None], unit, values)[0][0], module.bank_attention(l2_normalize(q), unit, values)

    apply = lambda q: model.apply(variables, q, method=run, mutable=["batch_stats"])[0]
    (c, read), back = jax.vjp(apply, q)
    none = jax.tree.map(jnp.zeros_like, read)
    through_vhat = back((jnp.zeros_like(c), none._replace(output=gradient)))[0]
    return c, read.output, back((gradient, none))[0], through_vhat


def photographs(files: list[pathlib.Path], count: int, config: Any, seed: int) -> np.ndarray:
    """Returns pairs of augmented crops, equally many from each file: float32 [count, 2, S, S, 3]."""
    table, pairs = config.augment, -(-count // len(files))
    area, aspect = tuple(table.crop_area), tuple(table.crop_aspect)
    views = []
    for i, path in enumerate(files):
        rng = np.random.default_rng([seed, i])
        cut = crops.crop_views(rng, path.read_bytes(), config.input_size, area, aspect, name=path.name, views=2 * pairs)
        views.append(cut.reshape(pairs, 2, *cut.shape[1:]))
    mixed = np.random.default_rng(seed).permutation(np.concatenate(views))[:count]
    shown = jax.jit(augment.photometric, static_argnums=2)
    options = augment.build_photometric(config)
    parts = [shown(jax.random.key(seed * 1000 + i), part, options) for i, part in enumerate(in_parts(mixed))]
    return np.concatenate(parts)


def in_parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[i : i + CROPS_AT_A_TIME] for i in range(0, len(x), CROPS_AT_A_TIME)]
