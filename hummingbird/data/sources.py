"""Data sets by name: images for pretraining, and images with dense labels for evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from hummingbird.config import EvaluateConfig, PretrainConfig
from hummingbird.config.data import EvaluationData, TrainingData
from hummingbird.config.data import Scenes as SceneSettings
from hummingbird.data import array_records, datasets, folder, images, nyu
from hummingbird.data.from_tfds import TFDSDense, TFDSImages
from hummingbird.data.interface import DenseItem, DenseSource, ImageItem, ImageSource, Readable, image_name
from hummingbird.data.scenes import Scenes
from hummingbird.errors import UserError

Builder = TypeVar("Builder")
Item = TypeVar("Item", ImageItem, DenseItem)

# Where each split of `scenes` starts: so far apart that splits stay disjoint whatever their lengths (at most 10**8).
SCENES_FIRST = {"pretrain": 0, "prompt": 10**9, "query": 2 * 10**9}


class SceneImages:
    """`scenes` with their image labels, without masks and depth."""

    def __init__(self, scenes: Scenes):
        self._scenes = scenes
        self.fingerprint = scenes.fingerprint

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> ImageItem:
        return {"image": self._scenes[index]["image"], "label": self.label(index)}

    def name(self, index: int) -> str:
        """Returns what to call scene `index`."""
        return f"scene-{self._scenes.seed}-{self._scenes.first + index}"

    def label(self, index: int) -> int:
        """Returns the image label of a scene without rendering it; -1 without labels."""
        return self._scenes.image_label(index)


def _scenes(scenes: SceneSettings, split: str, length: int, task: str) -> Scenes:
    return Scenes(scenes.seed, length, scenes.size, task, first=SCENES_FIRST[split], labels=scenes.labels)


def dense_scenes(data: EvaluationData, split: str) -> Scenes:
    """Returns the prompt or query scenes, with masks or depth maps."""
    length = {"prompt": data.scenes.prompt_images, "query": data.scenes.query_images}[split]
    return _scenes(data.scenes, split, length, data.task or "segmentation")


def scene_images(scenes: SceneSettings, split: str) -> SceneImages:
    """Returns the scenes of a split with their image labels; `split` is a key of `SCENES_FIRST`."""
    lengths = {"pretrain": scenes.pretrain_images, "prompt": scenes.prompt_images, "query": scenes.query_images}
    return SceneImages(_scenes(scenes, split, lengths[split], "segmentation"))


def image_scenes(data: TrainingData) -> SceneImages:
    """Returns the scenes to pretrain on."""
    return scene_images(data.scenes, "pretrain")


def image_files(data: TrainingData) -> ImageSource:
    """Returns the images of folders or archives, or those that were converted to ArrayRecord."""
    if array_records.is_one(data.root):
        return array_records.ArrayRecordImages(data.root, data.split)
    return images.build(data)


DENSE: dict[str, Callable[[EvaluationData, str], DenseSource]] = {
    "scenes": dense_scenes,
    "folder": folder.build,
    **{name: functools.partial(datasets.build, name) for name in datasets.LAYOUTS},
    "nyuv2": nyu.build,
    "tfds": TFDSDense,  # also "tfds/NAME"
}
IMAGES: dict[str, Callable[[TrainingData], ImageSource]] = {
    "scenes": image_scenes,
    "imagenet": image_files,
    "images": image_files,
    "tfds": TFDSImages,  # also "tfds/NAME"
}


def build_dense_source(config: EvaluateConfig, split: str) -> DenseSource:
    """Builds the prompt or query images of an evaluation config.

    Args:
      config: an evaluation config; reads `data.*`.
      split: "prompt" (annotated images to retrieve from) or "query" (images to predict).

    Raises:
      UserError: unknown data set, or one that is not laid out as expected under `data.root`.

    Example:
      >>> from hummingbird import config
      >>> small = config.resolve("evaluate", overrides={"data.scenes.query_images": 2, "data.scenes.size": 32})
      >>> queries = build_dense_source(small, "query")
      >>> len(queries), queries[0]["image"].shape, queries[0]["label"].shape
      (2, (32, 32, 3), (32, 32))
    """
    if split not in ("prompt", "query"):
        raise ValueError(f"split={split!r}: prompt or query")
    return look_up(DENSE, config.data.name, "evaluate")(config.data, split)


def build_image_source(config: PretrainConfig) -> ImageSource:
    """Builds the images of a pretraining config; reads `data.*`. Raises UserError as `build_dense_source` does."""
    return look_up(IMAGES, config.data.name, "pretrain")(config.data)


def look_up(table: Mapping[str, Builder], name: str, job: str) -> Builder:
    """Finds the builder of a data set in `DENSE` or `IMAGES`; UserError lists the names that exist."""
    kind = "tfds" if name.startswith("tfds/") else name
    if kind not in table:
        raise UserError(
            f"config key data.name: {name!r} is not a data set to {job} with; there are {', '.join(table)}, tfds/NAME"
        )
    return table[kind]


class Cached(Generic[Item]):
    """Keeps the items of a source in memory, in the order they are first read, until `limit` bytes are used.

    It never evicts: under shuffling every item is equally likely to be read next.
    """

    def __init__(self, source: Readable[Item], limit: int):
        self._source, self._limit, self._left = source, limit, limit
        self._kept: dict[int, Item] = {}
        self.fingerprint = source.fingerprint
        self.remote = getattr(source, "remote", False)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the kept items behind: a worker process starts with an empty cache."""
        return self.__dict__ | {"_kept": {}, "_left": self._limit}

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        return image_name(self._source, index)

    def __getitem__(self, index: int) -> Item:
        kept = self._kept.get(index)
        if kept is None:
            kept = self._source[index]
            size = sum(size_of(value) for value in kept.values())
            if size <= self._left:  # two threads may both pass here, which overshoots the limit by an image each
                self._left -= size
                self._kept[index] = kept
        return kept


def size_of(value: object) -> int:
    """Returns the bytes of an array or of an encoded image; 0 for anything else."""
    return value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, bytes) else 0
