"""Images to pretrain on: ImageNet's class folders, tar shards, or any folder of images, with or without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from etils import epath
from jaxtyping import Int32

from hummingbird.config.data import TrainingData
from hummingbird.data import index_files
from hummingbird.data.fetch import is_remote
from hummingbird.data.index import Index
from hummingbird.data.interface import ImageItem, Unreadable
from hummingbird.data.names import names_fingerprint, printable, split_parts, take
from hummingbird.data.places import Place, list_place, locate
from hummingbird.data.scan import BESIDE, CLS, INVALID
from hummingbird.data.store import Folder, Store
from hummingbird.data.tars import Span, read_member


class Images:
    """An image source over files in any order, such as those of a list.

    Attributes:
      classes: class names by id; empty if there are none.
      labels: class id of each image.
    """

    def __init__(
        self, store: Store, paths: Sequence[str], labels: Int32[np.ndarray, " N"], classes: Sequence[str], kind: str
    ):
        """Makes a source.

        Args:
          store: holds the files.
          paths: N of them, in the order of the items.
          labels: class id of each image, -1 if unknown.
          classes: class names by id; empty if there are none.
          kind: beginning of the fingerprint, to which the number of files and their paths are added.
        """
        self._store = store
        self._paths = np.array([path.encode("utf-8", "surrogateescape") for path in paths])
        self.labels, self.classes = labels, list(classes)
        self.fingerprint = f"{kind} images={len(paths)} files={names_fingerprint(paths)}"

    def __len__(self) -> int:
        return len(self._paths)

    def _path(self, index: int) -> str:
        return self._paths[index].decode("utf-8", "surrogateescape")

    def name(self, index: int) -> str:
        """Returns the path of image `index`, for messages."""
        return printable(f"{self._store.where}/{self._path(index)}")

    def __getitem__(self, index: int) -> ImageItem:
        return {"image": self._store.read(self._path(index)), "label": int(self.labels[index])}


class IndexedImages:
    """An image source over an index: encoded bytes, and the class of their folder or of a file beside them (-1: none).

    Attributes:
      classes: class names by id; empty if there are none.
      remote: whether reading an image is a request to a bucket.
    """

    def __init__(self, index: Index, place: Place, first: int = 0, last: int | None = None):
        """Makes a source of images `first` to `last`, to the end if None."""
        self._index, self._first, self._last = index, first, len(index) if last is None else last
        self._place = place
        self._root, self._folder = place.root, Folder(epath.Path(place.root))
        inside = index.facts.get("inside", "")
        self._where = f"{place.where}/{inside}" if inside else place.where
        self.remote = is_remote(place.root)
        self.classes: list[str] = list(index.facts["classes"])
        whole = len(self) == len(index)
        files = index.facts["files"] if whole else names_fingerprint(index.paths(self._first, self._last))
        kind = f"{place.name} shards" if place.shards else place.name
        self.fingerprint = f"{kind} images={len(self)} files={files}"

    def __len__(self) -> int:
        return self._last - self._first

    @property
    def labels(self) -> Int32[np.ndarray, " N"]:
        """Class id of each image; -1 or `BESIDE` where the folders do not tell."""
        return self._index.all_labels()[self._first : self._last]

    def by_archive(self) -> IndexedImages:
        """Returns the images with the names of their archives as classes, where each archive holds one class."""
        index = self._index.relabelled() if self._place.shards else None
        if index is None:
            return self
        return IndexedImages(index, self._place._replace(name="archives", shards=False), self._first, self._last)

    def name(self, index: int) -> str:
        """Returns the path of image `index`, for messages."""
        return printable(f"{self._where}/{self._index.path(self._first + index)}")

    def __getitem__(self, index: int) -> ImageItem:
        number = self._first + index
        label = self._index.label(number)
        if label in (BESIDE, INVALID):
            label = self._label_beside(number, label)
        return {"image": self._read(number), "label": label}

    def _read(self, number: int) -> bytes:
        found = self._index.span(number)
        if found is None:
            return self._folder.read(self._index.path(number))
        archive, offset, size = found
        return read_member(f"{self._root}/{archive}", Span(offset, size), self._index.path(number))

    def _label_beside(self, number: int, label: int) -> int:
        path = f"{self._index.path(number).rpartition('.')[0]}{CLS}"
        try:
            if label == INVALID:
                raise ValueError("it is not a number")
            return int(self._folder.read(path))
        except ValueError as error:
            raise Unreadable(f"{self._where}/{path} holds no class number: {error}") from error


def build(data: TrainingData) -> IndexedImages:
    """Builds the images of a folder, of a tar archive, or of a folder of archives, in sorted order.

    Args:
      data: reads `name`, `root` and `split`. The split is a folder (by default `train` for `imagenet`, else none); of
        several archives, it is how their names begin (by default those with "train" in them, or all).

    Raises:
      UserError: no images, or not laid out as expected.
    """
    place = locate(data)
    index = find_index(place)
    _, part = split_parts(data.split)
    chosen = take(range(len(index)), part, data.split)
    return IndexedImages(index, place, chosen[0], chosen[-1] + 1)


def find_index(place: Place, renew: bool = False, keep: bool | None = None) -> Index:
    """Returns the list of a data set's images; see `index_files.find_or_make`.

    A bucket's folder of plain files has nothing by which a change would be noticed, so its list is kept only on demand.
    """
    if keep is None and is_remote(place.root) and not place.archives:
        keep = False
    return index_files.find_or_make(place.described, lambda: list_place(place), renew, keep)
