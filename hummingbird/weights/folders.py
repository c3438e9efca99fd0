"""Folders of our own: imported ones, which need nothing else, and exported ones, which others can load as well.

Such a folder holds `hummingbird.json` (family, architecture, which tokens are the features) and the weights:
`model.safetensors` in our names if imported, else in another project's form and names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from safetensors import SafetensorError

from hummingbird.errors import UserError, first_line
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import Features
from hummingbird.models.staged import StagedArchitecture
from hummingbird.run import fingerprint
from hummingbird.run.files import Json, write_json
from hummingbird.weights import files, staged
from hummingbird.weights.assemble import Found, split_positions
from hummingbird.weights.layouts import LAYOUTS
from hummingbird.weights.mapping import Arrays, match
from hummingbird.weights.settings import Settings

FORMAT = "hummingbird-weights"
OWN_LAYOUT = "hummingbird"  # arrays in our names
OWN_FAMILY = "hummingbird"  # pretrained with this framework
ARCHITECTURES: dict[str, type[Architecture | StagedArchitecture]] = {
    "vit": Architecture,
    **{name: kind.architecture for name, kind in staged.KINDS.items()},
}


@dataclasses.dataclass
class Weights(Found):
    """An image encoder read from a file or folder.

    Attributes:
      features: which tokens are the features.
      source: name of the file or folder that it was first read from, or its name on the hub.
      form: kind of file that it was first read from.
      commit: that of its name on the hub; None: it was not read from there.
    """

    features: Features
    source: str
    form: str
    commit: str | None = None


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
        "source_commit": weights.commit,
        "kind": staged.kind_of(weights.arch),
        "architecture": dataclasses.asdict(weights.arch),
        "features": dataclasses.asdict(weights.features),
        "fingerprint": fingerprint.fingerprint(weights.arrays),
    }
    write_json(folder / files.OWN_FILE, content)


def read_own(source: files.Source, family: str | None, given: Settings) -> Weights:
    """Reads a folder with `hummingbird.json`, exactly as it was written.

    Args:
      source: the folder's content.
      family: the expected one; None: any.
      given: settings that replace those stored.

    Raises:
      UserError: another program or version wrote the file, or the arrays are not those that it describes.
    """
    own, at = source.config[files.OWN_FILE], f"{source.path}: its {files.OWN_FILE}"
    if own.get("format") != FORMAT:
        raise UserError(f"{at} was not written by hummingbird; remove it or import the original again")
    try:
        arch = ARCHITECTURES[str(own["kind"])](**_fields(own["architecture"]))
        features = Features(**_fields(own["features"]))
        layout, of_family = str(own["layout"]), str(own["family"])
        prefix, first, form = (str(own[name]) for name in ("source_prefix", "source", "source_form"))
    except (KeyError, TypeError) as error:
        raise UserError(f"{at} was written by another version ({error}); import the original again") from error
    if family not in (None, of_family):
        raise UserError(f"{source.path} is of family {of_family}, not {family}; import the original again")
    arrays = source.arrays if layout == OWN_LAYOUT else _from_layout(source, layout, arch)
    if fingerprint.fingerprint(arrays) != own["fingerprint"]:
        raise UserError(f"{at} does not describe the arrays beside it; import the original again")
    if isinstance(arch, Architecture):
        arch = dataclasses.replace(arch, **given.known())
    else:
        arch = staged.replaced(source.path, arch, given)
    commit = str(own["source_commit"]) if own.get("source_commit") else None
    return Weights(of_family, layout, prefix, arch, arrays, features, first, form, commit)


@contextlib.contextmanager
def fresh_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that takes the name `path` once the block has succeeded, and disappears otherwise.

    Raises:
      UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        temporary.mkdir()
        try:
            yield temporary
            for file in filter(pathlib.Path.is_file, temporary.iterdir()):  # safetensors makes its own files private
                file.chmod(temporary.stat().st_mode & 0o666)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except (OSError, SafetensorError) as error:
        if isinstance(error, SafetensorError) and "I/O error" not in str(error):
            raise
        problem = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{path} cannot be written ({problem}); make room there or choose another folder") from error


def _from_layout(source: files.Source, layout: str, arch: Architecture | StagedArchitecture) -> Arrays:
    """Returns the arrays of an exported folder in our names."""
    if layout not in LAYOUTS or not isinstance(arch, Architecture):
        raise UserError(f"{source.path}: its names {layout!r} are not known; export it again")
    arrays = match(LAYOUTS[layout], {n.removeprefix("params/"): x for n, x in source.arrays.items()}).arrays
    if arch.positions == "learned":
        split_positions(source.path, arrays, arch.grid)
    else:
        arrays.pop("positions", None)  # written out for readers that compute none
    return arrays


def _fields(stored: Json) -> dict[str, Any]:
    """Returns fields of a dataclass from JSON, which stores its tuples as lists.

    Raises:
      TypeError: they are no JSON object.
    """
    if not isinstance(stored, Mapping):
        raise TypeError("fields are not an object")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
