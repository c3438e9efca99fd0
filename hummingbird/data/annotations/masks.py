"""Masks and depth maps beside images: in the layout of `folder`, or in one folder under the same stem."""

from __future__ import annotations

import functools
import logging
import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from hummingbird.data.annotations.interface import Classes, called
from hummingbird.data.classes import count_ids, read_classes
from hummingbird.data.datasets import decode_classes
from hummingbird.data.folder import LISTS, MOST_CLASSES, match_files
from hummingbird.data.image_files import SUFFIXES, open_header
from hummingbird.data.interface import Unreadable
from hummingbird.data.label_files import NUMPY_START, decode_depth, id_table
from hummingbird.data.names import match_names, printable, shorten, text_lines
from hummingbird.data.pairs import Pair, Pairs, Reading, pair_up
from hummingbird.data.store import Store, read_in_or_beside
from hummingbird.errors import UserError
from hummingbird.tasks.drawing import class_colours

log = logging.getLogger(__name__)

ONE_CHANNEL = ("P", "L", "1", "I", "I;16", "I;16B", "F")


# ---------------------------------------------------------------- pairs of files
def folder_pairs(store: Store, images: str, labels: str, names: str) -> list[Pair]:
    """Pairs labels with their images in the layout of the data set `folder`; images without a label are not used.

    Args:
      store: the folder.
      images, labels: as in `hummingbird.data.folder.match_files`.
      names: file that lists the ones to use; "": those of train.txt or prompt.txt if there is one, else all.
    """
    photos = match_files(store, images, "", "images", "prompt")
    masks = match_files(store, labels, "", "labels", "prompt")
    if not masks:
        raise UserError(f"--prompt={store.where}: {labels} holds no masks or depth maps")
    found = names or next((name for name in LISTS["prompt"] if store.exists(name)), "")
    wanted = sorted(masks)
    if found:
        listed = read_in_or_beside(store, found)
        if listed is None:
            raise UserError(f"config key prompt.names: {found} is neither in {store.where} nor a file")
        wanted = match_names(text_lines(listed, f"config key prompt.names: {found}"), photos)
        log.info("%s: %s lists %d of %d labels, which are the prompt", store.where, found, len(wanted), len(masks))
    return pair_up(wanted, photos, masks, store.where, found or labels)


def pairs_beside(store: Store) -> list[Pair]:
    """Pairs images with the masks or depth maps beside them: two files of one name with different suffixes.

    The label is the .npy file, or the one with a single channel; a JPEG never is.

    Raises:
      UserError: two labels for one image, or a pair in which either could be the label.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for path in store.files():
        if path.lower().endswith((*SUFFIXES, ".npy")):
            groups[os.path.splitext(path)[0]].append(path)
    pairs = []
    for name, paths in groups.items():
        if len(paths) == 1:
            continue
        labels = [path for path in paths if path.lower().endswith(".npy")]
        labels = labels or [path for path in paths if _may_be_label(store, path)]
        if len(paths) != 2 or len(labels) != 1:
            both = shorten([path.rpartition("/")[2] for path in paths])
            raise UserError(
                f"{store.where}: {printable(name)} has several files ({both}), and {len(labels)} of them may be its"
                " label; keep an image and one mask of a single channel"
            )
        (image,) = (path for path in paths if path not in labels)
        pairs.append(Pair(name, image, labels[0]))
    return pairs


def _may_be_label(store: Store, path: str) -> bool:
    picture = open_header(store.read(path), called(store, path))
    return picture.format != "JPEG" and picture.mode in ONE_CHANNEL


# ---------------------------------------------------------------- sources
def mask_source(
    store: Store, pairs: Sequence[Pair], classes_file: str, void: int, reading: Reading
) -> tuple[Pairs, Classes]:
    """Reads pairs with masks; the classes are those of a file, or the ids that occur.

    Args:
      store: holds the files.
      pairs: of image and mask.
      classes_file: as in `hummingbird.data.classes.read_classes`; "": none.
      void: the id that masks store for void pixels.
      reading: how images are decoded.

    Raises:
      UserError: masks that cannot be read, no class, or more than 255.
    """
    voids: tuple[int, ...] = (void,)
    paths = [pair.label for pair in pairs]
    pixels, _ = count_ids(store, paths)
    occurring = [int(stored) for stored in np.flatnonzero(pixels) if stored != void]
    if classes_file:
        names, voids = read_classes(store, classes_file, void, "config key prompt.classes")
        occurring = [stored for stored in occurring if stored in names] or list(names)
    else:
        names = {stored: f"class {stored}" for stored in occurring}
    if len(occurring) > MOST_CLASSES:
        raise UserError(
            f"{store.where}: the masks hold {len(occurring)} ids, at most {MOST_CLASSES} are supported; set task=depth"
            " if they are depth maps"
        )
    if not occurring:
        raise UserError(
            f"{store.where}: no pixel of the {len(paths)} masks is annotated, all are void ({void}); if {void} is a"
            " class, set void to an id that does not occur"
        )
    colours = palette(store, paths)
    if colours is None:
        every = dict(zip(names, class_colours(list(names.values())), strict=True))
    else:
        every = {stored: colours[stored % 256] for stored in names}
    shown = Classes(
        tuple(occurring),
        tuple(names[stored] for stored in occurring),
        np.array([every[stored] for stored in occurring], np.uint8),
        void,
        colours,
    )
    table = id_table({stored: number for number, stored in enumerate(occurring)}, void=voids)
    decode = functools.partial(decode_classes, table=table)
    return Pairs(store, pairs, "segmentation", shown.names, decode, f"masks {shown.ids}", reading), shown


def depth_source(store: Store, pairs: Sequence[Pair], scale: float, reading: Reading) -> Pairs:
    """Reads pairs with depth maps, `scale` metres per stored unit."""
    decode = functools.partial(decode_depth, scale=scale)
    return Pairs(store, pairs, "depth", (), decode, f"depth scale={scale}", reading)


def palette(store: Store, masks: Sequence[str]) -> UInt8[np.ndarray, "256 3"] | None:
    """Returns the palette of the first mask that has one; None if none has."""
    for path in masks:
        data = store.read(path)
        if data.startswith(NUMPY_START):
            continue
        picture = open_header(data, called(store, path))
        if picture.mode != "P":
            continue
        stored = picture.getpalette("RGB")
        if stored is None:
            raise Unreadable(f"{called(store, path)} has a broken palette")
        return np.frombuffer(bytes(stored).ljust(768, b"\0"), np.uint8).reshape(256, 3)
    return None
