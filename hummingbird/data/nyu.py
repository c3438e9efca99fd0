"""NYUv2 depth from nyu_depth_v2_labeled.mat, with the official split of splits.mat."""

from __future__ import annotations

import os

import h5py
import numpy as np
import scipy.io

from hummingbird.config.data import EvaluationData
from hummingbird.data.interface import DenseItem, Unreadable
from hummingbird.data.label_files import IGNORE, metric_depth
from hummingbird.data.names import names_fingerprint, split_parts, take
from hummingbird.data.store import open_path
from hummingbird.errors import UserError

LABELED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
OFFICIAL = {"train": "trainNdxs", "test": "testNdxs"}  # 795 and 654 image numbers, from 1
USUAL = {"prompt": "train", "query": "test"}


class NYU:
    """A dense source over numbered frames of the .mat file (HDF5, axes in reverse order)."""

    task = "depth"
    ignore = IGNORE

    def __init__(self, path: str, numbers: np.ndarray, fingerprint: str):
        self._path, self._numbers = path, numbers
        self.classes: list[str] = []
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, index: int) -> str:
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
    """The prompt (795) or query (654) frames of NYUv2."""
    if data.task == "segmentation":
        raise UserError("config key data.task: nyuv2 has depth only, set data.task=depth")
    if "://" in data.root:
        raise UserError(f"config key data.root: {data.root} is a bucket; copy {LABELED} to a local disk first")
    root = open_path(data.root)
    if root.suffix == ".mat":
        root = root.parent
    missing = [name for name in (LABELED, SPLITS) if not (root / name).is_file()]
    if missing or not data.root:
        found = sorted(child.name for child in root.iterdir())[:12] if data.root and root.is_dir() else []
        raise UserError(
            f"config key data.root: {data.root!r} lacks {' and '.join(missing)}. Expected: {LABELED}, {SPLITS}."
            f" Found: {', '.join(found) or 'nothing'}"
        )
    text = data.split_text(split) or USUAL[split]
    chosen, part = split_parts(text)
    chosen = chosen or USUAL[split]
    if chosen not in OFFICIAL:
        raise UserError(f"config key data.{split}: nyuv2 has no split {chosen!r}; there are {', '.join(OFFICIAL)}")
    try:
        numbers = scipy.io.loadmat(os.fspath(root / SPLITS))[OFFICIAL[chosen]].ravel()
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f"{root / SPLITS} cannot be read: {error}") from error
    try:
        with h5py.File(os.fspath(root / LABELED), "r") as file:
            images, depths = _frames(file, "images").shape, _frames(file, "depths").shape
    except (KeyError, OSError) as error:
        raise UserError(f"{root / LABELED} cannot be read: {error}") from error
    if len(images) != 4 or images[1] != 3 or images[:1] + images[2:] != depths:
        raise UserError(f"{root / LABELED}: images {images} and depths {depths} should be [N, 3, W, H] and [N, W, H]")
    if numbers.min() < 1 or numbers.max() > images[0]:
        raise UserError(f"{root / SPLITS} names frame {numbers.max()}, but {LABELED} has {images[0]}")
    numbers = np.asarray(take(numbers.astype(int).tolist(), part, text))
    if split == "prompt" and data.names:
        raise UserError("config key data.names: nyuv2 has no names; use a slice such as data.prompt=train[:100]")
    files = names_fingerprint(map(str, numbers))
    return NYU(os.fspath(root / LABELED), numbers, f"nyuv2 {text} images={len(numbers)} frames={files}")
