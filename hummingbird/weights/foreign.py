"""Other projects' weights as encoders, and as folders of our own.

An imported folder holds `hummingbird.json` (family, architecture, which tokens are the features) and
`model.safetensors` (arrays in our names); nothing else is needed to load it. Exported folders hold the same file beside
weights in other names.
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

from hummingbird.errors import UserError
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.pretrainer import DTYPES
from hummingbird.run import fingerprint
from hummingbird.run.files import versions
from hummingbird.weights import files
from hummingbird.weights.convnext import ConvNeXtArchitecture
from hummingbird.weights.families import FAMILIES
from hummingbird.weights.layouts import LAYOUTS
from hummingbird.weights.mapping import Arrays, match
from hummingbird.weights.recognize import Found, recognize, split_positions
from hummingbird.weights.vision import Architecture, Features

FORMAT = "hummingbird-weights"
OWN_LAYOUT = "hummingbird"  # arrays in our names
OWN_FAMILY = "hummingbird"  # pretrained with this framework
ARCHITECTURES: dict[str, type] = {"vit": Architecture, "convnext": ConvNeXtArchitecture}


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
    arch: Architecture | ConvNeXtArchitecture
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
    own = source.config.get(files.OWN_FILE)
    if own:
        found, chosen, first, form = _ours(source, own, family, known)
    else:
        found, chosen, first, form = recognize(source, family, **known), Features(), source.path.name, source.form
    given = {"kind": features, "layers": layers and tuple(layers), "norm": norm}
    chosen = dataclasses.replace(chosen, **{name: value for name, value in given.items() if value is not None})
    found.arch.dim_of(chosen)
    check_shapes(source.path, found)
    return Weights(found.family, found.layout, found.prefix, found.arch, found.arrays, chosen, first, form)


def load_foreign(path: str | os.PathLike[str], dtype: str = "float32", **options: Any) -> FrozenEncoder:
    """The encoder of an imported folder or of another project's file; `options` as of `load`."""
    weights = load(path, **options)
    name = f"{pathlib.Path(path).resolve().name} ({weights.family})"
    return as_encoder(weights.arch, weights.arrays, weights.features, dtype, name)


def as_encoder(
    arch: Architecture | ConvNeXtArchitecture, arrays: Arrays, features: Features, dtype: str, name: str
) -> FrozenEncoder:
    """Makes an encoder from an architecture and arrays in our names."""
    model = arch.module(features, DTYPES[dtype])
    mean, std = (jnp.asarray(x, jnp.float32) for x in (arch.mean, arch.std))

    def features_of(params: Any, images: jax.Array) -> Any:
        return model.apply(params, (images - mean) / std)

    # -1 and the last layer's number are one choice.
    chosen = dataclasses.replace(features, layers=features.indices(arch.depth))
    settings = {"architecture": dataclasses.asdict(arch), "features": dataclasses.asdict(chosen), "dtype": dtype}
    return FrozenEncoder(
        apply=features_of,
        params={"params": flax.traverse_util.unflatten_dict(arrays, sep="/")},
        patch_size=arch.patch_of(features),
        dim=arch.dim_of(features),
        name=name,
        fingerprint=fingerprint.with_settings(arrays, settings),
    )


def check_shapes(path: pathlib.Path, found: Found) -> None:
    """Raises UserError unless the arrays are those of the architecture, by name and shape."""
    model, side = found.arch.module(Features(), jnp.float32), found.arch.patch_of(Features())
    tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    flat: dict[str, Any] = dict(flax.traverse_util.flatten_dict(tree["params"], sep="/"))
    wanted = {n: x.shape for n, x in flat.items()}
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
    arrays = {name: np.ascontiguousarray(x) for name, x in weights.arrays.items()}
    with fresh_folder(folder) as temporary:
        safetensors.numpy.save_file(arrays, temporary / "model.safetensors")
        write_own(temporary, weights, OWN_LAYOUT)
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


def describe(path: str | os.PathLike[str], family: str | None = None) -> dict[str, Any]:
    """What `hummingbird info` says of a file or folder of weights; `family` as of `load`."""
    weights = load(path, family)
    return {
        "kind": "weights",
        "path": str(path),
        "step": None,
        "family": weights.family,
        "about": "pretrained with Hummingbird" if weights.family == OWN_FAMILY else FAMILIES[weights.family].about,
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


def write_own(folder: pathlib.Path, weights: Weights, layout: str) -> None:
    """Writes `hummingbird.json` beside weights that are stored under the names of `layout`."""
    content = {
        "format": FORMAT,
        "version": 1,
        "family": weights.family,
        "layout": layout,
        "source": weights.source,
        "source_prefix": weights.prefix,
        "source_form": weights.form,
        "kind": "vit" if isinstance(weights.arch, Architecture) else "convnext",
        "architecture": dataclasses.asdict(weights.arch),
        "features": dataclasses.asdict(weights.features),
        "fingerprint": fingerprint.fingerprint(weights.arrays),
    }
    (folder / files.OWN_FILE).write_text(json.dumps(content, indent=2) + "\n")


def _ours(
    source: files.Source, own: dict[str, Any], family: str | None, known: dict[str, Any]
) -> tuple[Found, Features, str, str]:
    """What a folder with `hummingbird.json` holds, exactly as it was written."""
    at = f"{source.path}: its {files.OWN_FILE}"
    if own.get("format") != FORMAT:
        raise UserError(f"{at} is not of this program; remove it or import the original again")
    try:
        arch = ARCHITECTURES[own["kind"]](**_tuples(own["architecture"]))
        features = Features(**_tuples(own["features"]))
        layout, of_family = own["layout"], own["family"]
        origin = own["source_prefix"], own["source"], own["source_form"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{at} is of another version ({error}); import the original again") from error
    if family not in (None, of_family):
        raise UserError(f"{source.path} is of family {of_family}, not {family}; import the original again")
    arrays = source.arrays if layout == OWN_LAYOUT else from_layout(source, layout, arch)
    if fingerprint.fingerprint(arrays) != own["fingerprint"]:
        raise UserError(f"{at} does not describe the arrays beside it; import the original again")
    prefix, first, form = origin
    return Found(of_family, layout, prefix, dataclasses.replace(arch, **known), arrays), features, first, form


def from_layout(source: files.Source, layout: str, arch: Any) -> Arrays:
    """Arrays of an exported folder in our names."""
    if layout not in LAYOUTS:
        raise UserError(f"{source.path}: its names {layout!r} are not known; export it again")
    arrays = match(LAYOUTS[layout], {n.removeprefix("params/"): x for n, x in source.arrays.items()}).arrays
    if arch.positions == "learned":
        split_positions(source, arrays, arch.grid)
    else:
        arrays.pop("positions", None)  # written out for readers that compute none
    return arrays


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
