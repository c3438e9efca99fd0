"""Reads arrays from the files that projects publish, without ever running code that a file brings along.

`read` goes by the content, not by the suffix: safetensors (one file or shards), npz, PyTorch files, TorchScript
archives, Flax msgpack, Orbax folders, and folders of Hugging Face, timm or OpenCLIP.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Collection, Mapping
from typing import Any

import ml_dtypes  # gives NumPy the bfloat16 that safetensors asks for
import numpy as np

from hummingbird.errors import UserError, first_line
from hummingbird.run.files import Json
from hummingbird.weights.pytorch import read_pytorch, to_numpy
from hummingbird.weights.torchscript import MoreThanArraysError, is_torchscript, read_tree

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where downloaded weights are from.

    Attributes:
      name: as the user gave it: "hf:facebook/dinov2-base".
      commit: the one that it stands for, 40 hexadecimal digits.
    """

    name: str
    commit: str


@dataclasses.dataclass
class Source:
    """The content of a file or folder of weights.

    Attributes:
      path: the file or folder.
      form: "safetensors", "npz", "pytorch", "torchscript", "msgpack" or "orbax".
      arrays: floating-point arrays as float32, under flat names; parts of a nested tree are joined by `joint`.
      joint: "." for PyTorch's names, "/" for Flax's.
      config: the JSON files beside the arrays, by file name.
      origin: where the files were downloaded from; None: they are the user's own.
    """

    path: pathlib.Path
    form: str
    arrays: Arrays
    joint: str
    config: dict[str, Mapping[str, Json]]
    origin: Origin | None = None

    @property
    def names(self) -> str:
        """Names that may hint at the project: those of the file or folder and of its parent, or that on the hub."""
        path = self.path.resolve()
        return f"{self.origin.name} {self.path.name}" if self.origin else f"{path.name} {path.parent.name}"


OWN_FILE = "hummingbird.json"  # beside weights that we wrote: what exactly they are
JSON_FILES = (OWN_FILE, "config.json", "preprocessor_config.json", "open_clip_config.json")
# In order of preference, for folders that hold several.
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
    "flax_model.msgpack",
    "params.npz",
)
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")  # of other files that may hold weights
SHARDED = ".index.json"  # ends the names of the lists of shards


def read(path: str | os.PathLike[str]) -> Source:
    """Reads the arrays of a file or folder.

    Raises:
      UserError: it does not exist, cannot be read, is a Git LFS pointer, is cut off, lacks shards, or holds no arrays.
    """
    path = pathlib.Path(os.path.expanduser(path))
    if not path.exists():
        raise UserError(f"{path} does not exist")
    file = _file_of(path) if path.is_dir() else path
    folder = path if path.is_dir() else path.parent
    present = [name for name in JSON_FILES if (folder / name).is_file()]
    config = {name: read_json(folder / name) for name in descriptions(present, file.name)}
    if file.is_dir():
        form, arrays = "orbax", _read_orbax(file)
    elif file.name.endswith(SHARDED):
        form, arrays = _read_shards(file)
    else:
        form, arrays = _read_file(file)
    if not arrays:
        raise UserError(f"{file} holds no floating-point arrays: it is not a file of weights")
    joint = (
        "." if form in ("safetensors", "pytorch", "torchscript") and not any("/" in name for name in arrays) else "/"
    )
    return Source(path, form, arrays, joint, config)


def read_json(path: pathlib.Path) -> Mapping[str, Json]:
    """Reads the object in a JSON file.

    Raises:
      UserError: there is none.
    """
    try:
        value: Json = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object; download it again")
    return value


def candidates(names: Collection[str]) -> list[str]:
    """Returns which files of a folder may be its weights: the preferred one of `FOLDER_FILES`, else all by suffix.

    Example:
      >>> candidates(["config.json", "pytorch_model.bin", "model.safetensors"]), candidates(["b.pth", "a.npz"])
      (['model.safetensors'], ['a.npz', 'b.pth'])
    """
    preferred = [name for name in FOLDER_FILES if name in names]
    return preferred[:1] or sorted(name for name in names if name.endswith(SUFFIXES))


def descriptions(names: Collection[str], file: str) -> list[str]:
    """Returns which JSON files of a folder describe its file of weights.

    LAION's repositories hold each model twice, in OpenCLIP's form and in transformers'; timm's may do so as well.
    """
    others = ("config.json", "preprocessor_config.json") if file.startswith("open_clip") else ("open_clip_config.json",)
    present = [name for name in JSON_FILES if name in names]
    both = "config.json" in present and "open_clip_config.json" in present
    return [name for name in present if not (both and name in others)]


def _file_of(folder: pathlib.Path) -> pathlib.Path:
    """Finds the file of weights in a folder; the folder itself if Orbax wrote it."""
    found = candidates([path.name for path in folder.iterdir() if path.is_file()])
    if found and found[0] in FOLDER_FILES:
        return folder / found[0]
    if any((folder / name).exists() for name in ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")):
        return folder
    flax = sorted(folder.glob("checkpoint_*"), key=lambda p: (len(p.name), p.name))
    if flax:
        return flax[-1]
    if len(found) == 1:
        return folder / found[0]
    what = f"several files of weights ({', '.join(found)})" if found else "no weights"
    raise UserError(f"{folder} holds {what}: name the file itself, or a folder with one of {', '.join(FOLDER_FILES)}")


def shards_of(index: pathlib.Path) -> tuple[list[str], list[str]]:
    """Returns the names of the files and of the arrays that a list of shards names.

    Raises:
      UserError: it is no list of shards.
    """
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict):
        raise UserError(f"{index} has no 'weight_map': it is not an index of shards")
    return sorted({str(name) for name in table.values()}), list(table)


def _read_shards(index: pathlib.Path) -> tuple[str, Arrays]:
    shards, names = shards_of(index)
    absent = [name for name in shards if not (index.parent / name).is_file()]
    if absent:
        raise UserError(
            f"{index.parent}: {len(absent)} of {len(shards)} shards are missing ({', '.join(absent[:3])}"
            f"{', ...' if len(absent) > 3 else ''}); download them"
        )
    arrays: Arrays = {}
    form = ""
    for name in shards:
        form, part = _read_file(index.parent / name)
        arrays.update(part)
    lost = [name for name in names if name not in arrays]
    if lost:
        raise UserError(f"{index.parent}: the shards lack {len(lost)} arrays of the index, for example {lost[0]}")
    return form, arrays


def _read_file(file: pathlib.Path) -> tuple[str, Arrays]:
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); check its permissions") from error
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{file} is a Git LFS pointer, not the weights: run `git lfs pull` where it came from")
    if not head:
        raise UserError(f"{file} is empty; download it again")
    form = _form_of(file, head)
    return form, READERS[form](file)


def _form_of(file: pathlib.Path, head: bytes) -> str:
    if head[:2] == b"PK":
        try:
            names = zipfile.ZipFile(file).namelist()
        except zipfile.BadZipFile as error:
            raise UserError(f"{file} is cut off or damaged ({error}); download it again") from error
        if is_torchscript(names):
            return "torchscript"
        return "pytorch" if any(name.endswith("data.pkl") for name in names) else "npz"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pytorch"  # a pickle, of torch before 1.6 if it is one of torch at all
    key = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x80 < head[0] < 0x90 else 0)  # msgpack: where a map's first key starts
    if 0 < key < len(head) and (0xA0 <= head[key] < 0xC0 or head[key] in (0xD9, 0xDA)):  # a text
        return "msgpack"
    raise UserError(
        f"{file} is not a file of weights: expected safetensors, npz, a PyTorch file, Flax msgpack or an Orbax folder"
    )


def _read_safetensors(file: pathlib.Path) -> Arrays:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return _arrays({name: tensors.get_tensor(name) for name in tensors.keys()}, ".")  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{file} is cut off or damaged ({error}); download it again") from error


def _read_npz(file: pathlib.Path) -> Arrays:
    try:
        with np.load(file, allow_pickle=False) as content:
            return _arrays({name: content[name] for name in content.files}, "/")
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{file} is not an npz of plain arrays, or damaged ({error})") from error


def _read_pytorch(file: pathlib.Path) -> Arrays:
    return _arrays(read_pytorch(file), ".", lambda leaf: _floating(to_numpy(leaf)))


def _read_torchscript(file: pathlib.Path) -> Arrays:
    try:
        tree = read_tree(file)
    except MoreThanArraysError as error:
        raise UserError(
            f"{file} is a TorchScript program that holds more than arrays ({first_line(error)}) and is not run: "
            "save its state_dict() with torch, or take the safetensors version"
        ) from error
    except Exception as error:  # a damaged pickle raises errors of any kind
        raise UserError(f"{file} is cut off or damaged ({first_line(error)}); download it again") from error
    return _arrays(tree, ".")


def _read_msgpack(file: pathlib.Path) -> Arrays:
    from flax import serialization

    try:
        tree = serialization.msgpack_restore(file.read_bytes())
    except Exception as error:  # msgpack raises its own and ValueErrors of many kinds
        raise UserError(f"{file} is cut off or not Flax msgpack ({first_line(error)})") from error
    return _arrays(tree, "/")


def _read_orbax(folder: pathlib.Path) -> Arrays:
    import orbax.checkpoint as ocp

    try:
        tree = ocp.PyTreeCheckpointer().restore(folder.resolve())
    except Exception as error:
        raise UserError(f"{folder} is not a whole Orbax checkpoint ({first_line(error)})") from error
    return _arrays(tree, "/", lambda leaf: _floating(np.asarray(leaf)))


READERS: dict[str, Callable[[pathlib.Path], Arrays]] = {
    "safetensors": _read_safetensors,
    "npz": _read_npz,
    "pytorch": _read_pytorch,
    "torchscript": _read_torchscript,
    "msgpack": _read_msgpack,
}


def _arrays(tree: Any, joint: str, convert: Callable[[Any], np.ndarray | None] | None = None) -> Arrays:
    """Returns the floating-point arrays of a nested tree, float32, under flat names: {"a": {"b": x}} -> {"a.b": x}.

    Lists count as dictionaries from their indices. Counters, options and the optimiser's steps are left out.
    """
    arrays: Arrays = {}
    nodes: list[tuple[str, Any]] = [("", tree)]
    while nodes:
        name, node = nodes.pop()
        if isinstance(node, (list, tuple)) and node and not isinstance(node[0], (int, float, str)):
            node = {str(i): value for i, value in enumerate(node)}
        if isinstance(node, Mapping):
            inside = [(f"{name}{joint}{key}" if name else str(key), value) for key, value in node.items()]
            nodes.extend(reversed(inside))  # the first one is visited next: arrays keep the file's order
        elif (array := (convert or _floating)(node)) is not None:
            arrays[name] = array
    return arrays


def _floating(value: Any) -> np.ndarray | None:
    """Returns a floating-point array as float32; None for scalars, integers and what is no array."""
    if getattr(value, "shape", ()) == () or not hasattr(value, "dtype"):
        return None
    if value.dtype.kind == "V" and value.dtype.itemsize == 2:  # bfloat16 as NumPy writes it into an npz
        value = value.view(ml_dtypes.bfloat16)
    if np.issubdtype(value.dtype, np.floating) or value.dtype.name in ("bfloat16", "float8_e4m3fn"):
        return np.asarray(value, np.float32)
    return None
