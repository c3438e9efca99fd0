"""Classes of a folder of masks: from a small file, or from the ids that occur in the masks."""

from __future__ import annotations

import concurrent.futures
import json
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import yaml
from jaxtyping import Int64
from typing_extensions import TypeAliasType  # `type` statements need Python 3.12

from hummingbird.data.label_files import IGNORE, MAX_ID, decode_ids
from hummingbird.data.names import decode_text, printable, repeated
from hummingbird.data.store import Store, read_in_or_beside
from hummingbird.errors import UserError, first_line

if TYPE_CHECKING:
    import hummingbird.data.classes

log = logging.getLogger(__name__)

# What YAML and JSON files hold; keys of YAML may be numbers.
Yaml = TypeAliasType(
    "Yaml",
    dict[str | int, "hummingbird.data.classes.Yaml"] | list["hummingbird.data.classes.Yaml"] | str | int | float | None,
)

KEY = "config key data.folder.classes"


def read_classes(store: Store, path: str, ignore: int, key: str = KEY) -> tuple[dict[int, str], tuple[int, ...]]:
    """Reads class names from a YAML or JSON file.

    The file holds a list of names (ids 0, 1, ...), or a mapping from stored ids to names, where null means void; either
    alone or under the key "classes", together with "ignore": a list of further void ids.

    Args:
      store: the data set, where `path` is tried first.
      path: the file, in the store or elsewhere.
      ignore: a stored id that is void.
      key: the setting that names the file, for errors.

    Returns:
      Names by stored id in the order of class ids, and the stored ids that are void.

    Raises:
      UserError: a file that cannot be read, or holds something else.
    """
    content = _parse(_read(store, path, key), path, key)
    more: Yaml = []
    if isinstance(content, dict) and "classes" in content:
        content, more = content["classes"], content.get("ignore", [])
    if isinstance(content, list):
        content = {str(stored): name for stored, name in enumerate(content)}
    try:
        if not isinstance(content, dict) or not content:
            raise ValueError
        named = {_id(stored): name for stored, name in content.items()}
        void = [ignore, *map(_id, more if isinstance(more, list) else [more])]
    except ValueError:
        raise UserError(f"{key}: {path} should hold a list of names, or a mapping from ids to names") from None
    void += [stored for stored, name in named.items() if name is None]
    kept = {stored: str(named[stored]) for stored in sorted(named) if named[stored] is not None}
    if twice := repeated(kept.values()):
        raise UserError(f"{key}: {path} gives the name {twice[0]!r} to two ids")
    return kept, tuple(stored for stored in void if stored not in kept)


def _id(stored: Yaml) -> int:
    number = int(stored) if isinstance(stored, int | str) else -1
    if not 0 <= number <= MAX_ID:
        raise ValueError(stored)
    return number


def _read(store: Store, path: str, key: str) -> str:
    data = read_in_or_beside(store, path)
    if data is None:
        raise UserError(f"{key}: {path} is neither in {store.where} nor a file")
    return decode_text(data, f"{key}: {path}")


def _parse(text: str, path: str, key: str) -> Yaml:
    try:
        return json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{key}: {path} is broken: {first_line(error)}") from error


# {data set: (the half that inferred its classes, the classes)}, until the other half takes them; at most one entry.
_left: dict[tuple[str, ...], tuple[str, dict[int, str]]] = {}


def infer_once(store: Store, masks: Sequence[str], ignore: int, split: str) -> dict[int, str]:
    """Does what `infer_classes` does, once for both halves of a data set.

    The half that is built first leaves the classes for the other one, so that masks are read once. Any further build
    reads them again: they may have changed.

    Args:
      store: holds the masks.
      masks: those of both halves, in any order.
      ignore: the stored id of void pixels.
      split: the half that is being built, "prompt" or "query".
    """
    data_set = (store.where, str(ignore), *(f"{path} {store.size(path)}" for path in sorted(masks)))
    by, names = _left.pop(data_set, (split, {}))
    if by == split:
        names = infer_classes(store, masks, ignore)
        _left.clear()
        _left[data_set] = split, names
    return names


def infer_classes(store: Store, masks: Sequence[str], ignore: int) -> dict[int, str]:
    """Finds the ids that occur in masks, as classes "class ID"; logs a table of them.

    Args:
      store: holds the masks.
      masks: their paths; all are read.
      ignore: the stored id of void pixels.

    Raises:
      UserError: a mask that cannot be read, no class, or more than 255.
    """

    pixels, images = count_ids(store, masks)
    ids = [int(stored) for stored in np.flatnonzero(pixels) if stored != ignore]
    binary = f"if {ignore} is a class of these masks, set data.folder.ignore to an id that does not occur"
    if not ids:
        raise UserError(f"{store.where}: every pixel of all {len(masks)} masks is void ({ignore}); {binary}")
    if len(ids) > 255:
        raise UserError(f"{store.where}: the masks hold {len(ids)} ids; set data.task=depth if they are depth maps")
    _log_table(pixels, images, ids, ignore, len(masks))
    if len(ids) == 1:
        hint = f"; {binary}, for example {IGNORE - 1}" if pixels[ignore] else ""
        log.warning("%s: the masks hold one class (%d), so any prediction scores 100%s", store.where, ids[0], hint)
    return {stored: f"class {stored}" for stored in ids}


def count_ids(store: Store, masks: Sequence[str]) -> tuple[Int64[np.ndarray, " ids"], Int64[np.ndarray, " ids"]]:
    """Counts, for each id from 0 to `MAX_ID`, the pixels and the masks that hold it. Raises Unreadable."""

    def count(path: str) -> np.ndarray:
        ids = decode_ids(store.read(path), printable(f"{store.where}/{path}"))
        return np.bincount(ids.ravel(), minlength=256)

    pixels = np.zeros(MAX_ID + 1, np.int64)
    images = np.zeros(MAX_ID + 1, np.int64)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for counts in pool.map(count, masks):
            pixels[: len(counts)] += counts
            images[: len(counts)] += counts > 0
    return pixels, images


def _log_table(pixels: np.ndarray, images: np.ndarray, ids: Sequence[int], ignore: int, masks: int) -> None:
    log.warning("classes inferred from %d masks, since data.folder.classes is empty:", masks)
    log.warning("  id  images  share of pixels")
    for stored in ids:
        log.warning("%4d  %6d  %.4f", stored, images[stored], pixels[stored] / pixels.sum())
    if pixels[ignore]:
        log.warning("%4d  %6d  %.4f  void", ignore, images[ignore], pixels[ignore] / pixels.sum())
