"""Arrays out of the files that projects publish, without ever running code that a file brings along.

`read` looks at the content, not at the suffix: safetensors (one file or shards), npz, PyTorch files (only through
`torch.load(weights_only=True)`), TorchScript archives, Flax msgpack, Orbax folders, and folders of Hugging Face, timm
or OpenCLIP.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hummingbird.errors import UserError, first_line
from hummingbird.weights.torchscript import MoreThanArraysError, is_torchscript, read_tree

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass
class Source:
    """What was read.

    Attributes:
      path: the file or folder.
      form: "safetensors", "npz", "pytorch", "torchscript", "msgpack" or "orbax".
      arrays: floating-point arrays as float32, under flat names; parts of a nested tree are joined by `joint`.
      joint: "." for PyTorch's names, "/" for Flax's.
      config: content of the JSON files beside the arrays, by file name.
    """

    path: pathlib.Path
    form: str
    arrays: Arrays
    joint: str
    config: dict[str, dict[str, Any]]


OWN_FILE = "hummingbird.json"  # beside weights that we wrote: says exactly what they are
JSON_FILES = (OWN_FILE, "config.json", "preprocessor_config.json", "open_clip_config.json")
# In the order in which they are preferred when a folder holds several.
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


def read(path: str | os.PathLike[str]) -> Source:
    """The arrays of a file or folder.

    Raises:
      UserError: it does not exist, is a Git LFS pointer, is cut off, misses shards, or holds no arrays.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist")
    file = _file_of(path) if path.is_dir() else path
    folder = path if path.is_dir() else path.parent
    config = {name: read_json(folder / name) for name in JSON_FILES if (folder / name).is_file()}
    if file.is_dir():
        form, arrays = "orbax", _read_orbax(file)
    elif file.name.endswith(".index.json"):
        form, arrays = _read_shards(file)
    else:
        form, arrays = _read_file(file)
    if not arrays:
        raise UserError(f"{file} holds no floating-point arrays: it is not a file of weights")
    joint = (
        "." if form in ("safetensors", "pytorch", "torchscript") and not any("/" in name for name in arrays) else "/"
    )
    return Source(path, form, arrays, joint, config)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file; UserError if there is none."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); download it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object; download it again")
    return value


def _file_of(folder: pathlib.Path) -> pathlib.Path:
    """The file of weights in a folder; the folder itself if Orbax wrote it."""
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    if any((folder / name).exists() for name in ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")):
        return folder
    flax = sorted(folder.glob("checkpoint_*"), key=lambda p: (len(p.name), p.name))
    if flax:
        return flax[-1]
    single = [p for pattern in ("*.safetensors", "*.npz", "*.pth", "*.pt") for p in folder.glob(pattern)]
    if len(single) == 1:
        return single[0]
    what = f"several files of weights ({', '.join(sorted(p.name for p in single))})" if single else "no weights"
    raise UserError(f"{folder} holds {what}: name the file itself, or a folder with one of {', '.join(FOLDER_FILES)}")


def _read_shards(index: pathlib.Path) -> tuple[str, Arrays]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict):
        raise UserError(f"{index} has no 'weight_map': it is not an index of shards")
    shards = sorted({str(name) for name in table.values()})
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
    lost = [name for name in table if name not in arrays]
    if lost:
        raise UserError(f"{index.parent}: the shards lack {len(lost)} arrays of the index, for example {lost[0]}")
    return form, arrays


def _read_file(file: pathlib.Path) -> tuple[str, Arrays]:
    with file.open("rb") as stream:
        head = stream.read(64)
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
    import ml_dtypes  # noqa: F401  (gives NumPy the bfloat16 that safetensors asks for)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return _floats({name: tensors.get_tensor(name) for name in tensors.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{file} is cut off or damaged ({error}); download it again") from error


def _read_npz(file: pathlib.Path) -> Arrays:
    try:
        with np.load(file, allow_pickle=False) as content:
            return _floats({name: content[name] for name in content.files})
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{file} is not an npz of plain arrays, or damaged ({error})") from error


def _read_pytorch(file: pathlib.Path) -> Arrays:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{file} is a PyTorch file and torch is not installed: pip install 'hummingbird-incontext[torch]', "
            "or take the safetensors version"
        ) from None
    import argparse
    import pickle

    from numpy._core.multiarray import scalar  # pyright: ignore[reportAttributeAccessIssue]

    # Plain records that training scripts of DINO, MAE and DeiT save beside the weights: they hold values, not code.
    # NumPy 1 and 2 name their scalars' constructor differently.
    harmless: list[Any] = [argparse.Namespace, pathlib.PosixPath, np.dtype, np.ndarray]
    harmless += [scalar, (scalar, "numpy.core.multiarray.scalar")]
    harmless += [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64)]
    try:
        with torch.serialization.safe_globals(harmless):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = (
            str(error).split("GLOBAL ")[-1].split(" ")[0] if "GLOBAL " in str(error) else "objects that are no arrays"
        )
        raise UserError(
            f"{file} is not a plain file of weights: its pickle asks for {named}, and unpickling that could run code; "
            "save its state_dict() alone with torch, or take the safetensors version"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{file} is cut off or damaged ({first_line(error)}); download it again") from error

    def to_numpy(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        dense = leaf.detach().to_dense() if leaf.is_sparse else leaf.detach()
        return (dense.float() if dense.is_floating_point() else dense).numpy()

    return _floats(_flat(content, ".", to_numpy))


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
    return _floats(_flat(tree, ".", lambda leaf: leaf))


def _read_msgpack(file: pathlib.Path) -> Arrays:
    from flax import serialization

    try:
        tree = serialization.msgpack_restore(file.read_bytes())
    except Exception as error:  # msgpack raises its own and ValueErrors of many kinds
        raise UserError(f"{file} is cut off or not Flax msgpack ({first_line(error)})") from error
    return _floats(_flat(tree, "/", lambda leaf: leaf))


def _read_orbax(folder: pathlib.Path) -> Arrays:
    import orbax.checkpoint as ocp

    try:
        tree = ocp.PyTreeCheckpointer().restore(folder.resolve())
    except Exception as error:
        raise UserError(f"{folder} is not a whole Orbax checkpoint ({first_line(error)})") from error
    return _floats(_flat(tree, "/", np.asarray))


READERS: dict[str, Callable[[pathlib.Path], Arrays]] = {
    "safetensors": _read_safetensors,
    "npz": _read_npz,
    "pytorch": _read_pytorch,
    "torchscript": _read_torchscript,
    "msgpack": _read_msgpack,
}


def _flat(tree: Any, joint: str, leaf: Callable[[Any], Any], at: str = "") -> dict[str, Any]:
    """{"a": {"b": x}} -> {"a.b": leaf(x)}; lists count as dicts from their indices."""
    if isinstance(tree, (list, tuple)) and tree and not isinstance(tree[0], (int, float, str)):
        tree = {str(i): value for i, value in enumerate(tree)}
    if isinstance(tree, Mapping):
        flat: dict[str, Any] = {}
        for name, value in tree.items():
            flat.update(_flat(value, joint, leaf, f"{at}{joint}{name}" if at else str(name)))
        return flat
    return {at: leaf(tree)}


def _floats(arrays: Mapping[str, Any]) -> Arrays:
    """The floating-point arrays among `arrays`, as float32; counters, options and optimiser steps are left out."""
    kept: Arrays = {}
    for name, value in arrays.items():
        if getattr(value, "shape", ()) == () or not hasattr(value, "dtype"):
            continue
        if value.dtype.kind == "V" and value.dtype.itemsize == 2:  # bfloat16 as NumPy writes it into an npz
            import ml_dtypes

            value = value.view(ml_dtypes.bfloat16)
        if np.issubdtype(value.dtype, np.floating) or value.dtype.name in ("bfloat16", "float8_e4m3fn"):
            kept[name] = np.asarray(value, np.float32)
    return kept
