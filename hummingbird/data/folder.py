"""Any folder (or tar) of images and labels as a dense source: `images/` and `labels/`, or two patterns."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from hummingbird.config.data import EvaluationData
from hummingbird.data import image_files
from hummingbird.data.classes import infer_once, read_classes
from hummingbird.data.datasets import decode_classes
from hummingbird.data.label_files import decode_depth, id_table
from hummingbird.data.names import match_names, names_fingerprint, split_parts, take, text_lines
from hummingbird.data.pairs import Pair, Pairs, Reading, add_name, choose, pair_all, pair_up
from hummingbird.data.store import Store, enter, open_store, read_in_or_beside, warn_once
from hummingbird.errors import UserError

TREE = "images/*.jpg (or .png ...), labels/*.png of the same names, train.txt and val.txt that list names"
LISTS = {"prompt": ("train.txt", "prompt.txt"), "query": ("val.txt", "query.txt")}
MOST_CLASSES = 255

Kind = Literal["images", "labels"]
# What a folder without a pattern may hold; anything else in it is ignored.
SUFFIXES: dict[Kind, tuple[str, ...]] = {"images": image_files.SUFFIXES, "labels": (*image_files.SUFFIXES, ".npy")}


class Labels(NamedTuple):
    """How labels are read: class names, what decodes a file (see `Pairs`), and what identifies both."""

    classes: Sequence[str]
    decode: Callable[[bytes, str], np.ndarray]
    described: str


def build(data: EvaluationData, split: str) -> Pairs:
    """Builds the prompt or query images of a folder.

    Args:
      data: reads `root`, `folder.*`, `prompt`, `query`, `names`, `task`, `exif` and `lenient`.
      split: "prompt" or "query".

    Raises:
      UserError: no images, images without labels, unreadable lists or classes.
    """
    settings, task = data.folder, data.task or "segmentation"
    store = open_store(data.root)
    inner = enter(store)
    if inner is not store and not settings.images.startswith(store.children()[0]):
        store = inner
    pairs = find_pairs(store, split, data.split_text(split), settings.images, settings.labels)
    chosen = choose(pairs, data.names) if split == "prompt" and data.names else pairs
    reading = Reading(data.exif, data.lenient)
    if task not in LABELS:
        raise UserError(f"config key data.task: a folder has labels for {' or '.join(LABELS)}, not {task}")
    classes, decode, described = LABELS[task](store, data, split, pairs)
    return Pairs(store, chosen, task, classes, decode, f"folder {described}", reading)


def _depth_maps(store: Store, data: EvaluationData, split: str, pairs: Sequence[Pair]) -> Labels:
    scale = data.folder.depth_scale
    return Labels((), functools.partial(decode_depth, scale=scale), f"depth scale={scale}")


def _masks(store: Store, data: EvaluationData, split: str, pairs: Sequence[Pair]) -> Labels:
    settings = data.folder
    if settings.classes:
        names, void = read_classes(store, settings.classes, settings.ignore)
    else:
        other = "query" if split == "prompt" else "prompt"
        others = find_pairs(store, other, data.split_text(other), settings.images, settings.labels)
        masks = dict.fromkeys(pair.label for pair in (*pairs, *others))
        names = infer_once(store, list(masks), settings.ignore, split)
        void = (settings.ignore,)
    if len(names) > MOST_CLASSES:
        raise UserError(f"{store.where}: {len(names)} classes; at most {MOST_CLASSES} are supported")
    table = id_table({stored: class_id for class_id, stored in enumerate(names)}, void=void)
    described = names_fingerprint([*(f"{stored} {name}" for stored, name in names.items()), *map(str, void)])
    return Labels(list(names.values()), functools.partial(decode_classes, table=table), f"classes={described}")


# {kind of label: how a folder's labels of that kind are read}
LABELS = {"segmentation": _masks, "depth": _depth_maps}


def find_pairs(store: Store, split: str, split_text: str, images: str, labels: str) -> list[Pair]:
    """Finds all pairs of the prompt or the query.

    Args:
      store: the root.
      split: "prompt" or "query".
      split_text: a list file or a value for "{split}" in the patterns, with an optional slice, or a slice alone, of
        all names; empty: train.txt and val.txt.
      images, labels: a folder, or a pattern with "{name}" (and "{split}", "*") such as "{name}_rgb.png".

    Raises:
      UserError: no images, no list, or images without labels.
    """
    chosen, part = split_parts(split_text)
    in_pattern = "{split}" in images or "{split}" in labels
    if not chosen and not part:
        chosen = _usual_split(store, split, in_pattern)
    photos = match_files(store, images, chosen, "images")
    masks = match_files(store, labels, chosen, "labels")
    if not photos:
        found = ", ".join(store.children()[:12]) or "nothing"
        raise UserError(f"{store.where} holds no images {images!r}. Expected: {TREE}. Found: {found}")
    if not chosen or in_pattern:
        return take(pair_all(photos, masks, store.where, chosen or images), part, split_text)
    listed = read_in_or_beside(store, chosen)
    if listed is None:
        there = [name for name in store.children() if name.endswith(".txt")]
        raise UserError(
            f"config key data.{split}: {store.where} has no list {chosen}; there are {', '.join(there) or 'none'}"
        )
    names = match_names(text_lines(listed, f"config key data.{split}: {chosen}"), photos)
    return take(pair_up(names, photos, masks, store.where, chosen), part, split_text)


def _usual_split(store: Store, split: str, in_pattern: bool) -> str:
    if in_pattern:
        return {"prompt": "train", "query": "val"}[split]
    found = next((name for name in LISTS[split] if store.exists(name)), "")
    if not found:
        raise UserError(
            f"config key data.{split}: {store.where} has no {LISTS[split][0]}, so choose the images of the {split}:"
            f" a list file, or a slice such as data.prompt=[:80%] data.query=[80%:]"
        )
    return found


def match_files(store: Store, pattern: str, split: str, kind: Kind, group: str = "data.folder") -> dict[str, str]:
    """Returns {name: path} of the files that a folder or a pattern means.

    Args:
      store: the root.
      pattern: a folder, where files with a suffix in `SUFFIXES` count, or a pattern with "{name}".
      split: replaces "{split}" in the pattern.
      kind: "images" or "labels".
      group: of the settings that hold the pattern, for errors.

    Raises:
      UserError: two files of one name.
    """
    is_folder = "{name}" not in pattern
    if is_folder:
        pattern = f"{pattern.strip('/')}/{{name}}.*" if pattern.strip("/. ") else "{name}.*"
    pattern = pattern.replace("{split}", split)
    matcher = re.compile(_regex(pattern))
    fixed = re.split(r"\{name\}|\*", pattern)[0].rpartition("/")[0]
    found: dict[str, str] = {}
    ignored: Counter[str] = Counter()
    for path in store.files(fixed):
        match = matcher.fullmatch(path)
        suffix = os.path.splitext(path)[1]
        if not match:
            continue
        if is_folder and suffix.lower() not in SUFFIXES[kind]:
            ignored[suffix] += 1
            continue
        hint = f"; choose with a pattern such as {group}.{kind}={fixed or '.'}/{{name}}{suffix}"
        add_name(found, match["name"], path, store.where, hint)
    if ignored:
        shown = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in ignored.most_common(5))
        warn_once(f"{store.where}/{fixed}: ignored files that cannot be {kind} ({shown})")
    return found


def _regex(pattern: str) -> str:
    """Translates a pattern to a regular expression; a second "{name}" must match the same name."""
    pieces = {"{name}": "(?P<name>.+)", "*": "[^/]*"}
    regex = ""
    for piece in re.split(r"(\{name\}|\*)", pattern):
        regex += pieces.get(piece, re.escape(piece))
        if piece == "{name}":
            pieces["{name}"] = "(?P=name)"
    return regex
