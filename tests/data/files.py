"""Small files and data sets for the tests of `hummingbird.data`."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hummingbird import config
from hummingbird.data.sources import build_dense_source, build_image_source
from hummingbird.errors import UserError


def encode(array: np.ndarray, kind: str = "PNG", mode: str | None = None, **options) -> bytes:
    """Encodes an array as an image file."""
    picture = Image.fromarray(array)
    buffer = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def ramp(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Makes a smooth colour image, uint8 [H, W, 3], which lossy compression changes little."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.stack([127 + 120 * np.sin(3 * x + 2 * y * (i + 1) + phase[i]) for i in range(3)], -1).astype(np.uint8)


def blocks(height: int, width: int, ids: list[int]) -> np.ndarray:
    """Makes a mask of vertical stripes, uint8 [H, W]."""
    return np.broadcast_to(np.repeat(ids, -(-width // len(ids)))[:width], (height, width)).astype(np.uint8)


def palette_png(mask: np.ndarray) -> bytes:
    """Encodes a mask as VOC does: a palette PNG with the ids as indices."""
    picture = Image.fromarray(mask, "L").convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def make_voc(root: Path, names: list[str], val: list[str], lists: dict[str, str]) -> Path:
    """Makes VOCdevkit/VOC2012 in `root`; returns `root`."""
    voc = root / "VOCdevkit" / "VOC2012"
    for i, name in enumerate(names):
        write(voc / "JPEGImages" / f"{name}.jpg", encode(ramp(20, 30, i), "JPEG"))
        mask = palette_png(blocks(20, 30, [0, i % 20 + 1, 255]))
        write(voc / "SegmentationClassAug" / f"{name}.png", mask)
        write(voc / "SegmentationClass" / f"{name}.png", mask)
    write(voc / "ImageSets/Segmentation/val.txt", "\n".join(val))
    for file, text in lists.items():
        write(voc / "ImageSets/Segmentation" / file, text)
    return root


def make_folder(root: Path, names: list[str], ids: list[int], prompt: list[str] | None = None) -> Path:
    """Makes images/ and labels/, and lists if `prompt` is given (the other names are queries)."""
    for i, name in enumerate(names):
        write(root / "images" / f"{name}.jpg", encode(ramp(24, 32, i), "JPEG"))
        write(root / "labels" / f"{name}.png", encode(blocks(24, 32, ids)))
    if prompt is not None:
        write(root / "train.txt", "\n".join(prompt))
        write(root / "val.txt", "\n".join(name for name in names if name not in prompt))
    return root


def pack(folder: Path, archive: Path, inside: str = "") -> Path:
    """Packs a folder into a tar, under the name `inside`."""
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=inside or ".")
    return archive


def make_tfds(folder: Path, count: int = 5, size: tuple[int, int] = (6, 8)) -> Path:
    """Makes a prepared TFDS data set "tiny" with images, masks, depth and labels, written without TensorFlow.

    Item i: an image of grey level i, a mask of id i % 2, depth i metres (item 0: NaN), label i % 2.
    """
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_generated_pb2

    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
            "depth": tfds.features.Tensor(shape=size, dtype=np.float16),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
    )
    writer = array_record_module.ArrayRecordWriter(
        str(folder / "tiny-train.array_record-00000-of-00001"), "group_size:1"
    )
    for i in range(count):
        example = tf_example_generated_pb2.Example()
        feature = example.features.feature
        feature["image"].bytes_list.value.append(encode(np.full((*size, 3), i, np.uint8)))
        feature["segmentation_mask"].bytes_list.value.append(encode(np.full(size, i % 2, np.uint8)))
        feature["depth"].float_list.value.extend([float(i) if i else np.nan] * (size[0] * size[1]))
        feature["label"].int64_list.value.append(i % 2)
        writer.write(example.SerializeToString())
    writer.close()
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    files = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name="tiny", split="train", filetype_suffix="array_record", template=template
    )
    split = tfds.core.SplitInfo(name="train", shard_lengths=[count], num_bytes=0, filename_template=files)
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=[split], filename_template=template, check_data=False
    )
    return folder


# ---------------------------------------------------------------- opening them as a config would
def dense(split, name, root, **changes):
    """Builds the prompt or query; `folder__ignore=0` sets data.folder.ignore=0."""
    overrides = {"data.name": name, "data.root": str(root)}
    overrides.update({f"data.{key.replace('__', '.')}": value for key, value in changes.items()})
    return build_dense_source(config.resolve("evaluate", overrides=overrides), split)


def images(name, root, **changes):
    """Builds the source of a pretraining config."""
    overrides = {"data.name": name, "data.root": str(root), **{f"data.{key}": value for key, value in changes.items()}}
    return build_image_source(config.resolve("pretrain", overrides=overrides))


def names(source):
    return [source[i]["name"] for i in range(len(source))]


def assert_refused(message, *args, **changes):
    """Asserts that building or reading `dense(...)` fails in one line that matches `message`; returns the line."""
    with pytest.raises(UserError, match=message) as caught:
        names(dense(*args, **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)
