"""Batches of views for pretraining: shuffled, cropped, batched and read ahead by Grain; resumable at any batch.

Every random choice depends only on the seed and on an image's global position in the run. Shuffling and cropping come
before the hosts' shares are cut, so host h of H gets part h of every global batch, in order, whatever the number of
hosts, workers and threads: the parts of all hosts, joined in their order, are the batch of a single host.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import grain
import numpy as np
from jaxtyping import Int32, Int64, UInt8

from hummingbird.config import PretrainConfig
from hummingbird.config.data import Augment
from hummingbird.data import crops
from hummingbird.data.batches import Batches, Collation, first_readable, make_dataset
from hummingbird.data.broken import build_broken_images
from hummingbird.data.feed import build_reading
from hummingbird.data.interface import ImageSource, Unreadable, image_name
from hummingbird.data.sources import Cached, build_image_source
from hummingbird.data.views import ViewGroup, build_view_groups
from hummingbird.errors import UserError
from hummingbird.run.files import Json


class Views(TypedDict):
    """The views of one image.

    Attributes:
      views: {view group: V crops of S x S pixels}.
      label: class id, -1 if there is none.
      index: number of the image in the source.
      broken: (number, message) of the unreadable images that it replaces.
    """

    views: dict[str, UInt8[np.ndarray, "V S S 3"]]
    label: int
    index: int
    broken: list[tuple[int, str]]


class Collated(TypedDict):
    """The views of B images, with the keys of `Views`."""

    views: dict[str, UInt8[np.ndarray, "B V S S 3"]]
    label: Int32[np.ndarray, " B"]
    index: Int64[np.ndarray, " B"]
    broken: list[tuple[int, str]]


class HostBatch(TypedDict):
    """The b images of a global batch that belong to this host.

    Attributes:
      views: {view group: V crops of S x S pixels of each image}.
      label: class ids, -1 for images without one.
      index: numbers of the images in the source.
    """

    views: dict[str, UInt8[np.ndarray, "b V S S 3"]]
    label: Int32[np.ndarray, " b"]
    index: Int64[np.ndarray, " b"]


class MakeViews(grain.transforms.RandomMap):
    """Maps the number of an image to views of it, or of the next image that can be read."""

    def __init__(self, source: ImageSource, groups: Mapping[str, ViewGroup], lenient: bool = False):
        self._source = source
        self._crop = functools.partial(crops.crop_groups, groups=groups, lenient=lenient)

    def random_map(self, element: int, rng: np.random.Generator) -> Views:
        def make(index: int) -> tuple[dict[str, UInt8[np.ndarray, "V S S 3"]], int]:
            item = self._source[index]
            return self._crop(rng, item["image"], name=image_name(self._source, index)), item["label"]

        (views, label), index, broken = first_readable(make, int(element), len(self._source))
        return {"views": views, "label": label, "index": index, "broken": broken}


def collate(items: Sequence[Views]) -> Collated:
    """Stacks the views of images."""
    return {
        "views": {name: np.stack([item["views"][name] for item in items]) for name in items[0]["views"]},
        "label": np.array([item["label"] for item in items], np.int32),
        "index": np.array([item["index"] for item in items], np.int64),
        "broken": [entry for item in items for entry in item["broken"]],
    }


def join(parts: Sequence[Collated]) -> Collated:
    """Concatenates batches."""
    return {
        "views": {name: np.concatenate([part["views"][name] for part in parts]) for name in parts[0]["views"]},
        "label": np.concatenate([part["label"] for part in parts]),
        "index": np.concatenate([part["index"] for part in parts]),
        "broken": [entry for part in parts for entry in part["broken"]],
    }


VIEWS = Collation(collate, join)


class ViewBatches(Batches[HostBatch]):
    """Batches of views, with the images that they are of.

    Attributes:
      source: all images, of which this host reads some.
    """

    def __init__(self, source: ImageSource, *args: Any, **kwargs: Any):
        """Starts at the first batch; arguments as in `Batches`."""
        super().__init__(*args, **kwargs)
        self.source = source

    def some_labels(self, count: int = 8) -> Int32[np.ndarray, " n"]:
        """Returns the labels of at most `count` images spread over the source, without those that cannot be read."""
        found: list[int] = []
        images = len(self.source)
        for index in np.linspace(0, images - 1, min(count, images)).astype(int):
            with contextlib.suppress(Unreadable):
                found.append(self.source[int(index)]["label"])
        return np.array(found, np.int32)


def _unusual_views(augment: Augment) -> dict[str, Json]:
    """Returns what a fingerprint says about views other than two random crops; those of older runs have no more."""
    local, unusual = augment.local, dict[str, Json]()
    if augment.views != 2:
        unusual["views"] = augment.views
    if augment.same_crop:
        unusual["same_crop"] = True
    if local.count:
        unusual["local"] = [local.count, local.size, *local.crop_area]
    return unusual


def build_batches(
    config: PretrainConfig, seed: int, host: int = 0, hosts: int = 1, source: ImageSource | None = None
) -> ViewBatches:
    """Builds the batches of views that one of `hosts` processes reads.

    Args:
      config: a pretraining config; reads `data.*`, `batch_size` (global), `input_size`, and the crops of `augment`.
      seed: decides order and crops.
      host, hosts: this process's number, and how many there are.
      source: the images, if they are there already; None: built here.

    Raises:
      UserError: the batch does not divide over the hosts, or the source is smaller than a batch, or cannot be built.
    """
    if config.batch_size % hosts:
        raise UserError(f"config key batch_size: {config.batch_size} images do not divide over {hosts} hosts")
    data = config.data
    if source is None:
        source = build_image_source(config)
        if data.cache:
            source = Cached(source, data.cache << 20)
    if len(source) < config.batch_size:
        raise UserError(f"config key batch_size: {config.batch_size} is more than the {len(source)} images there are")
    fingerprint: dict[str, Json] = {
        "source": source.fingerprint,
        "images": len(source),
        "seed": seed,
        "batch_size": config.batch_size,
        "input_size": config.input_size,
        "crop_area": list(config.augment.crop_area),
        "crop_aspect": list(config.augment.crop_aspect),
        "lenient": data.lenient,
    } | _unusual_views(config.augment)
    groups, host_batch = build_view_groups(config), config.batch_size // hosts
    dataset = make_dataset(MakeViews(source, groups, data.lenient), len(source), seed, config.batch_size, host, hosts)
    image_bytes = sum(group.count * group.size**2 * 3 for group in groups.values())
    reading = build_reading(data, host_batch, image_bytes, getattr(source, "remote", False))
    broken = build_broken_images(data, len(source))
    return ViewBatches(source, dataset, host_batch, fingerprint, reading, broken, VIEWS, data.start_over)
