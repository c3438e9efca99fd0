"""Any TensorFlow Datasets data set that is prepared as ArrayRecord, read without TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hummingbird.config.data import EvaluationData, Tfds, TrainingData
from hummingbird.data.interface import DenseItem, ImageItem, Unreadable
from hummingbird.data.label_files import IGNORE, decode_ids, id_table, look_up_ids, metric_depth
from hummingbird.data.pairs import Reading, decode_to_fit
from hummingbird.data.store import open_path
from hummingbird.errors import UserError, first_line

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder, DatasetInfo
    from tensorflow_datasets.core.features import FeatureConnector, FeaturesDict

Decode = Callable[[bytes | np.ndarray, str], np.ndarray]
Records = Sequence[Mapping[str, bytes | np.ndarray]]  # features by name; those that stay encoded as bytes

IMAGE_KEYS = ("image",)
DENSE_KEYS = {"segmentation": ("segmentation_mask", "segmentation_label", "mask", "annotations"), "depth": ("depth",)}
USUAL = {"prompt": "train", "query": "validation", "pretrain": "train"}


def open_tfds(name: str, root: str, split: str, encoded: Sequence[str] = ()) -> tuple[Records, DatasetInfo]:
    """Opens a split of a prepared data set.

    Args:
      name: "tfds" (`root` is the folder with dataset_info.json) or "tfds/NAME[/CONFIG][:VERSION]" (`root` is a
        data_dir).
      root: as above; empty: the default data_dir.
      split: in the syntax of TFDS, such as "train[:10%]".
      encoded: features to leave as bytes.

    Raises:
      UserError: no such data set or split, or one that is not prepared as ArrayRecord.
    """
    import tensorflow_datasets as tfds  # takes a second, so only for those who need it

    builder = _open_builder(name, root)
    try:
        decoders = {key: tfds.decode.SkipDecoding() for key in encoded if key in _features(builder.info)}
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


def _feature(info: DatasetInfo, wanted: str, usual: Sequence[str], what: str) -> str:
    """Returns the feature `wanted`, or the first with a usual name."""
    keys = list(_features(info))
    if wanted:
        if wanted not in keys:
            raise UserError(
                f"config key data.tfds.{what}: {info.name} has no feature {wanted!r}; it has {', '.join(keys)}"
            )
        return wanted
    found = [key for key in usual if key in keys]
    if not found:
        raise UserError(f"config key data.tfds.{what}: choose the feature of {info.name}: {', '.join(keys)}")
    return found[0]


class TFDSDense:
    """A dense source over a TFDS data set."""

    ignore = IGNORE

    def __init__(self, data: EvaluationData, split: str):
        text = data.split_text(split) or USUAL[split]
        if split == "prompt" and data.names:
            raise UserError(
                "config key data.names: TFDS items have no names; use a slice such as data.prompt=train[:100]"
            )
        self.task = data.task or ("depth" if "nyu" in data.name else "segmentation")
        _, info = open_tfds(data.name, data.root, text)
        self._image = _feature(info, data.tfds.image, IMAGE_KEYS, "image")
        self._label = _feature(info, data.tfds.label, DENSE_KEYS[self.task], "label")
        self._source, _ = open_tfds(data.name, data.root, text, (self._image, self._label))
        self._reading, self._called = Reading(data.exif, data.lenient), f"{info.full_name} {text}"
        self.classes, self._decode = LABELS[self.task](_features(info)[self._label], data.tfds)
        self.fingerprint = (
            f"tfds {info.full_name} {text} images={len(self._source)} {self._image} {self._label}"
            f" scale={data.tfds.depth_scale} classes={len(self.classes)} first_id={data.tfds.first_id}"
            f" exif={data.exif}"
        )

    def __len__(self) -> int:
        return len(self._source)

    def name(self, index: int) -> str:
        """Returns the name of item `index` without reading it."""
        return f"{index:06d}"

    def __getitem__(self, index: int) -> DenseItem:
        called = f"{self._called} item {index}"
        item = self._source[index]
        label = self._decode(item[self._label], called)
        image = item[self._image]
        if isinstance(image, bytes):
            image = decode_to_fit(image, called, label.shape, self._reading)
        if image.shape[:2] != label.shape:
            raise Unreadable(f"{called}: the label is {label.shape}, its image {image.shape[:2]}")
        return {"image": np.asarray(image), "label": label, "name": self.name(index)}


def _stored(label: bytes | np.ndarray, called: str) -> np.ndarray:
    return decode_ids(label, called) if isinstance(label, bytes) else np.asarray(label)


def _masks(feature: FeatureConnector, settings: Tfds) -> tuple[list[str], Decode]:
    classes, first = _class_names(feature, settings.classes), settings.first_id
    if len(classes) > IGNORE:
        raise UserError(f"the masks of this data set have {len(classes)} classes; at most {IGNORE} are supported")
    table = id_table({i + first: i for i in range(len(classes))}, void=(*range(first), IGNORE))

    def decode(label: bytes | np.ndarray, called: str) -> np.ndarray:
        stored = _stored(label, called)
        return look_up_ids(stored[..., 0] if stored.ndim == 3 else stored, table, called)

    return classes, decode


def _depth_maps(feature: FeatureConnector, settings: Tfds) -> tuple[list[str], Decode]:
    return [], lambda label, called: metric_depth(_stored(label, called), called, settings.depth_scale)


# {kind of label: from a feature and the settings, the class names and the decoder of a stored label}
LABELS = {"segmentation": _masks, "depth": _depth_maps}


def _class_names(feature: FeatureConnector, count: int) -> list[str]:
    names = getattr(feature, "names", None)
    if names:
        return list(names)
    if count:
        return [f"class {i}" for i in range(count)]
    raise UserError("config key data.tfds.classes: the masks of this data set name no classes; give their number")


class TFDSImages:
    """An image source over a TFDS data set: encoded bytes, and the integer label if there is one."""

    def __init__(self, data: TrainingData):
        text = data.split or USUAL["pretrain"]
        _, info = open_tfds(data.name, data.root, text)
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
        """Returns what to call item `index` in messages."""
        return f"{self._called} item {index}"

    def __getitem__(self, index: int) -> ImageItem:
        item = self._source[index]
        image = item[self._image]
        return {
            "image": image if isinstance(image, bytes) else np.asarray(image),
            "label": int(item[self._label]) if self._label else -1,
        }
