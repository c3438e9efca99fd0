"""Other projects' weights as encoders, and as folders of our own.

An imported folder holds `config.json` (family, architecture, which tokens are the features) and `model.safetensors`
(arrays in our names); nothing else is needed to load it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from hummingbird import fingerprint
from hummingbird.checkpoint import versions
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.models.pretrainer import DTYPES
from hummingbird.weights import files
from hummingbird.weights.families import FAMILIES
from hummingbird.weights.mapping import Arrays
from hummingbird.weights.recognize import Found, recognize
from hummingbird.weights.vision import Architecture, Features, VisionTransformer

FORMAT = "hummingbird-weights"


@dataclasses.dataclass
class Weights:
    """An image encoder read from a file or folder.

    Attributes:
      family, layout, prefix: as in `recognize.Found`.
      arch, arrays: what to compute with; arrays in our names, flat.
      features: which tokens are the features.
      source: path that it was first read from. form: kind of file.
    """

    family: str
    layout: str
    prefix: str
    arch: Architecture
    arrays: Arrays
    features: Features
    source: str
    form: str


def load(
    path: str | os.PathLike[str],
    family: str | None = None,
    features: str | None = None,
    layers: tuple[int, ...] | None = None,
    norm: bool | None = None,
    **known: Any,
) -> Weights:
    """Reads an imported folder, or a file or folder of another project.

    Args:
      path: what to read.
      family: a name in `families.FAMILIES`; None: recognised.
      features: "tokens", "query", "key" or "value"; None: as imported, else "tokens".
      layers: layers whose features are concatenated, from the end if negative; None: as imported, else the last.
      norm: final layer norm on "tokens"; None: as imported, else yes.
      known: fields of `Architecture` that are to be taken instead of the file's.

    Raises:
      UserError: as `files.read` and `recognize.recognize` raise; a layer or kind that does not exist.
    """
    source = files.read(path)
    config = source.config.get("config.json", {})
    if config.get("format") == FORMAT:
        found = _imported(source, config, family, known)
        chosen, first, form = Features(**_tuples(config["features"])), config["source"], config["form"]
    else:
        found, chosen, first, form = recognize(source, family, **known), Features(), source.path.name, source.form
    given = {"kind": features, "layers": layers and tuple(layers), "norm": norm}
    chosen = dataclasses.replace(chosen, **{name: value for name, value in given.items() if value is not None})
    chosen.indices(found.arch.depth)
    check_shapes(source.path, found)
    return Weights(found.family, found.layout, found.prefix, found.arch, found.arrays, chosen, first, form)


def load_foreign(path: str | os.PathLike[str], dtype: str = "float32", **options: Any) -> Encoder:
    """The encoder of an imported folder or of another project's file; `options` as of `load`."""
    weights = load(path, **options)
    name = f"{pathlib.Path(path).resolve().name} ({weights.family})"
    return as_encoder(weights.arch, weights.arrays, weights.features, dtype, name)


def as_encoder(arch: Architecture, arrays: Arrays, features: Features, dtype: str, name: str) -> Encoder:
    """An `Encoder` from an architecture and arrays in our names."""
    model = VisionTransformer(arch, features, DTYPES[dtype])
    mean, std = (jnp.asarray(x, jnp.float32) for x in (arch.mean, arch.std))
    return Encoder(
        apply=lambda params, images: model.apply(params, (images - mean) / std),
        params={"params": flax.traverse_util.unflatten_dict(arrays, sep="/")},
        patch_size=arch.patch_size,
        dim=arch.width * len(features.layers),
        name=name,
        fingerprint=fingerprint.fingerprint(arrays),
    )


def check_shapes(path: pathlib.Path, found: Found) -> None:
    """Raises UserError unless the arrays are those of the architecture, by name and shape."""
    side = found.arch.patch_size
    tree = jax.eval_shape(VisionTransformer(found.arch).init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    wanted = {n: x.shape for n, x in flax.traverse_util.flatten_dict(tree["params"], sep="/").items()}
    shapes = {n: x.shape for n, x in found.arrays.items()}
    parts = (
        ("missing", sorted(wanted.keys() - shapes.keys())),
        ("unexpected", sorted(shapes.keys() - wanted.keys())),
        (
            "of the wrong shape",
            [f"{n} {list(shapes[n])} instead of {list(s)}" for n, s in wanted.items() if shapes.get(n, s) != s],
        ),
    )
    faults = "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in parts if names)
    if faults:
        raise UserError(f"{path}: its arrays do not make one {found.family} encoder; {faults}")


def import_weights(src: str, dst: str, family: str | None = None, **options: Any) -> dict[str, Any]:
    """Writes another project's file or folder `src` as a folder `dst` that needs nothing else; says what it holds.

    Raises:
      UserError: as `load` raises; `dst` exists. Nothing is left behind then.
    """
    folder = pathlib.Path(dst)
    if folder.exists():
        raise UserError(f"{dst} exists; remove it or name another folder")
    weights = load(src, family=family, **options)
    config = {
        "format": FORMAT,
        "version": 1,
        "family": weights.family,
        "layout": weights.layout,
        "prefix": weights.prefix,
        "source": weights.source,
        "form": weights.form,
        "architecture": dataclasses.asdict(weights.arch),
        "features": dataclasses.asdict(weights.features),
        "fingerprint": fingerprint.fingerprint(weights.arrays),
    }
    arrays = {name: np.ascontiguousarray(x) for name, x in weights.arrays.items()}
    with fresh_folder(folder) as temporary:
        safetensors.numpy.save_file(arrays, temporary / "model.safetensors")
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return describe(dst)


@contextlib.contextmanager
def fresh_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary folder that takes the name `path` once the block has ended well, and disappears otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `hummingbird info` says of a file or folder of weights."""
    weights = load(path)
    return {
        "kind": "weights",
        "path": str(path),
        "step": None,
        "family": weights.family,
        "about": FAMILIES[weights.family].about,
        "names": weights.layout,
        "prefix": weights.prefix,
        "form": weights.form,
        "fingerprint": fingerprint.fingerprint(weights.arrays),
        "parameters": sum(x.size for x in weights.arrays.values()),
        "bytes": sum(x.nbytes for x in weights.arrays.values()),
        "config": dataclasses.asdict(weights.arch),
        "features": dataclasses.asdict(weights.features),
        "versions": versions(),
    }


def _imported(source: files.Source, config: dict[str, Any], family: str | None, known: dict[str, Any]) -> Found:
    if family not in (None, config["family"]):
        raise UserError(f"{source.path} was imported as {config['family']}, not {family}; import the original again")
    try:
        arch = Architecture(**{**_tuples(config["architecture"]), **known})
    except TypeError as error:
        raise UserError(f"{source.path}: its config.json is of another version ({error}); import it again") from error
    if fingerprint.fingerprint(source.arrays) != config["fingerprint"]:
        raise UserError(f"{source.path}: model.safetensors is not what config.json says; import the original again")
    return Found(config["family"], config["layout"], config["prefix"], arch, source.arrays)


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
