"""Any TensorFlow Datasets data set that is prepared as ArrayRecord, read without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hummingbird.config.data import EvaluationData, TrainingData
from hummingbird.data.image_files import Unreadable, decode_ids, decode_image, metric_depth
from hummingbird.data.interface import DenseItem, ImageItem
from hummingbird.data.pairs import IGNORE, id_table, look_up_ids
from hummingbird.data.store import open_path
from hummingbird.errors import UserError, first_line

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder, DatasetInfo
    from tensorflow_datasets.core.features import FeatureConnector, FeaturesDict

Records = Sequence[Mapping[str, bytes | np.ndarray]]  # features by name; those that are not decoded as bytes

IMAGE_KEYS = ("image",)
DENSE_KEYS = {"segmentation": ("segmentation_mask", "segmentation_label", "mask", "annotations"), "depth": ("depth",)}
USUAL = {"prompt": "train", "query": "validation", "pretrain": "train"}


def open_tfds(name: str, root: str, split: str, skip: tuple[str, ...]) -> tuple[Records, DatasetInfo]:
    """(data source, info) of a prepared data set; the features in `skip` stay encoded.

    Args:
      name: "tfds" (root is the folder with dataset_info.json) or "tfds/NAME[/CONFIG][:VERSION]" (root is a data_dir).
    """
    import tensorflow_datasets as tfds  # takes a second, so only for those who need it

    builder = _open_builder(name, root)
    try:
        decoders = {key: tfds.decode.SkipDecoding() for key in skip if key in _features(builder.info)}
        as_data_source: Any = builder.as_data_source  # its decorator hides its signature
        return as_data_source(split, decoders=decoders or None), builder.info
    except ModuleNotFoundError as error:
        raise UserError(f"{name} cannot be read without {error.name}: prepare it as array_record") from error
    except Exception as error:  # tfds raises ValueError, NotImplemented... and AssertionError alike
        known = ", ".join(builder.info.splits) or "none; has it been prepared?"
        raise UserError(
            f"{name} split {split!r} cannot be read: {first_line(error)} (splits: {known}; it must be prepared with"
            " file_format=array_record)"
        ) from error


def _open_builder(name: str, root: str) -> DatasetBuilder:
    import tensorflow_datasets as tfds

    try:
        if "/" in name:
            return tfds.builder(name.partition("/")[2], data_dir=root or None)
        return tfds.builder_from_directory(_info_folder(root))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"config key data.name: {name} cannot be opened under {root!r}: {first_line(error)}") from error


def _info_folder(root: str) -> str:
    path = open_path(root)
    if root and (path / "dataset_info.json").exists():
        return str(path)
    raise UserError(f"config key data.root: {root!r} holds no dataset_info.json, which a prepared TFDS folder has")


def _features(info: DatasetInfo) -> FeaturesDict:
    import tensorflow_datasets as tfds

    assert isinstance(info.features, tfds.features.FeaturesDict)
    return info.features


def _feature(info: DatasetInfo, wanted: str, usual: tuple[str, ...], what: str) -> str:
    keys = list(_features(info))
    if wanted:
        if wanted not in keys:
            raise UserError(
                f"config key data.tfds.{what}: {info.name} has no feature {wanted!r}; it has {', '.join(keys)}"
            )
        return wanted
    found = [key for key in usual if key in keys]
    if not found:
        raise UserError(f"config key data.tfds.{what}: say which feature of {info.name} it is: {', '.join(keys)}")
    return found[0]


class TFDSDense:
    """A dense source over a TFDS data set."""

    ignore = IGNORE

    def __init__(self, data: EvaluationData, split: str):
        text = data.split_text(split) or USUAL[split]
        self.task = data.task or ("depth" if "nyu" in data.name else "segmentation")
        _, info = open_tfds(data.name, data.root, text, ())
        self._image = _feature(info, data.tfds.image, IMAGE_KEYS, "image")
        self._label = _feature(info, data.tfds.label, DENSE_KEYS[self.task], "label")
        self._source, _ = open_tfds(data.name, data.root, text, (self._image, self._label))
        self._scale, self._lenient = data.tfds.depth_scale, data.lenient
        self._called = f"{info.full_name} {text}"
        if split == "prompt" and data.names:
            raise UserError(
                "config key data.names: TFDS items have no names; use a slice such as data.prompt=train[:100]"
            )
        self.classes: list[str] = []
        void = (IGNORE,)
        if self.task == "segmentation":
            self.classes = _class_names(_features(info)[self._label], data.tfds.classes)
            self._table = id_table({i + data.tfds.first_id: i for i in range(len(self.classes))}, void=void)
            if data.tfds.first_id > 0:
                self._table[: data.tfds.first_id] = IGNORE
        self.fingerprint = (
            f"tfds {info.full_name} {text} images={len(self._source)} {self._image} {self._label}"
            f" scale={self._scale} classes={len(self.classes)} first_id={data.tfds.first_id}"
        )

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        return f"{index:06d}"

    def __getitem__(self, index: int) -> DenseItem:
        name = f"{self._called} item {index}"
        item = self._source[index]
        image = item[self._image]
        image = decode_image(image, name, self._lenient) if isinstance(image, bytes) else np.asarray(image)
        label = item[self._label]
        if self.task == "depth":
            if isinstance(label, bytes):
                label = decode_ids(label, name)
            label = metric_depth(np.asarray(label), name, self._scale)
        else:
            stored = decode_ids(label, name) if isinstance(label, bytes) else np.asarray(label)
            stored = stored[..., 0] if stored.ndim == 3 else stored
            label = look_up_ids(stored, self._table, name)
        if image.shape[:2] != label.shape:
            raise Unreadable(f"{name}: the label is {label.shape}, its image {image.shape[:2]}")
        return {"image": image, "label": label, "name": self.name(index)}


def _class_names(feature: FeatureConnector, count: int) -> list[str]:
    names = getattr(feature, "names", None)
    if names:
        return list(names)
    if count:
        return [f"class {i}" for i in range(count)]
    raise UserError("config key data.tfds.classes: the masks of this data set name no classes; give their number")


class TFDSImages:
    """An image source over a TFDS data set: encoded bytes, and the integer label if it has one."""

    def __init__(self, data: TrainingData):
        text = data.split or USUAL["pretrain"]
        _, info = open_tfds(data.name, data.root, text, ())
        self._image = _feature(info, data.tfds.image, IMAGE_KEYS, "image")
        self._label = data.tfds.label or ("label" if "label" in _features(info) else "")
        self._source, _ = open_tfds(data.name, data.root, text, (self._image,))
        label = _features(info)[self._label] if self._label else None
        self.classes: list[str] = list(getattr(label, "names", None) or [])
        self._called = f"{info.full_name} {text}"
        settings = json.dumps([self._image, self._label])
        self.fingerprint = f"tfds {info.full_name} {text} images={len(self._source)} {settings}"

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        return f"{self._called} item {index}"

    def __getitem__(self, index: int) -> ImageItem:
        item = self._source[index]
        image = item[self._image]
        return {
            "image": image if isinstance(image, bytes) else np.asarray(image),
            "label": int(item[self._label]) if self._label else -1,
        }
