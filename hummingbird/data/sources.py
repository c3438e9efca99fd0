"""Data sets by name: random access to images for pretraining, to images with dense labels for evaluation.

A source is a sequence: `len(source)` and `source[i]`, a pure function of `i`, so that order, sharding and resuming are
the pipeline's business alone. `fingerprint` says which data it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hummingbird.config import EvaluateConfig, PretrainConfig
from hummingbird.config.data import EvaluationData, TrainingData
from hummingbird.config.data import Scenes as SceneSettings
from hummingbird.data import folder, images, layouts, nyu
from hummingbird.data.from_tfds import TFDSDense, TFDSImages
from hummingbird.data.scenes import Scenes
from hummingbird.errors import UserError

# Indices of `scenes` are shared out far apart, so that the splits stay disjoint whatever their lengths (<= 10**8).
SCENES_FIRST = {"pretrain": 0, "prompt": 10**9, "query": 2 * 10**9}


@runtime_checkable
class DenseSource(Protocol):
    """Images with a label for each pixel.

    Items are {"image": uint8 [H, W, 3], "label": int32 [H, W] class ids (`ignore` where void) or float32 [H, W] metres
    (0 where invalid), "name": str}; sizes may differ from item to item.
    """

    task: str  # "segmentation" or "depth"
    classes: list[str]  # their names, by id; empty for depth
    ignore: int
    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


@runtime_checkable
class ImageSource(Protocol):
    """Images to pretrain on: items are {"image": uint8 [H, W, 3] or an encoded file's bytes, "label": int, -1 none}."""

    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


class SceneImages:
    """`scenes` without their labels."""

    def __init__(self, scenes: Scenes):
        self._scenes = scenes
        self.fingerprint = scenes.fingerprint

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self._scenes[index]["image"], "label": -1}


def _scenes(scenes: SceneSettings, split: str, length: int, task: str) -> Scenes:
    return Scenes(scenes.seed, length, scenes.size, task, first=SCENES_FIRST[split])


def dense_scenes(data: EvaluationData, split: str) -> DenseSource:
    length = {"prompt": data.scenes.prompt_images, "query": data.scenes.query_images}[split]
    return _scenes(data.scenes, split, length, data.task or "segmentation")


def image_scenes(data: TrainingData) -> ImageSource:
    return SceneImages(_scenes(data.scenes, "pretrain", data.scenes.pretrain_images, "segmentation"))


DENSE: dict[str, Callable[[Any, str], DenseSource]] = {
    "scenes": dense_scenes,
    "folder": folder.build,
    **{name: functools.partial(layouts.build, name) for name in layouts.LAYOUTS},
    "nyuv2": nyu.build,
    "tfds": TFDSDense,  # also "tfds/NAME"
}
IMAGES: dict[str, Callable[[Any], ImageSource]] = {
    "scenes": image_scenes,
    "imagenet": images.build,
    "images": images.build,
    "tfds": TFDSImages,
}


def build_dense_source(config: EvaluateConfig, split: str) -> DenseSource:
    """The prompt or query images of an evaluation config.

    Args:
      config: an evaluation config; reads `data.*`.
      split: "prompt" (annotated images to retrieve from) or "query" (images to predict).

    Raises:
      UserError: unknown data set, or one that is not laid out as expected under `data.root`.
    """
    if split not in ("prompt", "query"):
        raise ValueError(f"split={split!r}: prompt or query")
    return _look_up(DENSE, config.data.name, "evaluate")(config.data, split)


def build_image_source(config: PretrainConfig) -> ImageSource:
    """The images of a pretraining config; reads `data.*`. Raises UserError as `build_dense_source` does."""
    return _look_up(IMAGES, config.data.name, "pretrain")(config.data)


def _look_up(table: dict[str, Any], name: str, job: str) -> Any:
    kind = "tfds" if name.startswith("tfds/") else name
    if kind not in table:
        raise UserError(
            f"config key data.name: {name!r} is no data set to {job} with; there are {', '.join(table)}, tfds/NAME"
        )
    return table[kind]


def image_name(source: ImageSource, index: int) -> str:
    """What to call an image in messages, without reading it: its file if the source knows."""
    name = getattr(source, "name", None)
    return name(index) if name else f"image {index}"


class Cached:
    """A source whose items are kept in memory, first come first kept, until `limit` bytes are used.

    Never drops an item: under shuffling all items are equally likely to be wanted next.
    """

    def __init__(self, source: ImageSource, limit: int):
        self._source, self._left = source, limit
        self._kept: dict[int, dict[str, Any]] = {}
        self.fingerprint = source.fingerprint

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        return image_name(self._source, index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        kept = self._kept.get(index)
        if kept is None:
            kept = self._source[index]
            image = kept["image"]
            size = image.nbytes if isinstance(image, np.ndarray) else len(image)
            if size <= self._left:  # two threads may both pass here: the limit is then missed by an image each
                self._left -= size
                self._kept[index] = kept
        return kept
