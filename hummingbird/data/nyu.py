"""NYUv2 depth from nyu_depth_v2_labeled.mat, with the official split of splits.mat."""

from __future__ import annotations

import os

import h5py
import numpy as np
from etils import epath
from jaxtyping import Int, Num

from hummingbird.config.data import EvaluationData
from hummingbird.data.interface import DenseItem, Unreadable
from hummingbird.data.label_files import IGNORE, metric_depth
from hummingbird.data.names import names_fingerprint, split_parts, take
from hummingbird.data.store import open_path
from hummingbird.errors import UserError, first_line

LABELED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
OFFICIAL = {"train": "trainNdxs", "test": "testNdxs"}  # 795 and 654 image numbers, from 1
USUAL = {"prompt": "train", "query": "test"}


class NYU:
    """A dense source over numbered frames of the .mat file, an HDF5 file with axes in reverse order."""

    task = "depth"
    ignore = IGNORE

    def __init__(self, path: str, numbers: Int[np.ndarray, " N"], fingerprint: str):
        """Makes a source of the frames `numbers`, counted from 1, of the file at `path`."""
        self._path, self._numbers = path, numbers
        self.classes: list[str] = []
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, index: int) -> str:
        """Returns the name of item `index` without reading it."""
        return f"{self._numbers[index]:06d}"

    def __getitem__(self, index: int) -> DenseItem:
        number = int(self._numbers[index])
        try:
            with h5py.File(self._path, "r") as file:  # opening costs 2 ms and leaves nothing to share between threads
                image, depth = (np.asarray(_frames(file, name)[number - 1]) for name in ("images", "depths"))
        except (OSError, KeyError, ValueError) as error:
            raise Unreadable(f"{self._path}: frame {number} cannot be read: {error}") from error
        # stored [3, W, H] and [W, H], as MATLAB writes them
        return {
            "image": np.ascontiguousarray(image.transpose(2, 1, 0)),
            "label": metric_depth(np.ascontiguousarray(depth.T), f"{self._path} frame {number}", 1.0),
            "name": self.name(index),
        }


def _frames(file: h5py.File, name: str) -> h5py.Dataset:
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{name} is not an array")
    return found


def build(data: EvaluationData, split: str) -> NYU:
    """Builds the prompt (795) or query (654) frames of NYUv2.

    Args:
      data: reads `root`, `prompt`, `query` and `task`.
      split: "prompt" or "query".

    Raises:
      UserError: missing or broken files, or no such split.
    """
    if data.task not in (None, "depth"):
        raise UserError("config key data.task: nyuv2 has depth only, set data.task=depth")
    if split == "prompt" and data.names:
        raise UserError("config key data.names: nyuv2 has no names; use a slice such as data.prompt=train[:100]")
    root = _find_root(data.root)
    text = data.split_text(split) or USUAL[split]
    chosen, part = split_parts(text)
    chosen = chosen or USUAL[split]
    if chosen not in OFFICIAL:
        raise UserError(f"config key data.{split}: nyuv2 has no split {chosen!r}; there are {', '.join(OFFICIAL)}")
    all_numbers = _read_split(os.fspath(root / SPLITS), OFFICIAL[chosen]).astype(int)
    count = _count_frames(os.fspath(root / LABELED))
    if all_numbers.min() < 1 or all_numbers.max() > count:
        raise UserError(f"{root / SPLITS} names frame {all_numbers.max()}, but {LABELED} has {count}")
    numbers = np.asarray(take(all_numbers.tolist(), part, text))
    files = names_fingerprint(map(str, numbers))
    return NYU(os.fspath(root / LABELED), numbers, f"nyuv2 {text} images={len(numbers)} frames={files}")


def _find_root(given: str) -> epath.Path:
    if "://" in given:
        raise UserError(f"config key data.root: {given} is a bucket; copy {LABELED} to a local disk first")
    root = open_path(given)
    if root.suffix == ".mat":
        root = root.parent
    missing = [name for name in (LABELED, SPLITS) if not (root / name).is_file()]
    if missing or not given:
        found = sorted(child.name for child in root.iterdir())[:12] if given and root.is_dir() else []
        raise UserError(
            f"config key data.root: {given!r} lacks {' and '.join(missing)}. Expected: {LABELED}, {SPLITS}."
            f" Found: {', '.join(found) or 'nothing'}"
        )
    return root


def _read_split(path: str, name: str) -> Num[np.ndarray, " N"]:
    """Reads the frame numbers of a split from a MATLAB file of any version (7.3 is HDF5)."""
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return np.asarray(_frames(file, name)).ravel()
        from scipy.io import loadmat  # here, because it takes half a second to import

        return loadmat(path)[name].ravel()
    except Exception as error:  # SciPy raises exceptions of any type on broken files
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error


def _count_frames(path: str) -> int:
    try:
        with h5py.File(path, "r") as file:
            images, depths = _frames(file, "images").shape, _frames(file, "depths").shape
    except (KeyError, OSError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error
    if len(images) != 4 or images[1] != 3 or images[:1] + images[2:] != depths:
        raise UserError(f"{path}: images {images} and depths {depths} should be [N, 3, W, H] and [N, W, H]")
    return images[0]
