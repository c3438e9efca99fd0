"""Our own encoders: training checkpoints, random weights, and raw pixels as a baseline."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from hummingbird import config as configs
from hummingbird.errors import UserError
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.pretrainer import DTYPES, build_pretrainer, patch_features
from hummingbird.models.vit import ViT, build_vit, normalize, patchify, to_grid
from hummingbird.run import checkpoint, fingerprint

RANDOM_INPUT = 224  # input size that the positions of `random:NAME` are stored for


def load_trained(path: str, network: str, dtype: str) -> FrozenEncoder:
    """Loads the encoder of a training workdir (its newest valid step) or of one step folder."""
    wanted = lambda name: name.startswith((f"{network}.", f"{network}_stats.", "bank.keys"))
    folder, manifest, arrays = checkpoint.load_newest(path, wanted=wanted)
    config = configs.of_run(manifest["config"], dtype=dtype)
    model = build_pretrainer(config)
    tree = traverse_util.unflatten_dict(arrays, sep=".")
    variables = {"params": tree[network], "batch_stats": tree[f"{network}_stats"]}
    keys = arrays.get("bank.keys", np.zeros((0, 1, model.encoder.width), np.float32))
    size = model.encoder.patch_size

    def features(params: Any, images: jax.Array) -> jax.Array:
        return patch_features(model, params["model"], images)

    def attention(params: Any, images: jax.Array) -> jax.Array:
        def run(module: Any, images: jax.Array, keys: jax.Array) -> jax.Array:
            c, _ = module.contextualise(module.encode(images).patches, keys, module.values(keys, train=False))
            return module.pool(c)[1]

        masks: Any = model.apply(params["model"], images, params["keys"], method=run)
        return to_grid(masks, images, size)

    own = {name: x for name, x in arrays.items() if name.startswith(f"{network}.encoder.")}
    return FrozenEncoder(
        apply=features,
        params={"model": variables, "keys": keys},
        patch_size=size,
        dim=model.encoder.width,
        name=f"{folder.parent.parent.name} step {manifest['step']} ({network})",
        fingerprint=fingerprint.with_settings(own, _settings(model.encoder)),
        attend=attention if config.pooling in ("qkv", "qk") else None,
    )


def _random(name: str, dtype: str) -> FrozenEncoder:
    """Makes an encoder with random weights, of a named size or in the architecture of a training run."""
    if epath.Path(name).exists() and checkpoint.is_training(name):
        _, manifest, _ = checkpoint.load_newest(name, wanted=lambda _: False)
        config = configs.of_run(manifest["config"], dtype=dtype)
        vit, shown = build_pretrainer(config).encoder, manifest["config"]["encoder.name"]
    else:
        vit, shown = build_vit({"name": name}, RANDOM_INPUT, DTYPES[dtype]), name
    side = vit.grid[0] * vit.patch_size
    params = jax.jit(vit.init)(jax.random.key(0), jnp.zeros((1, side, side, 3)))
    return wrap_vit(vit, params, f"random {shown}")


def wrap_vit(vit: ViT, params: Any, name: str) -> FrozenEncoder:
    """Freezes a Flax ViT that takes ImageNet-normalised images."""

    def features(params: Any, images: jax.Array) -> jax.Array:
        tokens: Any = vit.apply(params, normalize(images))
        return to_grid(tokens.patches, images, vit.patch_size)

    arrays = {jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(params)}
    return FrozenEncoder(
        apply=features,
        params=params,
        patch_size=vit.patch_size,
        dim=vit.width,
        name=name,
        fingerprint=fingerprint.with_settings(arrays, _settings(vit)),
    )


def _settings(vit: ViT) -> dict[str, Any]:
    """Lists what determines the features of a ViT besides its arrays."""
    settings: dict[str, Any] = {name: getattr(vit, name) for name in ("patch_size", "heads", "grid", "positions")}
    return settings | {"dtype": jnp.dtype(vit.dtype).name}


def _rgb(patch: str, dtype: str) -> FrozenEncoder:
    """Makes each patch its own feature: pixels in [-1, 1], so that dark and bright are opposites for the cosine."""
    if not patch.isdigit() or int(patch) < 1:
        raise UserError(f"checkpoint rgb:{patch}: give the patch size, for example rgb:16")
    size = int(patch)
    return FrozenEncoder(
        apply=lambda params, images: patchify(2 * images - 1, size),
        params={},
        patch_size=size,
        dim=3 * size * size,
        name=f"raw RGB patches of {size} px",
        fingerprint=f"rgb{size}",
    )


NAMED = {"random": _random, "rgb": _rgb}
