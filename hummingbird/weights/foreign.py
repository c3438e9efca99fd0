"""Other projects' weights, and folders of our own, as encoders."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from typing_extensions import Unpack

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import LAST_LAYER, Features
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.staged import FrozenStages, StagedArchitecture
from hummingbird.run import fingerprint
from hummingbird.run.files import Json, versions
from hummingbird.weights import files, folders, hub, shipped
from hummingbird.weights.assemble import Found
from hummingbird.weights.families import FAMILIES
from hummingbird.weights.folders import Weights
from hummingbird.weights.mapping import Arrays
from hummingbird.weights.options import Options
from hummingbird.weights.recognize import recognize
from hummingbird.weights.settings import Settings


def load(
    path: str | os.PathLike[str],
    family: str | None = None,
    features: str | None = None,
    layers: tuple[int, ...] | None = None,
    norm: bool | None = None,
    prefix: str | None = None,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> Weights:
    """Reads an imported folder, or another project's file or folder.

    Args:
      path: what to read: a path, a name on the hub (`hub.parse`), or the name of a shipped encoder (`shipped.find`).
      family: a name in `families.FAMILIES`; None: detected.
      features: "tokens", "query", "key" or "value"; None: as imported, else "tokens".
      layers: layers to concatenate, counted from 0 or, if negative, from the end; None: as imported, else the last.
      norm: whether "tokens" pass through the final layer norm; None: as imported, else yes.
      prefix: of the arrays' names, to choose among several networks in a file, for example "state_dict"; None: the
        network that its authors evaluate.
      heads, grid, mean, std: as in `Architecture`; None: those of the file and family.

    Raises:
      UserError: as `hub.fetch`, `files.read` and `recognize` raise; a layer or kind of features that does not exist.
    """
    source = hub.read(str(path)) if hub.is_hub(path) else files.read(shipped.find(path))
    given = Settings(heads, grid, mean, std)
    if files.OWN_FILE in source.config:
        if prefix is not None:
            raise UserError(f"{path} was written by hummingbird and holds one network; leave the prefix out")
        weights = folders.read_own(source, family, given)
    else:
        found = recognize(source, family, prefix, given)
        weights = Weights(**vars(found), features=LAST_LAYER, source=source.path.name, form=source.form)
    if source.origin:
        weights = dataclasses.replace(weights, source=source.origin.name, commit=source.origin.commit)
    changes = {"kind": features, "layers": tuple(layers) if layers is not None else None, "norm": norm}
    changes = {name: value for name, value in changes.items() if value is not None}
    weights = dataclasses.replace(weights, features=dataclasses.replace(weights.features, **changes))
    backbone_of(weights.arch, weights.features)  # refuses features that the backbone does not have
    check_shapes(source.path, weights)
    return weights


def load_foreign(path: str | os.PathLike[str], dtype: str = "float32", **options: Unpack[Options]) -> FrozenEncoder:
    """Loads the encoder in an imported folder or in another project's file.

    Args:
      path: what to read.
      dtype: "float32", "tf32" or "bfloat16"; `hummingbird.models.backbone.ARITHMETIC` explains them.
      options: as in `load`.
    """
    weights = load(path, **options)
    name = hub.parse(str(path)).repository if hub.is_hub(path) else pathlib.Path(path).resolve().name
    backbone = backbone_of(weights.arch, weights.features, dtype)
    encoder = as_encoder(backbone, weights.arrays, f"{name} ({weights.family})")
    return dataclasses.replace(encoder, source=weights.source, commit=weights.commit)


def backbone_of(
    arch: Architecture | StagedArchitecture, features: Features = LAST_LAYER, dtype: str = "float32"
) -> FrozenViT | FrozenStages:
    """Returns the backbone of an architecture that gives these features.

    Raises:
      UserError: it does not have them.
    """
    if isinstance(arch, Architecture):
        return FrozenViT(arch, features, dtype=dtype)
    return arch.backbone(features, dtype)


def as_encoder(backbone: FrozenViT | FrozenStages, arrays: Arrays, name: str) -> FrozenEncoder:
    """Makes an encoder from a backbone and arrays in our names, flat ("block_00/norm1/scale")."""
    chosen = dataclasses.replace(
        backbone.chosen, layers=backbone.chosen.indices(backbone.depth)
    )  # -1 is the last layer
    settings = {
        "architecture": dataclasses.asdict(backbone.arch),
        "features": dataclasses.asdict(chosen),
        "dtype": backbone.dtype,
    }
    params = flax.traverse_util.unflatten_dict(arrays, sep="/")
    return FrozenEncoder(backbone, params, name, fingerprint.with_settings(arrays, settings))


def check_shapes(path: pathlib.Path, found: Found) -> None:
    """Compares arrays with those of their architecture, by name and shape.

    Raises:
      UserError: they differ.
    """
    backbone = backbone_of(found.arch)
    images = jnp.zeros((1, backbone.patch_size, backbone.patch_size, 3))
    tree = jax.eval_shape(backbone.module().init, jax.random.key(0), images)["params"]
    wanted = {"/".join(key.key for key in keys): leaf.shape for keys, leaf in jax.tree.leaves_with_path(tree)}
    shapes = {name: x.shape for name, x in found.arrays.items()}
    wrong = [f"{n} {list(shapes[n])} instead of {list(s)}" for n, s in wanted.items() if shapes.get(n, s) != s]
    parts = {
        "missing": sorted(wanted.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - wanted.keys()),
        "of the wrong shape": wrong,
    }
    if faults := "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in parts.items() if names):
        raise UserError(f"{path}: its arrays do not make one {found.family} encoder; {faults}")


def import_weights(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], **options: Unpack[Options]
) -> dict[str, Json]:
    """Writes another project's file or folder `src` as a folder `dst` that needs nothing else.

    Args:
      src: what to read.
      dst: must not exist; appears only when it is complete.
      options: as in `load`.

    Returns:
      What `describe` says of `dst`.

    Raises:
      UserError: as `load` raises; `dst` exists or cannot be written.
    """
    folder = pathlib.Path(os.path.expanduser(dst))
    if folder.exists():
        raise UserError(f"{dst} exists; remove it or name another folder")
    weights = load(src, **options)
    arrays = {name: np.ascontiguousarray(x) for name, x in weights.arrays.items()}
    with folders.fresh_folder(folder) as temporary:
        safetensors.numpy.save_file(arrays, temporary / "model.safetensors")
        folders.write_own(temporary, weights, folders.OWN_LAYOUT)
    return describe(folder)


def describe(path: str | os.PathLike[str], family: str | None = None) -> dict[str, Json]:
    """Describes a file or folder of weights, as `hummingbird info` prints it; `family` as in `load`."""
    weights = load(path, family)
    own = weights.family == folders.OWN_FAMILY
    return {
        "kind": "weights",
        "path": str(path),
        "step": None,
        "family": weights.family,
        "about": "pretrained with Hummingbird" if own else FAMILIES[weights.family].about,
        "names": weights.layout,
        "prefix": weights.prefix,
        "form": weights.form,
        "source": weights.source,
        "commit": weights.commit,
        "fingerprint": fingerprint.fingerprint(weights.arrays),
        "parameters": sum(x.size for x in weights.arrays.values()),
        "bytes": sum(x.nbytes for x in weights.arrays.values()),
        "config": dataclasses.asdict(weights.arch),
        "features": dataclasses.asdict(weights.features),
        "versions": versions(),
    }
