"""Images with a class each, to train classifiers on or to test them: any image source, its labels, and which images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from hummingbird.data.interface import ImageItem, ImageSource, image_name
from hummingbird.data.names import names_fingerprint, shorten
from hummingbird.errors import UserError


class Labelled:
    """Some images of a source, with the ids of their classes.

    Args:
      source: the images.
      classes: class names by id.
      labels: id of each of the source's N images; None: its items hold them, which are then read one by one.
      rows: which images to use; None: all.
      ids: new id of each of the source's own ids; -1: no class to use. None: they stay as they are.

    Attributes:
      classes: class names by id.
      fingerprint: identifies images and labels.
    """

    def __init__(
        self,
        source: ImageSource,
        classes: Sequence[str],
        labels: Int32[np.ndarray, " N"] | None = None,
        rows: Int[np.ndarray, " n"] | None = None,
        ids: Int[np.ndarray, " C"] | None = None,
    ):
        self._source, self.classes, self._ids = source, list(classes), ids
        self._labels = labels if labels is None or ids is None else ids[labels].astype(np.int32)
        self.rows = np.arange(len(source)) if rows is None else rows
        chosen = "" if rows is None else f" rows={names_fingerprint(map(str, rows))}"
        self.fingerprint = f"{source.fingerprint}{chosen} classes={names_fingerprint(self.classes)}"

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """Returns what to call image `index` in messages."""
        return image_name(self._source, int(self.rows[index]))

    def __getitem__(self, index: int) -> ImageItem:
        item = self._source[int(self.rows[index])]
        return {"image": item["image"], "label": self._id(index, item["label"])}

    def _id(self, index: int, stored: int) -> int:
        if self._labels is not None:
            return int(self._labels[self.rows[index]])
        label = int(self._ids[stored]) if self._ids is not None and stored >= 0 else stored
        if label < 0:
            raise UserError(f"{self.name(index)} has no label; images without one cannot be classified")
        return label

    @property
    def knows_labels(self) -> bool:
        """Whether labels are known without reading the items."""
        return self._labels is not None

    @property
    def labels(self) -> Int32[np.ndarray, " n"]:
        """Class id of each image. A source that does not know them is read to the end once."""
        if self._labels is None:
            found = np.array([self._source[int(row)]["label"] for row in range(len(self._source))], np.int32)
            if found.min(initial=0) < 0:
                raise UserError(
                    f"{image_name(self._source, int(found.argmin()))} has no label; images without one cannot be "
                    "classified"
                )
            self._labels = found if self._ids is None else self._ids[found].astype(np.int32)
        return self._labels[self.rows]

    def renamed(self, classes: Sequence[str], ids: Int[np.ndarray, " C"]) -> Labelled:
        """Returns the images with other class ids: `ids` by their own ids, -1 for classes to leave out."""
        if self._labels is None:
            known = self._ids if self._ids is not None else np.arange(len(self.classes))
            return Labelled(self._source, classes, None, self.rows, np.where(known < 0, -1, ids[known]))
        return Labelled(
            self._source, classes, np.where(self._labels < 0, -1, ids[self._labels]).astype(np.int32), self.rows
        )

    def take(self, chosen: Int[np.ndarray, " n"]) -> Labelled:
        """Returns the images numbered `chosen`, in that order."""
        ids = None if self._labels is not None else self._ids
        return Labelled(self._source, self.classes, self._labels, self.rows[chosen], ids)


class Splits(NamedTuple):
    """The parts of a data set of whole images.

    Attributes:
      train: images to retrieve from and to train on.
      test: images to classify, with the same class ids.
      validation: an official split to choose settings on; None: there is none.
      choice: how the images were split into train and test.
    """

    train: Labelled
    test: Labelled
    validation: Labelled | None = None
    choice: str = "official"


def stratified(labels: Int32[np.ndarray, " N"], share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides images so that each class gives the same share to the second part, at least one if it has two images.

    Args:
      labels: class ids.
      share: of each class.
      seed: decides which.

    Returns:
      Rows of the first and of the second part, ascending.

    Example:
      >>> first, second = stratified(np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], np.int32), 0.2, seed=0)
      >>> len(first), len(second)
      (8, 2)
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, len(labels)]))
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        held[rng.permutation(rows)[: max(count, 0)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def same_classes(train: Labelled, other: Labelled, what: str) -> Labelled:
    """Returns images with the class ids of `train`.

    Args:
      train: decides the ids.
      other: images with classes of the same names.
      what: what to call them in errors.

    Raises:
      UserError: a class that is not in `train`.
    """
    if other.classes == train.classes:
        return other
    number = {name: i for i, name in enumerate(train.classes)}
    unknown = [name for name in other.classes if name not in number]
    if unknown:
        raise UserError(
            f"{len(unknown)} class(es) of the {what} images are not among the training classes: {shorten(unknown)}; "
            "check data.prompt and data.query, or choose classes with images.classes"
        )
    return other.renamed(train.classes, np.array([number[name] for name in other.classes], np.int32))
