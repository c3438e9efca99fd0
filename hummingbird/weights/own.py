"""Our own encoders: training checkpoints, random weights, and raw pixels as a baseline."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import Array
from jaxtyping import Float

from hummingbird import config as configs
from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture, build_architecture
from hummingbird.models.backbone import ARITHMETIC, Backbone, Images, Output, to_unit
from hummingbird.models.context import unit_keys
from hummingbird.models.frozen import FrozenEncoder, Pooling
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.params import Params, leaf, subtree
from hummingbird.models.pretrainer import Pretrainer, build_pretrainer
from hummingbird.models.vit import ViT, patchify, to_grid, unstacked
from hummingbird.run import checkpoint
from hummingbird.weights.foreign import as_encoder
from hummingbird.weights.mapping import Arrays

RANDOM_INPUT = 224  # input size that the positions of `random:NAME` are stored for


def load_trained(path: str, network: str, dtype: str) -> FrozenEncoder:
    """Loads the encoder of a training workdir (its newest valid step) or of one step folder."""
    wanted = lambda name: name.startswith((f"{network}.", f"{network}_stats.", "bank.keys", "bank.values"))
    folder, manifest, arrays = checkpoint.load_pretrained(path, wanted=wanted)
    check_network(arrays, network, path)
    config = configs.of_run(manifest["config"], dtype=ARITHMETIC[dtype].dtype)
    model = build_pretrainer(config)
    stem = f"{network}.encoder."
    found = {name.removeprefix(stem): x for name, x in arrays.items() if name.startswith(stem)}
    name = f"{folder.parent.parent.name} step {manifest['step']} ({network})"
    encoder = as_encoder(FrozenViT(model.encoder.arch, dtype=dtype), own_arrays(found, model.encoder.arch), name)
    if config.pooling not in ("qkv", "qk"):
        return encoder
    tree = flax.traverse_util.unflatten_dict(arrays, sep=".")
    keys = arrays.get("bank.keys", np.zeros((0, 1, model.encoder.width), np.float32))
    params = {"params": tree[network], "batch_stats": tree.get(f"{network}_stats", {}), "keys": keys}
    if "bank.values" in arrays:
        params["values"] = arrays["bank.values"]
    apply, vectors = (functools.partial(function, model) for function in (_pooling_weights, _pooled))
    return dataclasses.replace(encoder, pooling=Pooling(apply, params, vectors))


def _pooling_weights(model: Pretrainer, params: Params, images: Images) -> Float[Array, "B h w"]:
    """Returns the weights of attention pooling (Eq. 3)."""
    return to_grid(_pool(model, params, images)[1], images, model.encoder.patch_size)


def _pooled(model: Pretrainer, params: Params, images: Images) -> Float[Array, "B D"]:
    """Returns the pooled vectors (Eq. 3)."""
    return _pool(model, params, images)[0]


def _pool(model: Pretrainer, params: Params, images: Images) -> tuple[Float[Array, "B D"], Float[Array, "B N"]]:
    """Contextualises the tokens of images with the run's bank and pools them: vectors and weights."""
    keys, variables = leaf(params, "keys"), {name: subtree(params, name) for name in ("params", "batch_stats")}
    bound = model.bind(variables)
    values = leaf(params, "values").astype(model.dtype) if "values" in params else bound.values(keys, train=False)
    context, _ = bound.contextualise(bound.encode(to_unit(images)).patches, unit_keys(keys, model.dtype), values)
    return bound.pool(context)


def own_arrays(arrays: Mapping[str, Array | np.ndarray], arch: Architecture) -> Arrays:
    """Arrays of a run's encoder ("block_00.norm1.scale", layers possibly scanned) in the names of imported folders.

    A token for masked patches is left out: only training uses it.
    """
    params = unstacked(flax.traverse_util.unflatten_dict(arrays, sep="."), arch.depth)
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {name: np.asarray(x) for name, x in flat.items() if name != "mask_token"}


def check_network(arrays: Mapping[str, np.ndarray], network: str, path: str) -> None:
    """Raises UserError if a training checkpoint holds no such network: not every objective has a target."""
    if not any(name.startswith(f"{network}.") for name in arrays):
        raise UserError(f"{path} has no {network} network; its objective trains without one, use online")


def random_encoder(name: str, dtype: str) -> FrozenEncoder:
    """Makes an encoder with random weights, of a named size or in the architecture of a training run."""
    if epath.Path(name).exists() and checkpoint.is_training(name):
        _, manifest, _ = checkpoint.load_pretrained(name, wanted=lambda _: False)
        arch = build_pretrainer(configs.of_run(manifest["config"])).encoder.arch
        shown = manifest["config"]["encoder.name"]
    else:
        arch, shown = build_architecture({"name": name}, RANDOM_INPUT), name
    return frozen_vit(arch, random_params(arch), f"random {shown}", dtype)


def random_params(arch: Architecture) -> Params:
    """Draws the parameters of an encoder, the same ones each time."""
    images = jnp.zeros((1, arch.patch_size, arch.patch_size, 3))
    return jax.jit(ViT(arch).init)(jax.random.key(0), images)["params"]


def frozen_vit(arch: Architecture, params: Params, name: str, dtype: str = "float32") -> FrozenEncoder:
    """Freezes a ViT with layers one by one in `params` (`vit.unstacked`)."""
    arrays = {name: np.asarray(x) for name, x in flax.traverse_util.flatten_dict(params, sep="/").items()}
    return as_encoder(FrozenViT(arch, dtype=dtype), arrays, name)


@dataclasses.dataclass(frozen=True)
class RawPixels(Backbone):
    """Each patch is its own feature: pixels in [-1, 1], so that dark and bright are opposites for the cosine."""

    side: int

    def __str__(self) -> str:
        return "a grid of raw pixels"

    @property
    def patch_size(self) -> int:
        return self.side

    @property
    def dim(self) -> int:
        return 3 * self.side**2

    def features(self, params: Params, images: Images) -> Output:
        return Output(patchify(2 * to_unit(images) - 1, self.patch_size), None)


def raw_pixels(patch: str, dtype: str) -> FrozenEncoder:
    """Makes the baseline `rgb:PATCH`."""
    if not patch.isdigit() or int(patch) < 1:
        raise UserError(f"checkpoint rgb:{patch}: give the patch size, for example rgb:16")
    return FrozenEncoder(RawPixels(int(patch)), {}, f"raw RGB patches of {patch} px", f"rgb{int(patch)}")


# KIND in a checkpoint's name KIND:REST -> encoder of REST and a dtype
NAMED = {"random": random_encoder, "rgb": raw_pixels}
