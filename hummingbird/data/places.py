"""Finds the archives or the folder of a data set of images, and lists what is in them."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from etils import epath

from hummingbird.config.data import TrainingData
from hummingbird.data import index_files
from hummingbird.data.fetch import is_remote, size_of
from hummingbird.data.image_files import SUFFIXES
from hummingbird.data.index import Index, pack
from hummingbird.data.names import split_parts
from hummingbird.data.scan import CLS, Listed, label_groups, list_archive, list_archives, list_files
from hummingbird.data.store import Folder, enter, open_path, open_store
from hummingbird.data.tars import Tar
from hummingbird.errors import UserError
from hummingbird.run.files import Json

TREE = "train/<class>/*.JPEG, or one .tar for each class, or .tar shards, or images in any folders"


class Place(NamedTuple):
    """Where the images of a data set are.

    Attributes:
      name: of the data set: "imagenet", "images".
      root: folder that holds the archives or files.
      where: what images are below, for messages.
      archives: paths under `root`; none: plain files.
      split: folder to read; "": all.
      shards: whether each archive counts as a folder.
    """

    name: str
    root: str
    where: str
    archives: tuple[str, ...] = ()
    split: str = ""
    shards: bool = False

    @property
    def described(self) -> index_files.Described:
        """Returns what an index of these images is made of."""
        archives = self.archives if not self.shards else ()  # their number may grow: the stamp says so
        key = {"name": self.name, "split": self.split, "archives": list(archives), "shards": self.shards}
        sizes = archive_sizes(self.root, self.archives) if self.archives else {}
        return index_files.Described(self.root, key, sizes)


def locate(data: TrainingData) -> Place:
    """Finds the archives or the folder of a data set, without listing their content. Raises UserError."""
    split, _ = split_parts(data.split)
    shards = _locate_shards(data.name, data.root, split)
    if shards is not None:
        return shards
    path = open_path(data.root) if data.root else epath.Path("")
    if path.suffix.lower() == ".tar" and not path.is_dir() and path.exists():
        folder, _, file = os.fspath(path).rpartition("/")
        return Place(data.name, folder or ".", os.fspath(path), (file,), split)
    store = open_store(data.root)
    if not split and data.name == "imagenet" and store.exists("train"):
        split = "train"
    if split and not store.exists(split):
        raise _no_split(store.where, split, store.children())
    return Place(data.name, store.where, store.where, (), split)


def archive_sizes(root: str, archives: tuple[str, ...]) -> dict[str, int]:
    """Returns the size of each archive in bytes, in a bucket by listing its folder. Raises UserError."""
    try:
        if is_remote(root) and len(archives) > 1:
            found = Folder(epath.Path(root)).sizes()
            return {name: found[name] for name in archives}
        return {name: size_of(f"{root}/{name}") for name in archives}
    except OSError as error:
        raise UserError(f"config key data.root: {root} cannot be read: {error.strerror or error}") from error


def list_place(place: Place) -> Index:
    """Lists the images of a data set, with their labels.

    Raises:
      UserError: there are none, or they are not laid out as expected.
    """
    inside, split, children, changed = "", place.split, list[str](), dict[str, int]()
    if place.shards:
        listed = list_archives(epath.Path(place.root), place.archives)
    elif place.archives:
        tar = Tar(epath.Path(place.where), CLS)
        store = enter(tar)
        inside = store.where[len(place.where) + 1 :]
        if not split and place.name == "imagenet" and store.exists("train"):
            split = "train"
        if split and not store.exists(split):
            raise _no_split(store.where, split, store.children())
        listed, children = [list_archive(tar.members, place.archives[0], inside, split)], store.children(split)
    else:
        folder = Folder(epath.Path(place.root))
        listed, children = [list_files(folder.files(split))], folder.children(split)
        changed = folder.changes([split, *(group.folder for group in listed[0].groups)])
    if not any(one.groups for one in listed):
        found = ", ".join(children[:12]) or "nothing"
        raise UserError(f"{place.where}/{split} holds no images. Expected: {TREE}. Found: {found}")
    return _labelled(place, listed, split, {"inside": inside, "stamp": place.described.stamp, "changed": changed})


def _labelled(place: Place, listed: list[Listed], split: str, facts: dict[str, Json]) -> Index:
    """Labels images by the files beside them if all have one, else by their folders."""
    groups = [group for one in listed for group in one.groups]
    numbers = np.array([number for one in listed for number in one.classes], np.int32)
    if (numbers != -1).all():
        return pack(groups, numbers, "image", {**facts, "classes": []})
    labels, classes = label_groups(groups, split, place.shards)
    if place.name == "imagenet" and not classes and (numbers == -1).all():
        raise UserError(f"config key data.root: {place.where} is not laid out as imagenet. Expected: {TREE}")
    return pack(groups, labels, "group", {**facts, "classes": classes})


def _no_split(where: str, split: str, children: list[str]) -> UserError:
    there = ", ".join(children[:12]) or "none"
    return UserError(f"config key data.split: {where} has no folder {split!r}; there are {there}")


def _locate_shards(name: str, root: str, split: str) -> Place | None:
    """Finds the .tar archives in `root` (or its folder `split`, or `train`); None if there are none."""
    path = open_path(root) if root else None
    if path is None or not path.is_dir():
        return None
    store = Folder(path)
    for folder in dict.fromkeys((split or "train", "train", "")):
        children = store.children(folder)
        tars = [child for child in children if child.endswith(".tar")]
        if not tars:
            if folder and children:
                return None  # a split's folder of files
            continue
        others = [child.rstrip("/") for child in children if child.endswith("/") or child.lower().endswith(SUFFIXES)]
        if others:
            raise UserError(
                f"config key data.root: {path / folder} holds archives ({tars[0]}) beside images or folders"
                f" ({others[0]}); point it at one of them"
            )
        if not folder and split:
            tars = [tar for tar in tars if tar.startswith(split)]
            if not tars:
                raise UserError(f"config key data.split: no archive in {path} begins with {split!r}")
        elif any("train" in tar for tar in tars):
            tars = [tar for tar in tars if "train" in tar]
        where = os.fspath(path / folder)
        return Place(name, where, where, tuple(sorted(tars)), shards=True)
    return None
