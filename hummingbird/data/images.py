"""Images to pretrain on: ImageNet's class folders, tar shards, or any folder of images, with or without labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from hummingbird.config.data import TrainingData
from hummingbird.data.image_files import SUFFIXES
from hummingbird.data.interface import ImageItem, Unreadable
from hummingbird.data.names import names_fingerprint, printable, split_parts, take
from hummingbird.data.store import Folder, Store, enter, open_path, open_store
from hummingbird.data.tars import Shards
from hummingbird.errors import UserError

WNID = re.compile(r"n\d{8}/")
TREE = "train/<class>/*.JPEG, or one .tar for each class, or .tar shards, or images in any folders"
BESIDE = -2  # the label is in a .cls file beside the image, as in WebDataset shards, which is read with the image


class Images:
    """An image source over files: encoded bytes, and the class of their folder (-1: none).

    Paths are kept as one array of bytes: 14 million of them as Python strings would take gigabytes in each process.
    """

    def __init__(
        self, store: Store, paths: Sequence[str], labels: Int32[np.ndarray, " N"], classes: Sequence[str], kind: str
    ):
        """Makes a source.

        Args:
          store: holds the files.
          paths: N of them, in the order of the items.
          labels: class id of each image, -1 or `BESIDE`.
          classes: class names by id; empty if there are none.
          kind: beginning of the fingerprint, to which the number of files and their paths are added.
        """
        self._store = store
        self._paths = np.array([path.encode("utf-8", "surrogateescape") for path in paths])
        self._labels = labels
        self.classes = list(classes)
        self.fingerprint = f"{kind} images={len(paths)} files={names_fingerprint(paths)}"

    def __len__(self) -> int:
        return len(self._paths)

    def _path(self, index: int) -> str:
        return self._paths[index].decode("utf-8", "surrogateescape")

    @property
    def labels(self) -> Int32[np.ndarray, " N"]:
        """Class id of each image; -1 or `BESIDE` where the folders do not tell."""
        return self._labels

    def by_archive(self) -> Images:
        """Returns the images with the names of their archives as classes, where each archive holds one class."""
        if not isinstance(self._store, Shards) or (self._labels == BESIDE).any():
            return self
        paths = [self._path(i) for i in range(len(self))]
        return Images(self._store, paths, *label_by_folder(paths), "archives")

    def name(self, index: int) -> str:
        """Returns the path of image `index`, for messages."""
        return printable(f"{self._store.where}/{self._path(index)}")

    def __getitem__(self, index: int) -> ImageItem:
        path, label = self._path(index), int(self._labels[index])
        if label == BESIDE:
            beside = f"{path.rpartition('.')[0]}.cls"
            try:
                label = int(self._store.read(beside))
            except ValueError as error:
                raise Unreadable(f"{self._store.where}/{beside} holds no class number: {error}") from error
        return {"image": self._store.read(path), "label": label}


def build(data: TrainingData) -> Images:
    """Builds the images of a folder, of a tar archive, or of a folder of archives, in sorted order.

    Args:
      data: reads `name`, `root` and `split`. The split is a folder (by default `train` for `imagenet`, else none); of
        several archives, it is how their names begin (by default those with "train" in them, or all).

    Raises:
      UserError: no images, or not laid out as expected.
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
    relative = [path.removeprefix(f"{split}/") for path in paths] if split else paths
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
    """Returns the .tar archives in `root` (or its folder `split`, or `train`); None if there are none."""
    path = open_path(root) if root else None
    if path is None or not path.is_dir():
        return None
    store = Folder(path)
    for folder in dict.fromkeys((split or "train", "train", "")):
        children = store.children(folder)
        tars = [name for name in children if name.endswith(".tar")]
        if not tars:
            if folder and children:
                return None  # a split's folder of files
            continue
        others = [name.rstrip("/") for name in children if name.endswith("/") or name.lower().endswith(SUFFIXES)]
        if others:
            raise UserError(
                f"config key data.root: {path / folder} holds archives ({tars[0]}) beside images or folders"
                f" ({others[0]}); point it at one of them"
            )
        if not folder and split:
            tars = [name for name in tars if name.startswith(split)]
            if not tars:
                raise UserError(f"config key data.split: no archive in {path} begins with {split!r}")
        elif any("train" in name for name in tars):
            tars = [name for name in tars if "train" in name]
        return Shards(path / folder, tars)
    return None


def label_by_folder(paths: Sequence[str]) -> tuple[Int32[np.ndarray, " N"], list[str]]:
    """Labels paths by their first folder.

    Args:
      paths: N of them.

    Returns:
      Class ids [N] and sorted class names; -1 and no names if a path has no folder, or all have the same.

    Example:
      >>> label_by_folder(["cat/1.jpg", "dog/2.jpg", "cat/3.jpg"])
      (array([0, 1, 0], dtype=int32), ['cat', 'dog'])
    """
    folders = [path.partition("/")[0] if "/" in path else "" for path in paths]
    classes = sorted(set(folders))
    if "" in classes or len(classes) < 2:
        return np.full(len(paths), -1, np.int32), []
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[folder] for folder in folders], np.int32), classes
