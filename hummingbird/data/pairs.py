"""Dense sources made of pairs of files: an image, and its mask or depth map."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from hummingbird.data.image_files import Unreadable, decode_image
from hummingbird.data.interface import DenseItem
from hummingbird.data.store import Store, names_fingerprint, read_lines
from hummingbird.errors import UserError

T = TypeVar("T")

IGNORE = 255  # class id of void pixels in every segmentation source


@dataclasses.dataclass(frozen=True)
class Pair:
    """What an item is called, and the paths of its two files in a store."""

    name: str
    image: str
    label: str


class Pairs:
    """A dense source over pairs of files, which are read and decoded item by item."""

    ignore = IGNORE

    def __init__(
        self,
        store: Store,
        pairs: Sequence[Pair],
        task: str,
        classes: Sequence[str],
        decode_label: Callable[[bytes, str], np.ndarray],
        fingerprint: str,
        lenient: bool = False,
    ):
        """`decode_label(bytes, name)` gives int32 class ids or float32 metres; `fingerprint` says what decides them.

        To it are added names, paths under the root and bytes of all files: the same data elsewhere, or in a tar, are
        the same; other data under the same names are not, unless they lie in a folder of a bucket, whose listing gives
        no sizes.
        """
        self._store, self._pairs, self._decode_label, self._lenient = store, list(pairs), decode_label, lenient
        self.task, self.classes = task, list(classes)
        sized = lambda path: f"{path} {store.size(path)}"
        files = names_fingerprint(f"{pair.name} {sized(pair.image)} {sized(pair.label)}" for pair in pairs)
        self.fingerprint = f"{fingerprint} images={len(pairs)} files={files}"

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """What item `index` is called, without reading it."""
        return self._pairs[index].name

    def __getitem__(self, index: int) -> DenseItem:
        pair = self._pairs[index]
        image = decode_image(self._read(pair.image), self._called(pair.image), self._lenient)
        label = self._decode_label(self._read(pair.label), self._called(pair.label))
        if image.shape[:2] != label.shape:
            (h, w), (lh, lw) = image.shape[:2], label.shape
            turned = "; is the image turned by its EXIF data, and the label not?" if (h, w) == (lw, lh) else ""
            raise Unreadable(
                f"{self._called(pair.label)} is {lw}x{lh} pixels but its image {pair.image} is {w}x{h}{turned}"
            )
        return {"image": image, "label": label, "name": pair.name}

    def _called(self, path: str) -> str:
        return f"{self._store.where}/{path}"

    def _read(self, path: str) -> bytes:
        try:
            return self._store.read(path)
        except OSError as error:
            raise Unreadable(f"{self._called(path)} cannot be read: {error}") from error


def id_table(classes: Mapping[int, int], void: Iterable[int] = (), fallback: int = -1) -> np.ndarray:
    """int32 [65536]: the class id of each stored id, `IGNORE` for void ones, `fallback` (-1: refused) for others."""
    table = np.full(65536, fallback, np.int32)
    table[list(void)] = IGNORE
    for stored, class_id in classes.items():
        table[stored] = class_id
    return table


def look_up_ids(stored: np.ndarray, table: np.ndarray, name: str) -> np.ndarray:
    """Class ids int32 [H, W] of a mask as stored, by `id_table`'s table.

    Raises:
      Unreadable: an id that the table refuses; all of them are listed.
    """
    if stored.dtype == np.int32:
        if stored.min() < 0 or stored.max() > 65535:
            raise Unreadable(f"{name} holds ids from {stored.min()} to {stored.max()}, expected 0 to 65535")
        stored = stored.astype(np.uint16)
    ids = table[stored]
    if ids.min() < 0:
        wrong = np.unique(stored[ids < 0]).tolist()
        known = np.flatnonzero((table >= 0) & (table != IGNORE))
        shown = ", ".join(map(str, wrong[:20])) + (" ..." if len(wrong) > 20 else "")
        raise Unreadable(
            f"{name} holds class ids {shown} that are not among the {len(known)} classes"
            f" (stored as {known.min()} to {known.max()}) and not void"
        )
    return ids


# ---------------------------------------------------------------- which images
def split_parts(text: str) -> tuple[str, str]:
    """ "train[:80%]" -> ("train", ":80%"); "train" -> ("train", "")."""
    found = re.fullmatch(r"([^\[\]]*)(?:\[([^\[\]:]*:[^\[\]:]*)\])?", text.strip())
    if not found:
        raise UserError(f"split {text!r} is not understood; write NAME, NAME[:100], NAME[20%:] or [10:20]")
    return found[1], found[2] or ""


def take(items: Sequence[T], part: str, text: str) -> list[T]:
    """The part (":80%", "100:") of the items that a split `text` asks for."""
    if not part:
        return list(items)

    def bound(side: str, default: int) -> int:
        side = side.strip()
        try:
            if not side:
                return default
            if side.endswith("%"):
                return round(float(side[:-1]) / 100 * len(items))
            return int(side)
        except ValueError:
            raise UserError(f"split {text!r}: {side!r} is neither a number nor a percentage") from None

    low, high = part.split(":")
    chosen = list(items)[bound(low, 0) : bound(high, len(items))]
    if not chosen:
        raise UserError(f"split {text!r} is empty: there are {len(items)} images")
    return chosen


def pair_up(
    names: Sequence[str], images: Mapping[str, str], labels: Mapping[str, str], where: str, source: str
) -> list[Pair]:
    """Pairs for `names`, in their order.

    Args:
      names: those wanted. images, labels: their paths by name.
      where: the root, source: what gave the names; both for messages.

    Raises:
      UserError: no names, a name twice, a name without image or label.
    """
    if not names:
        raise UserError(f"{where}: {source} names no images")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = sorted({name for name in names if name in seen or seen.add(name)})
        raise UserError(f"{where}: {source} names {shorten(twice)} more than once")
    for kind, files in (("image", images), ("label", labels)):
        absent = [name for name in names if name not in files]
        if absent:
            raise UserError(f"{where}: no {kind} for {len(absent)} of the {len(names)} of {source}: {shorten(absent)}")
    return [Pair(name, images[name], labels[name]) for name in names]


def choose(pairs: Sequence[Pair], names_file: str) -> list[Pair]:
    """The pairs that a file names, one a line, in the source's order; for the few-data subsets of Sec. 4.2."""
    try:
        with open(names_file) as file:
            wanted = [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise UserError(f"config key data.names: {names_file} cannot be read: {error.strerror}") from error
    by_name = {pair.name: pair for pair in pairs}
    absent = [name for name in wanted if name not in by_name]
    if absent or not wanted:
        problem = (
            f"names {len(absent)} that are not among the prompt images: {shorten(absent)}" if absent else "is empty"
        )
        raise UserError(f"config key data.names: {names_file} {problem}")
    keep = set(wanted)
    return [pair for pair in pairs if pair.name in keep]


def listed(store: Store, path: str) -> list[str]:
    """Names in a list file: the first word of each line, without folders and suffix ("/JPEGImages/a.jpg x" -> "a")."""
    return [line.split()[0].rsplit("/", 1)[-1].rsplit(".", 1)[0] for line in read_lines(store, path)]


def shorten(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
