"""Images to pretrain on: ImageNet's class folders, tar shards, or any folder of images, with or without labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from hummingbird.config.data import TrainingData
from hummingbird.data.image_files import Unreadable
from hummingbird.data.interface import ImageItem
from hummingbird.data.pairs import split_parts, take
from hummingbird.data.store import Shards, Store, enter, names_fingerprint, open_path, open_store
from hummingbird.errors import UserError

WNID = re.compile(r"n\d{8}/")
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

    def __getitem__(self, index: int) -> ImageItem:
        path = self._paths[index].decode()
        label = int(self._labels[index])
        try:
            if label == BESIDE:
                label = int(self._store.read(path.rpartition(".")[0] + ".cls"))
            return {"image": self._store.read(path), "label": label}
        except (OSError, ValueError) as error:
            raise Unreadable(f"{self.name(index)} cannot be read: {error}") from error


BESIDE = -2  # the label is in a .cls file beside the image, as in WebDataset shards; read when wanted


def build(data: TrainingData) -> Images:
    """All images below `data.root` in sorted order, or below its folder `data.split` (`train` for `imagenet`).

    In a folder of .tar archives the split is how their names begin; by default those with "train" in them, or all.
    """
    name, root = data.name, data.root
    split, part = split_parts(data.split)
    shards = _shards(root, split)
    if shards is not None:
        store, split = shards, ""
    else:
        store = enter(open_store(root))
        if not split and name == "imagenet" and store.exists("train"):
            split = "train"
        if split and not store.exists(split):
            there = ", ".join(store.children()[:12])
            raise UserError(
                f"config key data.split: {store.where} has no folder {split!r}; there are {there or 'none'}"
            )
    files = store.files(split)
    paths = [path for path in files if path.lower().endswith(SUFFIXES)]
    if not paths:
        found = ", ".join(store.children(split)[:12])
        raise UserError(f"{store.where}/{split} holds no images. Expected: {TREE}. Found: {found or 'nothing'}")
    skip = len(split) + 1 if split else 0
    relative = [path[skip:] for path in paths]
    if shards is not None:
        # A shard's name is a class only if it is one of WordNet's; else the folders inside of it may be.
        relative = [path if WNID.match(path) else path.partition("/")[2] for path in relative]
    beside = {path[:-4] for path in files if path.endswith(".cls")}
    if beside and all(path.rpartition(".")[0] in beside for path in paths):
        labels, classes = np.full(len(paths), BESIDE, np.int32), []
    else:
        labels, classes = label_by_folder(relative)
    if name == "imagenet" and not classes and not beside:
        raise UserError(f"config key data.root: {store.where} is not laid out as imagenet. Expected: {TREE}")
    chosen = take(range(len(paths)), part, data.split)
    kind = "shards" if shards is not None else ""
    return Images(store, [paths[i] for i in chosen], labels[np.asarray(chosen)], classes, f"{name} {kind}".strip())


def _shards(root: str, split: str) -> Shards | None:
    """The .tar archives that `root` (or its folder `split`, or `train`) directly holds; None if it holds none."""
    path = open_path(root) if root else None
    if path is None or not path.is_dir():
        return None
    for folder in dict.fromkeys((path / (split or "train"), path / "train", path)):
        if not folder.is_dir():
            continue
        children = list(folder.iterdir())
        tars = sorted(child.name for child in children if child.suffix == ".tar")
        if not tars:
            if folder != path:
                return None  # a split's folder of files
            continue
        others = [child.name for child in children if child.is_dir() or child.name.lower().endswith(SUFFIXES)]
        if others:
            raise UserError(
                f"config key data.root: {folder} holds archives ({tars[0]}) beside images or folders"
                f" ({min(others)}); point it at one of them"
            )
        if folder == path and split:
            tars = [name for name in tars if name.startswith(split)]
            if not tars:
                raise UserError(f"config key data.split: no archive in {folder} begins with {split!r}")
        elif any("train" in name for name in tars):
            tars = [name for name in tars if "train" in name]
        return Shards(folder, tars)
    return None


def label_by_folder(paths: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Labels int32 [N] and sorted class names, from the first folder of each path; -1 and no names if one has none."""
    folders = [path.partition("/")[0] if "/" in path else "" for path in paths]
    classes = sorted(set(folders))
    if "" in classes or len(classes) < 2:
        return np.full(len(paths), -1, np.int32), []
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[folder] for folder in folders], np.int32), classes
