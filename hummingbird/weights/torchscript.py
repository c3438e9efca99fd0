"""Reads the arrays of a TorchScript archive, such as OpenAI's CLIP files, without torch and without its program.

Besides its code such a zip holds `data.pkl`, the tree of modules, and `data/KEY`, the bytes of each tensor's storage.
The tree is unpickled here with its modules as plain dictionaries; anything else it refers to is refused.
"""

from __future__ import annotations

import io
import pathlib
import pickle
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

# torch's names of storages; numbers are stored in little-endian order.
STORAGES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "DoubleStorage": np.dtype("<f8"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


class MoreThanArraysError(Exception):
    """The tree refers to something that is neither module, tensor nor list; the message is its name."""


def is_torchscript(names: list[str]) -> bool:
    """Returns whether a zip with these members is such an archive."""
    return any("/code/" in name for name in names) and any(name.endswith("/data.pkl") for name in names)


def read_tree(file: pathlib.Path) -> dict[str, Any]:
    """Reads the modules as nested dictionaries of arrays and plain values.

    Raises:
      MoreThanArraysError: unpickling the tree would call something else.
      Exception: of many kinds where the file is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("data.pkl")
        return _Reader(archive, root, type("Module", (_Module,), {})).load()


class _Module(dict[str, Any]):
    """A module as a dictionary. Each file has a subclass of its own, so that no pickle can alter those of the next."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)


class _Reader(pickle.Unpickler):
    """Unpickles the tree of modules.

    Attributes:
      archive: the zip.
      root: folder of `data.pkl` in it.
      module: class that stands for every class of modules.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str, module: type[_Module]) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self.archive, self.root, self.module = archive, root, module

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return self.module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _tensor(*arguments)  # a new one, as the modules' class is
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in STORAGES:
            return name
        if module == "torch.jit._pickle" and name in LISTS:
            return list
        raise MoreThanArraysError(f"{module}.{name}")

    def persistent_load(self, pid: tuple[str, str, str, str, int]) -> np.ndarray:
        _, kind, key, _, count = pid
        return np.frombuffer(self.archive.read(f"{self.root}data/{key}"), STORAGES[kind], count)


def _tensor(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: bool | dict[str, str]
) -> np.ndarray:
    size = storage.itemsize  # NumPy refuses what reaches beyond the storage
    return np.ndarray(shape, storage.dtype, storage, offset * size, tuple(n * size for n in strides)).copy()
