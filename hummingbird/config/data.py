"""Settings of data sets, the input pipeline and augmentation."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.schema import setting


@dataclasses.dataclass(frozen=True)
class Tfds:
    """How the features of a TFDS data set are named."""

    image: str = setting("", "feature that holds the image; empty: image")
    label: str = setting("", "feature that holds the label, mask or depth; empty: the first with a usual name")
    classes: int = setting(0, "number of mask classes, for data sets that do not name them", low=0, high=255)
    first_id: int = setting(0, "stored id of the first class; smaller ids are void", low=0, high=255)
    depth_scale: float = setting(1.0, "metres per stored unit", above=0)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """The embedded data set of rendered scenes."""

    size: int = setting(96, "side of a rendered image, pixels", low=16, high=1024)
    seed: int = setting(
        0, "seed of the rendered world; splits never share an image, whatever the seed", low=0, high=2**31 - 1
    )
    labels: bool = setting(
        False, "image labels: scene i shows mostly objects of class i % 10; images differ from those without labels"
    )
    pretrain_images: int = setting(4096, "images to pretrain on", low=1, high=10**8)
    prompt_images: int = setting(256, "annotated images to retrieve from", low=1, high=10**8)
    query_images: int = setting(128, "images to predict", low=1, high=10**8)


@dataclasses.dataclass(frozen=True)
class Data:
    """What every job needs to find a data set."""

    name: str = setting("scenes", "data set")
    root: str = setting("", "folder, .tar file or bucket that holds the data set; unused by `scenes`", path=True)
    lenient: bool = setting(False, "accept JPEGs with damage in the middle, as far as they decode")
    tfds: Tfds = Tfds()
    scenes: Scenes = Scenes()


@dataclasses.dataclass(frozen=True)
class InputPipeline:
    """How fast training images are read, and how many of them may be unreadable."""

    max_broken: int | None = setting(
        None,
        "unreadable images, each replaced by the next one, before the run stops; none: data.broken_fraction",
        low=0,
        resumable=True,
    )
    broken_fraction: float = setting(
        1e-3,
        "share of all images that may be unreadable, counted over all hosts, but at least 10 images",
        low=0,
        high=1,
        resumable=True,
    )
    workers: int = setting(
        0, "processes that read and crop; 0: threads of this process", low=0, high=256, resumable=True
    )
    threads: int | None = setting(
        None,
        "threads that read and crop, per process; none: one per core, divided among workers, and 128 more where images "
        "come from a bucket, since those mostly wait",
        low=0,
        high=1024,
        resumable=True,
    )
    read_ahead: int = setting(2, "batches to prepare in advance, per host", low=0, resumable=True)
    buffer: int = setting(
        4096, "most MiB of crops prepared in advance, per host, beside the two batches in use", low=1, resumable=True
    )
    start_over: bool = setting(
        False, "when resuming on different data: start from its beginning instead of refusing", resumable=True
    )


@dataclasses.dataclass(frozen=True)
class TrainingData(InputPipeline, Data):
    """What pretraining reads, and how fast."""

    name: str = setting("scenes", "data set: scenes, imagenet, images (any folder), tfds or tfds/NAME")
    split: str = setting("", "folder or TFDS split, with an optional slice: train[:10%]; empty: the usual one")
    cache: int = setting(1024, "MiB of encoded images kept in memory, per process; 0: none", low=0, resumable=True)


@dataclasses.dataclass(frozen=True)
class Folder:
    """Layout of the data set `folder`: any images with their masks or depth maps."""

    images: str = setting("images", "a folder, or a pattern with {name}, {split}, *: rgb/{name}_rgb.png")
    labels: str = setting("labels", "the same for masks or depth maps")
    classes: str = setting(
        "", "YAML or JSON file: a list of names, or names by id; empty: counted from the masks", path=True
    )
    ignore: int = setting(255, "stored id of void pixels", low=0, high=65535)
    depth_scale: float = setting(0.001, "metres per stored unit", above=0)


@dataclasses.dataclass(frozen=True)
class EvaluationData(Data):
    """Which images are annotated (the prompt) and which are predicted (the queries)."""

    name: str = setting(
        "scenes",
        "data set: scenes, folder (any images with labels), pascal_voc, ade20k, cityscapes, coco_stuff, nyuv2, tfds or "
        "tfds/NAME; those of whole images are in configs/evaluate/images.py",
    )
    exif: Literal["auto", "upright", "stored"] = setting(
        "auto", "orientation of images with EXIF data: as their labels are drawn, upright, or as stored"
    )
    task: Literal["segmentation", "depth", "classification", "image_retrieval", "text", "audio"] | None = setting(
        None,
        "kind of label; none: the data set's own, segmentation if it has both; classification and image_retrieval are "
        "for whole images; text and audio: classes of texts and sounds",
    )
    prompt: str = setting(
        "",
        "split (for `folder` and whole images: or list file) to retrieve from or to train on, with an optional slice: "
        "train[:100], [:80%]; empty: the usual one",
        path=True,
    )
    query: str = setting("", "as data.prompt, for the images to predict", path=True)
    names: str = setting("", "file that lists the prompt images to use, one per line; empty: all", path=True)
    folder: Folder = Folder()
    fraction: float = setting(1.0, "share of the prompt images to use (Sec. 4.2)", above=0, high=1)
    fractions: tuple[float, ...] = setting(
        (), "shares of the prompt to score one after another (Tables 2, 9); empty: none", above=0, high=1
    )
    subsets: int = setting(5, "random subsets of the prompt per entry of `fractions` (Sec. 4.2)", low=1, high=100)
    max_images: int | None = setting(None, "most prompt and query images; none: all", low=1)
    max_queries: int | None = setting(None, "most query images; none: as max_images", low=1)

    def split_text(self, name: str) -> str:
        """The setting `prompt` or `query`."""
        return {"prompt": self.prompt, "query": self.query}[name]


@dataclasses.dataclass(frozen=True)
class LocalViews:
    """Small crops beside the global views (multi-crop), by default DINO's; what is not here is as in `augment`."""

    count: int = setting(0, "local crops per image, for objectives that use them (dino, ibot, dinov2); 0: none", low=0)
    size: int = setting(96, "side of the local crops, pixels", low=1)
    crop_area: tuple[float, float] = setting(
        (0.05, 0.25), "range of a local crop's area, as a fraction of the image", above=0, high=1
    )
    jitter_probability: float = setting(0.8, "as augment.jitter_probability", low=0, high=1)
    grey_probability: float = setting(0.2, "as augment.grey_probability", low=0, high=1)
    blur_probability: float = setting(0.5, "probability of Gaussian blur", low=0, high=1)
    solarise_probability: float = setting(0.0, "probability of solarisation", low=0, high=1)


@dataclasses.dataclass(frozen=True)
class Augment:
    """Table 8. Pairs are (T1, T2) for probabilities and (low, high) for ranges."""

    views: int = setting(2, "global views per image; 1 for objectives that compare no views", low=1, high=2)
    same_crop: bool = setting(False, "the global views show the same crop and differ in what follows (loca)")
    local: LocalViews = LocalViews()

    crop_area: tuple[float, float] = setting(
        (0.08, 1.0), "range of the crop's area, as a fraction of the image (App. C.1)", above=0, high=1
    )
    crop_aspect: tuple[float, float] = setting(
        (3 / 4, 4 / 3), "range of width / height, sampled log-uniformly (App. C.1)", above=0
    )
    flip_probability: float = setting(0.5, "probability of a left-right flip", low=0, high=1)
    jitter_probability: float = setting(0.8, "probability of the four colour operations together", low=0, high=1)
    brightness: float = setting(0.4, "largest brightness shift, added to values in [0, 1]", low=0, high=1)
    contrast: float = setting(0.4, "x: the contrast factor is 1 + U[-x, x]", low=0, high=1)
    saturation: float = setting(0.2, "x: the saturation factor is 1 + U[-x, x]", low=0, high=1)
    hue: float = setting(0.1, "largest hue shift, in turns of the colour circle", low=0, high=0.5)
    grey_probability: float = setting(0.2, "probability of conversion to grey", low=0, high=1)
    blur_probability: tuple[float, float] = setting(
        (1.0, 0.1), "probability of Gaussian blur in T1 and T2", low=0, high=1
    )
    blur_kernel: int = setting(23, "side of the blur window, pixels (App. C.1)", low=1)
    blur_sigma: tuple[float, float] = setting(
        (0.1, 2.0), "range of the blur's standard deviation, pixels (App. C.1)", above=0
    )
    blur_relative: bool = setting(
        True, "blur_kernel and blur_sigma are meant for 224 pixels and scale with input_size; our choice"
    )
    blur_edges: Literal["zero", "reflect"] = setting("zero", "padding of the blur; zero as in BYOL")
    solarise_probability: tuple[float, float] = setting(
        (0.0, 0.2), "probability of solarisation in T1 and T2", low=0, high=1
    )
    solarise_threshold: float = setting(0.5, "values at or above are inverted (App. C.1)", low=0, high=1)
