"""PASCAL VOC 2012, ADE20K, Cityscapes and COCO-Stuff, from the layouts in which they are distributed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from hummingbird.config.data import EvaluationData
from hummingbird.data import class_names
from hummingbird.data.image_files import decode_ids
from hummingbird.data.pairs import (
    IGNORE,
    Pair,
    Pairs,
    choose,
    id_table,
    listed,
    look_up_ids,
    pair_up,
    split_parts,
    take,
)
from hummingbird.data.store import Store, locate, read_lines
from hummingbird.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a segmentation data set lies on disk.

    Attributes:
      marks: files and folders that its root holds. nested: where the root may lie within `data.root`.
      tree: the layout in words. prompt, query: its usual splits.
      pairs: (store, split) -> all pairs of a split. classes: store -> names by class id.
      table: number of classes -> `id_table`.
    """

    marks: tuple[str, ...]
    nested: tuple[str, ...]
    tree: str
    prompt: str
    query: str
    pairs: Callable[[Store, str], list[Pair]]
    classes: Callable[[Store], Sequence[str]]
    table: Callable[[int], np.ndarray]


def build(name: str, data: EvaluationData, split: str) -> Pairs:
    """The prompt or query images of data set `name` (a key of `LAYOUTS`)."""
    layout = LAYOUTS[name]
    if data.task == "depth":
        raise UserError(f"config key data.task: {name} has no depth, only segmentation")
    store = locate(data.root, name, layout.marks, layout.nested, layout.tree)
    text = data.split_text(split) or getattr(layout, split)
    chosen, part = split_parts(text)
    pairs = take(layout.pairs(store, chosen or getattr(layout, split)), part, text)
    if split == "prompt" and data.names:
        pairs = choose(pairs, data.names)
    classes = layout.classes(store)
    decode = functools.partial(_decode, table=layout.table(len(classes)))
    return Pairs(store, pairs, "segmentation", classes, decode, f"{name} {text}", data.lenient)


def _decode(data: bytes, name: str, table: np.ndarray) -> np.ndarray:
    return look_up_ids(decode_ids(data, name), table, name)


def _by_name(files: Sequence[str], suffix: str) -> dict[str, str]:
    """{name: path} of the files that end so; the name is the path's last part without `suffix`."""
    return {path.rsplit("/", 1)[-1][: -len(suffix)]: path for path in files if path.endswith(suffix)}


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
    """trainaug (10,582 of the masks by Hariharan et al.), train, val or trainval.

    Lists hold an id a line, or the paths of image and mask. Without a list, trainaug is all augmented masks minus val.
    """
    images = _by_name(store.files("JPEGImages"), ".jpg")
    augmented = split in VOC_ALIASES
    folder = "SegmentationClassAug" if augmented else "SegmentationClass"
    if not store.exists(folder):
        advice = "; data.prompt=train uses the 1,464 original masks" if augmented else ""
        raise UserError(f"{store.where}: there is no folder {folder}, which split {split} needs{advice}")
    masks = _by_name(store.files(folder), ".png")
    names = VOC_ALIASES.get(split, (split,))
    found = [f"{VOC_LISTS}/{name}.txt" for name in names if store.exists(f"{VOC_LISTS}/{name}.txt")]
    if found:
        return pair_up(listed(store, found[0]), images, masks, store.where, found[0])
    if not augmented:
        there = [name[:-4] for name in store.children(VOC_LISTS) if name.endswith(".txt")]
        raise UserError(f"{store.where}: there is no {VOC_LISTS}/{split}.txt; the splits there are {', '.join(there)}")
    if not store.exists(f"{VOC_LISTS}/val.txt"):
        raise UserError(f"{store.where}: trainaug needs {VOC_LISTS}/trainaug.txt, or val.txt to leave those out")
    held_out = set(listed(store, f"{VOC_LISTS}/val.txt"))
    derived = [name for name in sorted(masks) if name not in held_out]
    return pair_up(derived, images, masks, store.where, "SegmentationClassAug without val")


# ---------------------------------------------------------------- ADE20K
def ade20k_pairs(store: Store, split: str) -> list[Pair]:
    _need_split(store, "images", split)
    images = _by_name(store.files(f"images/{split}"), ".jpg")
    masks = _by_name(store.files(f"annotations/{split}"), ".png")
    return pair_up(sorted(images), images, masks, store.where, f"images/{split}")


def ade20k_classes(store: Store) -> list[str]:
    """From objectInfo150.txt, a table whose last column holds synonyms; the first of them is the name."""
    if not store.exists("objectInfo150.txt"):
        return [f"class {i + 1}" for i in range(150)]
    rows = [line.split("\t") for line in read_lines(store, "objectInfo150.txt")[1:]]
    names = [row[-1].split(",")[0].strip() for row in rows]
    if len(names) != 150:
        raise UserError(f"{store.where}/objectInfo150.txt holds {len(names)} classes, expected 150")
    return names


# ---------------------------------------------------------------- Cityscapes
def cityscapes_pairs(store: Store, split: str) -> list[Pair]:
    _need_split(store, "leftImg8bit", split)
    images = _by_name(store.files(f"leftImg8bit/{split}"), "_leftImg8bit.png")
    masks = _by_name(store.files(f"gtFine/{split}"), "_gtFine_labelIds.png")
    return pair_up(sorted(images), images, masks, store.where, f"leftImg8bit/{split}")


# ---------------------------------------------------------------- COCO-Stuff
COCO_MASKS = ("annotations", "stuffthingmaps", "stuffthingmaps_trainval2017")


def coco_stuff_pairs(store: Store, split: str) -> list[Pair]:
    folder = next((name for name in COCO_MASKS if store.exists(f"{name}/{split}")), None)
    if folder is None:
        raise UserError(
            f"{store.where}: no masks of {split}; looked for {', '.join(f'{m}/{split}' for m in COCO_MASKS)}"
        )
    photos = f"images/{split}" if store.exists(f"images/{split}") else split
    images = _by_name(store.files(photos), ".jpg")
    masks = {
        name.removesuffix("_labelTrainIds"): path
        for name, path in _by_name(store.files(folder + "/" + split), ".png").items()
        if not name.endswith("_labelTrainIds")
    }
    return pair_up(sorted(images), images, masks, store.where, photos)


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
    ),
    "cityscapes": Layout(
        marks=("leftImg8bit", "gtFine"),
        nested=("cityscapes",),
        tree="leftImg8bit/{train,val}/CITY/*_leftImg8bit.png, gtFine/{train,val}/CITY/*_gtFine_labelIds.png",
        prompt="train",
        query="val",
        pairs=cityscapes_pairs,
        classes=lambda store: list(class_names.CITYSCAPES.values()),
        # 0-33, and -1 (licence plates) which an unsigned PNG holds as 255: what is not evaluated is void
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
    ),
}
