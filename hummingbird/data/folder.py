"""Anyone's folder (or tar) of images and labels as a dense source: `images/` and `labels/`, or any two patterns."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
import yaml
from etils import epath

from hummingbird.config.data import EvaluationData
from hummingbird.data.image_files import decode_depth, decode_ids
from hummingbird.data.pairs import Pair, Pairs, choose, id_table, listed, look_up_ids, pair_up, split_parts, take
from hummingbird.data.store import Store, enter, names_fingerprint, open_store
from hummingbird.errors import UserError

log = logging.getLogger(__name__)

TREE = "images/*.jpg (or .png ...), labels/*.png of the same names, train.txt and val.txt that list names"
LISTS = {"prompt": ("train.txt", "prompt.txt"), "query": ("val.txt", "query.txt")}


def build(data: EvaluationData, split: str) -> Pairs:
    """The prompt or query images of a folder; reads `data.folder.*` and `data.{prompt,query,names,task}`."""
    settings, task = data.folder, data.task or "segmentation"
    store = open_store(data.root)
    inner = enter(store)
    if inner is not store and not settings.images.startswith(store.children()[0]):
        store = inner
    split_text = data.split_text(split)
    pairs = find_pairs(store, split, split_text, settings.images, settings.labels)
    chosen = choose(pairs, data.names) if split == "prompt" and data.names else pairs
    if task == "depth":
        decode = functools.partial(decode_depth, scale=settings.depth_scale)
        return Pairs(store, chosen, task, (), decode, f"folder depth scale={settings.depth_scale}", data.lenient)
    if settings.classes:
        names, void = read_classes(store, settings.classes, settings.ignore)
    else:
        other = "query" if split == "prompt" else "prompt"
        others = find_pairs(store, other, data.split_text(other), settings.images, settings.labels)
        names = infer_classes(store, [*pairs, *others], settings.ignore, tell=split == "prompt")
        void = (settings.ignore,)
    if len(names) > 255:
        raise UserError(f"{store.where}: {len(names)} classes; at most 255 can be told apart")
    table = id_table({stored: class_id for class_id, stored in enumerate(names)}, void=void)
    described = names_fingerprint([*(f"{stored} {name}" for stored, name in names.items()), *map(str, void)])
    decode = functools.partial(_decode, table=table)
    return Pairs(store, chosen, task, list(names.values()), decode, f"folder classes={described}", data.lenient)


def _decode(data: bytes, name: str, table: np.ndarray) -> np.ndarray:
    return look_up_ids(decode_ids(data, name), table, name)


# ---------------------------------------------------------------- files
def find_pairs(store: Store, split: str, split_text: str, images: str, labels: str) -> list[Pair]:
    """All pairs of the prompt or the query.

    Args:
      store: the root.
      split: "prompt" or "query".
      split_text: what chooses it: a list file, a value of "{split}" in the patterns, each with an optional slice, or a
        slice of all names alone; empty: train.txt and val.txt.
      images, labels: a folder, or a pattern with "{name}" (and "{split}", "*") such as "{name}_rgb.png".
    """
    chosen, part = split_parts(split_text)
    in_pattern = "{split}" in images or "{split}" in labels
    if not chosen and not part:
        chosen = next((name for name in LISTS[split] if store.exists(name)), "")
        if in_pattern:
            chosen = {"prompt": "train", "query": "val"}[split]
        if not chosen:
            raise UserError(
                f"config key data.{split}: {store.where} has no {LISTS[split][0]}, so say which images are the {split}:"
                f" a list file, or a slice such as data.prompt=[:80%] data.query=[80%:]"
            )
    from_list = bool(chosen) and not in_pattern
    photos = match_files(store, images, chosen)
    masks = match_files(store, labels, chosen)
    if not photos:
        found = ", ".join(store.children()[:12]) or "nothing"
        raise UserError(f"{store.where} holds no images {images!r}. Expected: {TREE}. Found: {found}")
    if from_list and not store.exists(chosen):
        there = [name for name in store.children() if name.endswith(".txt")]
        raise UserError(
            f"config key data.{split}: {store.where} has no list {chosen}; there are {', '.join(there) or 'none'}"
        )
    names = _listed(store, chosen, photos) if from_list else sorted(photos)
    return take(pair_up(names, photos, masks, store.where, chosen or images), part, split_text)


def _listed(store: Store, path: str, known: Mapping[str, str]) -> list[str]:
    """Names of a list file; whole lines where they are names already, else without folders and suffix."""
    whole = [line.strip() for line in store.read(path).decode().splitlines() if line.strip()]
    return [full if full in known else bare for full, bare in zip(whole, listed(store, path), strict=True)]


def match_files(store: Store, pattern: str, split: str) -> dict[str, str]:
    """{name: path} of the files that a folder or a pattern means; refuses two files of one name."""
    if "{name}" not in pattern:
        pattern = f"{pattern.strip('/')}/{{name}}.*" if pattern.strip("/. ") else "{name}.*"
    pattern = pattern.replace("{split}", split)
    regex = "".join(
        {"{name}": "(?P<name>.+)", "*": "[^/]*"}.get(piece, re.escape(piece))
        for piece in re.split(r"(\{name\}|\*)", pattern)
    )
    fixed = re.split(r"\{name\}|\*", pattern)[0]
    matcher = re.compile(regex)
    found: dict[str, str] = {}
    for path in store.files(fixed.rpartition("/")[0]):
        match = matcher.fullmatch(path)
        if match:
            other = found.setdefault(match["name"], path)
            if other != path:
                raise UserError(f"{store.where}: {other} and {path} are both called {match['name']}")
    return found


# ---------------------------------------------------------------- classes
def read_classes(store: Store, path: str, ignore: int) -> tuple[dict[int, str], tuple[int, ...]]:
    """Class names by stored id in the order of class ids, and the stored ids that are void, from YAML or JSON.

    The file holds a list of names (ids 0, 1, ...), or a mapping from stored ids to names, where null means void; either
    alone or under the key "classes", beside "ignore": a list of further void ids.
    """
    try:
        data = store.read(path) if store.exists(path) else epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"config key data.folder.classes: {path} is neither in {store.where} nor a file") from error
    try:
        content = json.loads(data) if path.endswith(".json") else yaml.safe_load(data)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"config key data.folder.classes: {path} is broken: {str(error).splitlines()[0]}") from error
    void = [ignore]
    if isinstance(content, dict) and "classes" in content:
        more = content.get("ignore", [])
        void += more if isinstance(more, list) else [more]
        content = content["classes"]
    if isinstance(content, list):
        content = dict(enumerate(content))
    try:
        named = {int(stored): name for stored, name in content.items()}
        void = [int(stored) for stored in void]
        if not named or any(not 0 <= stored <= 65535 for stored in (*named, *void)):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"config key data.folder.classes: {path} should hold a list of names, or a mapping from ids to names"
        ) from None
    void += [stored for stored, name in named.items() if name is None]
    kept = {stored: str(named[stored]) for stored in sorted(named) if named[stored] is not None}
    twice = [name for name, count in collections.Counter(kept.values()).items() if count > 1]
    if twice:
        raise UserError(f"config key data.folder.classes: {path} gives the name {twice[0]!r} to two ids")
    return kept, tuple(stored for stored in void if stored not in kept)


def infer_classes(store: Store, pairs: Sequence[Pair], ignore: int, tell: bool = True) -> dict[int, str]:
    """The ids that occur in the masks, as classes "class ID"; reads every mask, can log a table of what it found."""

    def count(pair: Pair) -> np.ndarray:
        ids = decode_ids(store.read(pair.label), f"{store.where}/{pair.label}")
        return np.bincount(ids.ravel(), minlength=256)

    total = np.zeros(65536, np.int64)
    images = np.zeros(65536, np.int64)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for counts in pool.map(count, dict.fromkeys(pairs)):
            total[: len(counts)] += counts
            images[: len(counts)] += counts > 0
    ids = [int(stored) for stored in np.flatnonzero(total) if stored != ignore]
    if not ids:
        raise UserError(f"{store.where}: every pixel of all {len(pairs)} masks is void ({ignore})")
    if len(ids) > 255:
        raise UserError(f"{store.where}: the masks hold {len(ids)} ids; set data.task=depth if they are depth maps")
    if tell:  # prompt and query find the same
        _log_table(total, images, ids, ignore, len(pairs))
    return {stored: f"class {stored}" for stored in ids}


def _log_table(pixels: np.ndarray, images: np.ndarray, ids: Sequence[int], ignore: int, masks: int) -> None:
    log.warning("classes inferred from %d masks, since data.folder.classes is empty:", masks)
    log.warning("  id  images  share of pixels")
    for stored in ids:
        log.warning("%4d  %6d  %.4f", stored, images[stored], pixels[stored] / pixels.sum())
    if pixels[ignore]:
        log.warning("%4d  %6d  %.4f  void", ignore, images[ignore], pixels[ignore] / pixels.sum())
