"""Arrays of a TorchScript archive, such as OpenAI's CLIP files, without torch and without running its program.

Beside its code such a zip holds `data.pkl`, the tree of modules, and `data/KEY`, the bytes of each tensor's storage.
The tree is unpickled here with its modules as plain dictionaries; whatever else it asks for is refused.
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
STORAGES: dict[str, Any] = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


class MoreThanArraysError(Exception):
    """The tree asks for something that is neither module, tensor nor list; its name."""


def is_torchscript(names: list[str]) -> bool:
    """Whether a zip with these members is such an archive."""
    return any("/code/" in name for name in names) and any(name.endswith("/data.pkl") for name in names)


def read_tree(file: pathlib.Path) -> dict[str, Any]:
    """Modules as nested dictionaries of arrays and plain values.

    Raises:
      MoreThanArraysError: unpickling the tree would call something else.
      Exception: of many kinds where the file is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("data.pkl")

        # Made anew for each file, so that nothing a pickle does to them outlasts its reading.
        class Module(dict):
            def __setstate__(self, state: dict[str, Any]) -> None:
                self.update(state)

        def tensor(storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *_: Any) -> np.ndarray:
            size = storage.itemsize  # NumPy refuses what reaches beyond the storage
            return np.ndarray(shape, storage.dtype, storage, offset * size, tuple(n * size for n in strides)).copy()

        class Reader(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                if module.split(".")[0] == "__torch__":
                    return Module
                if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                    return tensor
                if (module, name) == ("collections", "OrderedDict"):
                    return dict
                if module == "torch" and name in STORAGES:
                    return name
                if module == "torch.jit._pickle" and name in LISTS:
                    return list
                raise MoreThanArraysError(f"{module}.{name}")

            def persistent_load(self, pid: Any) -> np.ndarray:
                _, kind, key, _, count = pid
                return np.frombuffer(archive.read(f"{root}data/{key}"), STORAGES[kind], count)

        return Reader(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
