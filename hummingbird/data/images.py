"""Images to pretrain on: ImageNet's class folders, tar shards, or any folder of images, with or without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from hummingbird.data.decode import Unreadable
from hummingbird.data.pairs import split_parts, take
from hummingbird.data.store import Shards, Store, names_fingerprint, open_store
from hummingbird.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
TREE = "train/<class>/*.JPEG, or one .tar for each class, or .tar shards, or images in any folders"


class Images:
    """An image source over files: encoded bytes, and the class of the folder they lie in (-1: none).

    Paths are kept as one array of bytes: 14 million of them as Python strings would take gigabytes in each process.
    """

    def __init__(
        self, store: Store, paths: Sequence[str], labels: np.ndarray, classes: Sequence[str], fingerprint: str
    ):
        self._store = store
        self._paths = np.array([path.encode() for path in paths])
        self._labels = labels
        self.classes = list(classes)
        self.fingerprint = f"{fingerprint} images={len(paths)} files={names_fingerprint(paths)}"

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return f"{self._store.where}/{self._paths[index].decode()}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self._paths[index].decode()
        label = int(self._labels[index])
        try:
            if label == BESIDE:
                label = int(self._store.read(path.rpartition(".")[0] + ".cls"))
            return {"image": self._store.read(path), "label": label}
        except (OSError, ValueError) as error:
            raise Unreadable(f"{self.name(index)} cannot be read: {error}") from error


BESIDE = -2  # the label is in a .cls file beside the image, as in WebDataset shards; read when wanted


def build(config: Any) -> Images:
    """All images below `data.root` (its `train` folder for `imagenet`), in sorted order."""
    name = config.data.name
    store, inside = _open(config.data.root, name)
    split, part = split_parts(config.data.split)
    if not split and store.exists("train") and name == "imagenet":
        split = "train"
    if split and not store.exists(split):
        there = ", ".join(store.children()[:12])
        raise UserError(f"config key data.split: {store.where} has no folder {split!r}; there are {there or 'none'}")
    files = store.files(split)
    paths = [path for path in files if path.lower().endswith(SUFFIXES)]
    if not paths:
        found = ", ".join(store.children(split)[:12])
        raise UserError(f"{store.where}/{split} holds no images. Expected: {TREE}. Found: {found or 'nothing'}")
    skip = len(split) + 1 if split else 0
    beside = {path[:-4] for path in files if path.endswith(".cls")}
    if beside and all(path.rpartition(".")[0] in beside for path in paths):
        labels, classes = np.full(len(paths), BESIDE, np.int32), []
    else:
        labels, classes = label_by_folder([path[skip:] for path in paths])
    if name == "imagenet" and not classes and not beside:
        raise UserError(f"config key data.root: {store.where} is not laid out as imagenet. Expected: {TREE}")
    chosen = take(range(len(paths)), part, config.data.split)
    return Images(store, [paths[i] for i in chosen], labels[np.asarray(chosen)], classes, f"{name} {inside}".strip())


def _open(root: str, name: str) -> tuple[Store, str]:
    """The store, and what kind it is. A folder (or its `train`) that directly holds .tar files is a row of shards."""
    path = epath.Path(root).expanduser()
    for folder in (path, path / "train"):
        if root and folder.is_dir():
            tars = [os.path.basename(child) for child in folder.iterdir() if child.suffix == ".tar"]
            if tars:
                return Shards(folder, tars), "shards"
    return open_store(root), ""


def label_by_folder(paths: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Labels int32 [N] and sorted class names, from the first folder of each path; -1 and no names if one has none."""
    folders = [path.partition("/")[0] if "/" in path else "" for path in paths]
    classes = sorted(set(folders))
    if "" in classes or len(classes) < 2:
        return np.full(len(paths), -1, np.int32), []
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[folder] for folder in folders], np.int32), classes
