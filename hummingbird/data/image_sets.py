"""Data sets of whole images by name: class folders, archives of classes, lists of paths and labels, or TFDS."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.config.data import EvaluationData, TrainingData
from hummingbird.config.data import Scenes as SceneSettings
from hummingbird.data import images
from hummingbird.data.from_tfds import TFDSImages, open_tfds
from hummingbird.data.image_lists import SUFFIXES, list_images
from hummingbird.data.labelled import Labelled, Splits, same_classes, stratified
from hummingbird.data.names import repeated, shorten, split_parts, text_lines
from hummingbird.data.scene_art import OBJECTS
from hummingbird.data.sources import scene_images
from hummingbird.data.store import enter, open_path, open_store, read_in_or_beside
from hummingbird.errors import UserError

TREE = (
    "train/<class>/* and test/<class>/* (or val/), <class>/*, one .tar for each class, a prepared TFDS folder, or "
    "lists of paths and labels in data.prompt and data.query"
)


class ImageSet(NamedTuple):
    """What is known about a data set.

    Attributes:
      tfds: its name in TFDS; "": not there.
      metric: what its scores are, "top1" or "mean_per_class".
      classes: how many it has; 0: any number.
      train, test, validation: names of its splits, as folders or in TFDS, the first that exists counts.
    """

    tfds: str
    metric: str = "top1"
    classes: int = 0
    train: tuple[str, ...] = ("train", "training", "trainval")
    test: tuple[str, ...] = ("test", "val", "validation", "valid")
    validation: tuple[str, ...] = ()


VALIDATION = ("val", "validation", "valid")
# Metrics and splits as in FUNGI (App. A): training on `train` alone where there is a validation split.
SETS: dict[str, ImageSet] = {
    "imagenet": ImageSet("imagenet2012", classes=1000, test=("val", "validation")),
    "imagenet100": ImageSet("", classes=100, test=("val", "validation", "test")),
    "cifar10": ImageSet("cifar10", classes=10),
    "cifar100": ImageSet("cifar100", classes=100),
    "food101": ImageSet("food101", classes=101),
    "pets": ImageSet("oxford_iiit_pet", "mean_per_class", 37),
    "flowers102": ImageSet("oxford_flowers102", "mean_per_class", 102, test=("test",), validation=VALIDATION),
    "dtd": ImageSet("dtd", classes=47, test=("test",), validation=VALIDATION),
    "eurosat": ImageSet("eurosat", classes=10),
    "cars": ImageSet("cars196", classes=196),
    "cub": ImageSet("caltech_birds2011", classes=200),
    "aircraft": ImageSet("", "mean_per_class", 100, test=("test",), validation=VALIDATION),
    "images": ImageSet("", validation=VALIDATION),  # any class folders, or lists
}


def build_labelled(config: EvaluateConfig) -> Splits:
    """Builds the training and test images of an evaluation of whole images.

    Args:
      config: reads `data.*`, `seed`, `images.classes` and `images.test_share`.

    Raises:
      UserError: unknown data set, one that is not laid out as expected, or images without labels.
    """
    data, name = config.data, config.data.name
    if name == "scenes":
        parts = {split: labelled_scenes(data.scenes, split) for split in ("prompt", "query")}
        return Splits(parts["prompt"], parts["query"])
    if not (name in SETS or name == "tfds" or name.startswith("tfds/")):
        raise UserError(
            f"config key data.name: {name!r} is not a data set of whole images; there are scenes, {', '.join(SETS)}, "
            "tfds/NAME"
        )
    known = SETS.get(name, SETS["images"])
    reader = Reader(data, known)
    wanted = chosen_classes(config.images.classes)
    splits = reader.splits(config.images.test_share, config.seed)
    if wanted:
        kept = None if splits.validation is None else keep_classes(splits.validation, wanted)
        splits = Splits(keep_classes(splits.train, wanted), keep_classes(splits.test, wanted), kept, splits.choice)
    if name == "imagenet100" and len(splits.train.classes) != known.classes:
        raise UserError(
            f"config key images.classes: {data.root} has {len(splits.train.classes)} classes; list the 100 of "
            "ImageNet-100 in a file, one WordNet id per line, and give it here"
        )
    validation = splits.validation
    if validation is not None:
        validation = same_classes(splits.train, validation, "validation")
    return splits._replace(test=same_classes(splits.train, splits.test, "test"), validation=validation)


def labelled_scenes(scenes: SceneSettings, split: str) -> Labelled:
    """Returns `scenes` with image labels; `split` is "prompt" or "query"."""
    source = scene_images(dataclasses.replace(scenes, labels=True), split)
    labels = np.array([source.label(i) for i in range(len(source))], np.int32)
    return Labelled(source, OBJECTS, labels)


class Reader:
    """Opens the splits of a data set, wherever its files are.

    Args:
      data: where they are, and which splits.
      known: names of the splits.
    """

    def __init__(self, data: EvaluationData, known: ImageSet):
        self.data, self.known = data, known
        self.tfds, self.root = tfds_name(data, known)
        if not self.tfds:
            self.store = enter(open_store(self.root))

    def splits(self, test_share: float, seed: int) -> Splits:
        """Returns all parts; without a test split, a share of each training class is held out."""
        train = self.open(self.data.prompt or self.first(self.known.train), "data.prompt")
        query = self.data.query or self.first(self.known.test)
        left = [name for name in self.known.validation if name != query] if not self.data.prompt else []
        name = self.first(left)
        validation = self.open(name, "data.query") if name else None
        if query:
            return Splits(train, self.open(query, "data.query"), validation)
        kept, held = stratified(train.labels, test_share, seed)
        if not len(held):
            raise UserError(
                f"config key data.query: {self.data.root} has no test split and one image a class; give test images"
            )
        share = f"{100 * (1 - test_share):.0f}/{100 * test_share:.0f}"
        return Splits(train.take(kept), train.take(held), validation, f"stratified {share}, seed {seed}")

    def first(self, names: Sequence[str]) -> str:
        """Returns the first split that exists; "" if none does."""
        if self.tfds:
            there = list(open_tfds(self.tfds, self.root, "train", ("image",))[1].splits)
        else:
            there = [name.rstrip("/") for name in self.store.children() if name.endswith("/")]
        return next((name for name in names if name in there), "")

    def open(self, split: str, key: str) -> Labelled:
        """Opens a split: a TFDS split, a list file, or a folder ("": all folders).

        Raises:
          UserError: no such split, or images without labels.
        """
        data = TrainingData(name=self.tfds or "images", root=self.root, split=split, tfds=self.data.tfds)
        if self.tfds:
            source = TFDSImages(data)
            if not source.classes:
                raise UserError(f"config key data.tfds.label: {self.data.name} has no class labels under this name")
            return Labelled(source, source.classes)
        name, part = split_parts(split)
        if name.lower().endswith(SUFFIXES):
            content = read_in_or_beside(self.store, name)
            if content is None:
                raise UserError(f"config key {key}: there is no list {name}, neither in {self.store.where} nor beside")
            source = list_images(self.store, content, name, part)
        else:
            source = images.build(data)
            source = source if source.classes else source.by_archive()
        if not source.classes:
            where = f"{self.store.where}/{split}".rstrip("/")
            raise UserError(f"config key data.root: {where} holds images without labels. Expected: {TREE}")
        return Labelled(source, source.classes, source.labels if source.labels.min() >= 0 else None)


def tfds_name(data: EvaluationData, known: ImageSet) -> tuple[str, str]:
    """Returns the name and data_dir of a prepared TFDS data set; ("", root) for files in folders."""
    if data.name == "tfds" or data.name.startswith("tfds/"):
        return data.name, data.root
    if data.root:
        if (open_path(data.root) / "dataset_info.json").exists():
            return "tfds", data.root
        prepared = prepared_folder(data.root, known.tfds) if known.tfds else ""
        if prepared:
            return "tfds", prepared
        if data.name != "images" and (open_path(data.root) / data.name).is_dir():
            return "", f"{data.root.rstrip('/')}/{data.name}"  # a folder of several data sets
    return "", data.root


def prepared_folder(data_dir: str, name: str) -> str:
    """Returns the folder of a data set in a TFDS data_dir, its newest version; "" if there is none."""
    home = open_path(data_dir) / name
    folders = [home] if home.is_dir() else []
    for _ in range(2):  # NAME/VERSION, or NAME/CONFIG/VERSION
        folders = sorted(inner for folder in folders for inner in folder.iterdir() if inner.is_dir())
        found = [str(folder) for folder in folders if (folder / "dataset_info.json").exists()]
        if found:
            return found[-1]
    return ""


def chosen_classes(path: str) -> list[str]:
    """Reads the names of the classes to use; none: all."""
    if not path:
        return []
    try:
        names = text_lines(pathlib.Path(path).read_bytes(), path)
    except OSError as error:
        raise UserError(f"config key images.classes: {path} cannot be read ({error.strerror})") from error
    if repeated(names) or len(names) < 2:
        raise UserError(
            f"config key images.classes: {path} needs at least two classes, each on a line of its own, once"
        )
    return names


def keep_classes(part: Labelled, names: Sequence[str]) -> Labelled:
    """Returns the images of some classes, which are numbered in the order of `names`."""
    missing = [name for name in names if name not in part.classes]
    if missing:
        raise UserError(f"config key images.classes: there are no images of {shorten(missing)}")
    number = {name: i for i, name in enumerate(names)}
    ids = np.array([number.get(name, -1) for name in part.classes], np.int32)
    chosen = np.flatnonzero(ids[part.labels] >= 0)
    return part.take(chosen).renamed(names, ids)
