"""PASCAL VOC 2012, ADE20K, Cityscapes and COCO-Stuff, in the layouts in which they are distributed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int32

from hummingbird.config.data import EvaluationData
from hummingbird.data import class_names
from hummingbird.data.label_files import IGNORE, decode_ids, id_table, look_up_ids
from hummingbird.data.names import match_names, split_parts, take
from hummingbird.data.pairs import Pair, Pairs, Reading, by_name, choose, pair_all, pair_up
from hummingbird.data.store import Store, locate, read_lines
from hummingbird.errors import UserError

PHOTO = (".jpg", ".jpeg", ".png")
MASK = (".png",)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a segmentation data set on disk.

    Attributes:
      marks: files and folders that its root holds.
      nested: folders of `data.root` where the root may be instead.
      tree: the layout in words, for errors.
      prompt, query: its usual splits.
      pairs: (store, split) -> all pairs of a split.
      classes: store -> class names by class id.
      table: number of classes -> `id_table`.
      void_class: as in `Pairs`.
      incomparable: as in `Pairs`.
    """

    marks: tuple[str, ...]
    nested: tuple[str, ...]
    tree: str
    prompt: str
    query: str
    pairs: Callable[[Store, str], list[Pair]]
    classes: Callable[[Store], Sequence[str]]
    table: Callable[[int], Int32[np.ndarray, " ids"]]
    void_class: str = ""
    incomparable: str = ""


def build(name: str, data: EvaluationData, split: str) -> Pairs:
    """Builds the prompt or query images of a public data set.

    Args:
      name: a key of `LAYOUTS`.
      data: reads `root`, `prompt`, `query`, `names`, `exif` and `lenient`.
      split: "prompt" or "query".

    Raises:
      UserError: not laid out as expected, or no such split.
    """
    layout = LAYOUTS[name]
    if data.task not in (None, "segmentation"):
        raise UserError(f"config key data.task: {name} has no {data.task}, only segmentation")
    store = locate(data.root, name, layout.marks, layout.nested, layout.tree)
    usual = {"prompt": layout.prompt, "query": layout.query}[split]
    text = data.split_text(split) or usual
    chosen, part = split_parts(text)
    pairs = take(layout.pairs(store, chosen or usual), part, text)
    if split == "prompt" and data.names:
        pairs = choose(pairs, data.names)
    classes = layout.classes(store)
    decode = functools.partial(decode_classes, table=layout.table(len(classes)))
    reading = Reading(data.exif, data.lenient)
    source = Pairs(store, pairs, "segmentation", classes, decode, f"{name} {text}", reading)
    source.void_class, source.incomparable = layout.void_class, layout.incomparable
    return source


def decode_classes(data: bytes, name: str, table: Int32[np.ndarray, " ids"]) -> Int32[np.ndarray, "H W"]:
    """Decodes a mask to class ids by a table of `id_table`."""
    return look_up_ids(decode_ids(data, name), table, name)


def _need_split(store: Store, folder: str, split: str) -> None:
    if not store.exists(f"{folder}/{split}"):
        there = [name.rstrip("/") for name in store.children(folder)]
        advice = f"; parts of one: data.prompt={there[0]}[:80%] data.query={there[0]}[80%:]" if there else ""
        raise UserError(
            f"{store.where}: there is no {folder}/{split}; the splits there are {', '.join(there) or 'none'}{advice}"
        )


# ---------------------------------------------------------------- PASCAL VOC 2012
VOC_LISTS = "ImageSets/Segmentation"
VOC_ALIASES = {"trainaug": ("trainaug", "train_aug", "train_aug_cls")}


def voc_pairs(store: Store, split: str) -> list[Pair]:
    """Returns the pairs of trainaug (10,582, with masks by Hariharan et al.), train, val or trainval.

    Lists hold an id per line, or the paths of image and mask. Without a list, trainaug is every augmented mask that is
    not in val.
    """
    images = by_name(store.files("JPEGImages"), PHOTO, store.where)
    augmented = split in VOC_ALIASES
    folder = "SegmentationClassAug" if augmented else "SegmentationClass"
    if not store.exists(folder):
        advice = "; data.prompt=train uses the 1,464 original masks" if augmented else ""
        raise UserError(f"{store.where}: there is no folder {folder}, which split {split} needs{advice}")
    masks = by_name(store.files(folder), MASK, store.where)
    names = VOC_ALIASES.get(split, (split,))
    found = [f"{VOC_LISTS}/{name}.txt" for name in names if store.exists(f"{VOC_LISTS}/{name}.txt")]
    if found:
        return pair_up(match_names(read_lines(store, found[0]), images), images, masks, store.where, found[0])
    if not augmented:
        there = [name[:-4] for name in store.children(VOC_LISTS) if name.endswith(".txt")]
        raise UserError(f"{store.where}: there is no {VOC_LISTS}/{split}.txt; the splits there are {', '.join(there)}")
    if not store.exists(f"{VOC_LISTS}/val.txt"):
        raise UserError(f"{store.where}: trainaug needs {VOC_LISTS}/trainaug.txt, or val.txt to leave those out")
    held_out = set(match_names(read_lines(store, f"{VOC_LISTS}/val.txt"), images))
    derived = [name for name in sorted(masks) if name not in held_out]
    return pair_up(derived, images, masks, store.where, "SegmentationClassAug without val")


# ---------------------------------------------------------------- ADE20K
def ade20k_pairs(store: Store, split: str) -> list[Pair]:
    """Returns the pairs of images/SPLIT and annotations/SPLIT."""
    _need_split(store, "images", split)
    images = by_name(store.files(f"images/{split}"), PHOTO, store.where)
    masks = by_name(store.files(f"annotations/{split}"), MASK, store.where)
    return pair_all(images, masks, store.where, f"images/{split}")


def ade20k_classes(store: Store) -> list[str]:
    """Reads class names from objectInfo150.txt: the first synonym in the last column of each row."""
    if not store.exists("objectInfo150.txt"):
        return [f"class {i + 1}" for i in range(150)]
    rows = [line.split("\t") for line in read_lines(store, "objectInfo150.txt")[1:]]
    names = [row[-1].split(",")[0].strip() for row in rows]
    if len(names) != 150:
        raise UserError(f"{store.where}/objectInfo150.txt holds {len(names)} classes, expected 150")
    return names


# ---------------------------------------------------------------- Cityscapes
def cityscapes_pairs(store: Store, split: str) -> list[Pair]:
    """Returns the pairs of leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY."""
    _need_split(store, "leftImg8bit", split)
    images = by_name(store.files(f"leftImg8bit/{split}"), ("_leftimg8bit.png",), store.where)
    masks = by_name(store.files(f"gtFine/{split}"), ("_gtfine_labelids.png",), store.where)
    return pair_all(images, masks, store.where, f"leftImg8bit/{split}")


# ---------------------------------------------------------------- COCO-Stuff
COCO_MASKS = ("annotations", "stuffthingmaps", "stuffthingmaps_trainval2017")


def coco_stuff_pairs(store: Store, split: str) -> list[Pair]:
    """Returns the pairs of images/SPLIT (or SPLIT) and the masks of SPLIT in one of `COCO_MASKS`."""
    folder = next((name for name in COCO_MASKS if store.exists(f"{name}/{split}")), None)
    if folder is None:
        tried = ", ".join(f"{name}/{split}" for name in COCO_MASKS)
        raise UserError(f"{store.where}: there are no masks of {split}; tried {tried}")
    photos = f"images/{split}" if store.exists(f"images/{split}") else split
    images = by_name(store.files(photos), PHOTO, store.where)
    masks = by_name(store.files(f"{folder}/{split}"), MASK, store.where)
    masks = {name: path for name, path in masks.items() if not name.endswith("_labelTrainIds")}
    return pair_all(images, masks, store.where, photos)


LAYOUTS: dict[str, Layout] = {
    "pascal_voc": Layout(
        marks=("JPEGImages", VOC_LISTS),
        nested=("VOC2012", "VOCdevkit/VOC2012"),
        tree="JPEGImages/*.jpg, SegmentationClass/*.png, SegmentationClassAug/*.png, ImageSets/Segmentation/*.txt",
        prompt="trainaug",
        query="val",
        pairs=voc_pairs,
        classes=lambda store: class_names.VOC,
        table=lambda count: id_table({i: i for i in range(count)}, void=(IGNORE,)),
    ),
    "ade20k": Layout(
        marks=("images", "annotations"),
        nested=("ADEChallengeData2016",),
        tree="images/{training,validation}/*.jpg, annotations/{training,validation}/*.png, objectInfo150.txt",
        prompt="training",
        query="validation",
        pairs=ade20k_pairs,
        classes=ade20k_classes,
        table=lambda count: id_table({i + 1: i for i in range(count)}, void=(0,)),
        void_class="other",
    ),
    "cityscapes": Layout(
        marks=("leftImg8bit", "gtFine"),
        nested=("cityscapes",),
        tree="leftImg8bit/{train,val}/CITY/*_leftImg8bit.png, gtFine/{train,val}/CITY/*_gtFine_labelIds.png",
        prompt="train",
        query="val",
        pairs=cityscapes_pairs,
        classes=lambda store: list(class_names.CITYSCAPES.values()),
        # ids are 0-33, and -1 (licence plates), which an unsigned PNG stores as 255; those not evaluated are void
        table=lambda count: id_table(
            {stored: i for i, stored in enumerate(class_names.CITYSCAPES)}, void=(*range(34), IGNORE)
        ),
    ),
    "coco_stuff": Layout(
        marks=("images",),
        nested=("coco_stuff164k", "coco"),
        tree="images/{train2017,val2017}/*.jpg, annotations/{train2017,val2017}/*.png (or stuffthingmaps/...)",
        prompt="train2017",
        query="val2017",
        pairs=coco_stuff_pairs,
        classes=lambda store: list(class_names.COCO_STUFF.values()),
        table=lambda count: id_table({stored: i for i, stored in enumerate(class_names.COCO_STUFF)}, void=(IGNORE,)),
        incomparable="its COCO has 12 or 15 coarse classes, coco_stuff has 171",
    ),
}
