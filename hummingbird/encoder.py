"""Encoders for evaluation: whatever a path or a name stands for, as one function of images.

An encoder is any callable `images uint8 [B, H, W, 3] -> features float32 [B, h, w, D]` with an attribute `patch_size`.
A PyTorch model, for example, needs no more than this to be scored:

    class Mine:
        patch_size, name = 16, "mine"

        @torch.no_grad()
        def __call__(self, images):
            x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - MEAN) / STD
            tokens = model.forward_features(x)[:, 1:]                       # [B, h * w, D]
            side = images.shape[1] // self.patch_size
            return tokens.reshape(len(x), side, -1, tokens.shape[-1]).numpy()

    hb.retrieval.evaluate(Mine(), config, "runs/mine")
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from hummingbird import config as configs
from hummingbird.config.evaluate import FrozenEncoder
from hummingbird.config.schema import unflatten
from hummingbird.errors import UserError
from hummingbird.models.frozen import Encoder
from hummingbird.models.pretrainer import DTYPES, build_pretrainer, patch_features
from hummingbird.models.vit import ViT, build_vit, normalize, patchify, to_grid
from hummingbird.run import checkpoint, fingerprint

RANDOM_INPUT = 224  # input size that the positions of `random:NAME` are stored for


def build_encoder(path: str, settings: FrozenEncoder) -> Encoder:
    """The encoder at `path` as an evaluation config's `encoder` group asks for it."""
    foreign = {name: getattr(settings, name) for name in ("family", "features", "layers", "norm", "heads")}
    asked = {name: value for name, value in foreign.items() if value not in (None, ())}
    return load_encoder(path, settings.network, settings.dtype, **asked)


def load_encoder(path: str, network: str = "online", dtype: str = "float32", **foreign: Any) -> Encoder:
    """The encoder that a path or a name stands for.

    Args:
      path: a training workdir or one of its step folders, an imported folder or weights file of another project,
        `random:vit_s16` (weights drawn, never trained), `random:WORKDIR` (a run's architecture, weights drawn), or
        `rgb:PATCH` (the raw pixels of each patch).
      network: "online" or "target", for training checkpoints.
      dtype: "float32" or "bfloat16", how it computes.
      foreign: for files of other projects: family, features, layers, norm, ... as of `hummingbird.weights.load`.

    Raises:
      UserError: there is nothing at the path, or it is not an encoder.
    """
    kind, _, rest = str(path).partition(":")
    if foreign and (kind in NAMED or checkpoint.is_training(path)):
        raise UserError(f"encoder.{next(iter(foreign))} is for files of other projects; leave it out for {path}")
    if kind in NAMED:
        return NAMED[kind](rest, network, dtype)
    if not epath.Path(path).exists():
        raise UserError(
            f"checkpoint {path} does not exist; give a training workdir, an imported folder, a weights file, "
            "random:vit_s16 or rgb:16"
        )
    if checkpoint.is_training(path):
        return load_trained(path, network, dtype)
    from hummingbird import weights  # other projects' files; may need torch

    return weights.load_foreign(str(path), dtype=dtype, **foreign)


def load_trained(path: str, network: str, dtype: str) -> Encoder:
    """The encoder of a training workdir (its newest sound step) or of one step folder."""
    wanted = lambda name: name.startswith((f"{network}.", f"{network}_stats.", "bank.keys"))
    folder, manifest, arrays = checkpoint.load_newest(path, wanted=wanted)
    config = configs.of_run(manifest["config"], dtype=dtype)
    model = build_pretrainer(config)
    tree = unflatten(arrays)
    variables = {"params": tree[network], "batch_stats": tree[f"{network}_stats"]}
    keys = arrays.get("bank.keys", np.zeros((0, 1, model.encoder.width), np.float32))
    size = model.encoder.patch_size

    def features(params: Any, images: jax.Array) -> jax.Array:
        return patch_features(model, params["model"], images)

    def attention(params: Any, images: jax.Array) -> jax.Array:
        def run(module: Any, images: jax.Array, keys: jax.Array) -> jax.Array:
            c, _ = module.contextualized(module.encode(images).patches, keys, module.values(keys, train=False))
            return module.pool(c)[1]

        masks: Any = model.apply(params["model"], images, params["keys"], method=run)
        return to_grid(masks, images, size)

    own = {name: x for name, x in arrays.items() if name.startswith(f"{network}.encoder.")}
    return Encoder(
        apply=features,
        params={"model": variables, "keys": keys},
        patch_size=size,
        dim=model.encoder.width,
        name=f"{folder.parent.parent.name} step {manifest['step']} ({network})",
        fingerprint=fingerprint.with_settings(own, _settings(model.encoder)),
        attend=attention if config.pooling in ("qkv", "qk") else None,
    )


def _random(name: str, network: str, dtype: str) -> Encoder:
    """An encoder with drawn weights: of a named size, or of the architecture of a training run."""
    if epath.Path(name).exists() and checkpoint.is_training(name):
        _, manifest, _ = checkpoint.load_newest(name, wanted=lambda _: False)
        config = configs.of_run(manifest["config"], dtype=dtype)
        vit, shown = build_pretrainer(config).encoder, manifest["config"]["encoder.name"]
    else:
        vit, shown = build_vit({"name": name}, RANDOM_INPUT, DTYPES[dtype]), name
    side = vit.grid[0] * vit.patch_size
    params = jax.jit(vit.init)(jax.random.key(0), jnp.zeros((1, side, side, 3)))
    return wrap_vit(vit, params, f"random {shown}")


def wrap_vit(vit: ViT, params: Any, name: str) -> Encoder:
    """An `Encoder` of a Flax ViT that is fed ImageNet-normalised images."""

    def features(params: Any, images: jax.Array) -> jax.Array:
        tokens: Any = vit.apply(params, normalize(images))
        return to_grid(tokens.patches, images, vit.patch_size)

    arrays = {jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(params)}
    return Encoder(
        apply=features,
        params=params,
        patch_size=vit.patch_size,
        dim=vit.width,
        name=name,
        fingerprint=fingerprint.with_settings(arrays, _settings(vit)),
    )


def _settings(vit: ViT) -> dict[str, Any]:
    """What beside its arrays decides the features of a ViT."""
    settings: dict[str, Any] = {name: getattr(vit, name) for name in ("patch_size", "heads", "grid", "positions")}
    return settings | {"dtype": jnp.dtype(vit.dtype).name}


def _rgb(patch: str, network: str, dtype: str) -> Encoder:
    """Raw pixels: each patch is its own feature, [-1, 1] so that the cosine sees dark and bright as opposites."""
    if not patch.isdigit() or int(patch) < 1:
        raise UserError(f"checkpoint rgb:{patch}: give the patch size, for example rgb:16")
    size = int(patch)
    return Encoder(
        apply=lambda params, images: patchify(2 * images - 1, size),
        params={},
        patch_size=size,
        dim=3 * size * size,
        name=f"raw RGB patches of {size} px",
        fingerprint=f"rgb{size}",
    )


NAMED = {"random": _random, "rgb": _rgb}
