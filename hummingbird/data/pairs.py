"""Dense sources over pairs of files: an image, and its mask or depth map."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from hummingbird.data.image_files import UPRIGHT, decode_image, exif_orientation, image_size
from hummingbird.data.interface import DenseItem, Unreadable, reason
from hummingbird.data.label_files import IGNORE
from hummingbird.data.names import match_names, names_fingerprint, printable, repeated, shorten, text_lines
from hummingbird.data.store import Store, warn_once
from hummingbird.errors import UserError

UNCOMPRESSED = (".bmp", ".npy", ".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff")
READERS = 8  # files read at a time


@dataclasses.dataclass(frozen=True)
class Pair:
    """A name, and the paths of the two files in a store."""

    name: str
    image: str
    label: str


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the images of pairs are decoded: `data.exif` and `data.lenient`.

    Attributes:
      decode: (bytes, name for errors) -> RGB, for images that are stored upright; None: `decode_image`.
    """

    exif: str = "auto"
    lenient: bool = False
    decode: Callable[[bytes, str], UInt8[np.ndarray, "H W 3"]] | None = None


class Pairs:
    """A dense source over pairs of files, which are read and decoded item by item.

    Attributes:
      void_class: see `hummingbird.data.interface.DenseSource`.
      incomparable: see there.
    """

    ignore = IGNORE
    void_class = ""
    incomparable = ""

    def __init__(
        self,
        store: Store,
        pairs: Sequence[Pair],
        task: str,
        classes: Sequence[str],
        decode_label: Callable[[bytes, str], np.ndarray],
        fingerprint: str,
        reading: Reading,
    ):
        """Makes a source of `pairs`.

        Args:
          store: holds the files.
          pairs: in the order of the items.
          task: "segmentation" or "depth".
          classes: class names by id; empty for depth.
          decode_label: (bytes, name for errors) -> int32 class ids or float32 metres, [H, W].
          fingerprint: identifies what decides the labels beside the files. Names, paths and sizes of the files are
            added, so the same data elsewhere, or in a tar, has the same fingerprint, and changed files have another.
            A folder in a bucket gives no sizes: there, only `content` notices files that are replaced.
          reading: how images are decoded.
        """
        self._store, self._pairs, self._decode_label, self._reading = store, list(pairs), decode_label, reading
        self.task, self.classes = task, list(classes)
        sized = lambda path: f"{path} {store.size(path)}"
        files = names_fingerprint(f"{pair.name} {sized(pair.image)} {sized(pair.label)}" for pair in pairs)
        self.fingerprint = f"{fingerprint} exif={reading.exif} images={len(pairs)} files={files}"

    def __len__(self) -> int:
        return len(self._pairs)

    @functools.cached_property
    def content(self) -> str:
        """Digest of the labels, and of images in formats with a fixed size per pixel.

        The fingerprint knows names and sizes only. This reads every label, which is worth it for what is kept: a mask
        that was corrected in place may have the size that it had.
        """
        paths = [pair.label for pair in self._pairs]
        paths += [pair.image for pair in self._pairs if pair.image.lower().endswith(UNCOMPRESSED)]
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            return names_fingerprint(pool.map(lambda path: hashlib.sha256(self._store.read(path)).hexdigest(), paths))

    def name(self, index: int) -> str:
        """Returns the name of item `index` without reading it."""
        return printable(self._pairs[index].name)

    def __getitem__(self, index: int) -> DenseItem:
        pair = self._pairs[index]
        label = self._decode_label(self._store.read(pair.label), self._called(pair.label))
        data = self._store.read(pair.image)
        image = decode_to_fit(data, self._called(pair.image), label.shape, self._reading)
        if image.shape[:2] != label.shape:
            (h, w), (lh, lw) = image.shape[:2], label.shape
            turned = "; is one of them turned by 90 degrees?" if (h, w) == (lw, lh) else ""
            raise Unreadable(
                f"{self._called(pair.label)} is {lw}x{lh} pixels but its image {printable(pair.image)} is {w}x{h}"
                f"{turned}"
            )
        return {"image": image, "label": label, "name": self.name(index)}

    def _called(self, path: str) -> str:
        return printable(f"{self._store.where}/{path}")


def decode_to_fit(data: bytes, name: str, label_shape: tuple[int, ...], reading: Reading) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes an image in the orientation of its label.

    Labels are drawn on the image either upright or as it is stored. Their size tells which, unless the EXIF
    orientation keeps the size (180 degrees, mirrored, a square image): then the image is taken as stored, as most
    tools that write masks do.

    Args:
      data: the encoded image.
      name: what to call it in errors.
      label_shape: (height, width) of the label.
      reading: `exif` is "auto" (as above), "upright" or "stored".

    Raises:
      Unreadable: as `decode_image`.
    """
    upright = reading.exif == "upright"
    if reading.exif == "auto" and exif_orientation(data, name) != UPRIGHT:
        width, height = image_size(data, name, upright=False)
        upright = label_shape != (height, width)
        if not upright:
            warn_once(
                "some images have an EXIF orientation, and labels of the size that they are stored in: these images"
                " are not turned; check them with `hummingbird data`, data.exif=upright turns them"
            )
    if reading.decode is not None and exif_orientation(data, name) == UPRIGHT:
        return reading.decode(data, name)
    return decode_image(data, name, reading.lenient, upright)


def by_name(paths: Sequence[str], ends: tuple[str, ...], where: str) -> dict[str, str]:
    """Returns {name: path} of the files with one of these endings; the name is the last part without the ending.

    Args:
      paths: in a store.
      ends: in small letters; capitals in a path do not matter.
      where: the store, for errors.

    Raises:
      UserError: two files of one name.
    """
    found: dict[str, str] = {}
    for path in paths:
        end = next((end for end in ends if path.lower().endswith(end)), None)
        if end is not None:
            add_name(found, path.rpartition("/")[2][: -len(end)], path, where)
    return found


def add_name(found: dict[str, str], name: str, path: str, where: str, hint: str = "") -> None:
    """Adds a file to {name: path}; UserError if another file has its name."""
    other = found.setdefault(name, path)
    if other != path:
        raise UserError(f"{where}: {printable(other)} and {printable(path)} are both called {printable(name)}{hint}")


def pair_up(
    names: Sequence[str], images: Mapping[str, str], labels: Mapping[str, str], where: str, source: str
) -> list[Pair]:
    """Pairs the files of each name, in the order of the names.

    Args:
      names: the names wanted.
      images, labels: paths by name.
      where: the root, for errors.
      source: what gave the names, for errors.

    Raises:
      UserError: no names, a name twice, a name without image or label.
    """
    if not names:
        raise UserError(f"{where}: {source} names no images")
    if twice := repeated(names):
        raise UserError(f"{where}: {source} names {shorten(twice)} more than once")
    for kind, files in (("image", images), ("label", labels)):
        absent = [name for name in names if name not in files]
        if absent:
            raise UserError(f"{where}: no {kind} for {len(absent)} of the {len(names)} of {source}: {shorten(absent)}")
    return [Pair(name, images[name], labels[name]) for name in names]


def pair_all(images: Mapping[str, str], labels: Mapping[str, str], where: str, source: str) -> list[Pair]:
    """Pairs all images, sorted by name, and warns of labels without an image. Raises as `pair_up` does."""
    alone = sorted(labels.keys() - images.keys())
    if images and alone:
        warn_once(f"{where}: {len(alone)} labels have no image and are not used: {shorten(alone)}")
    return pair_up(sorted(images), images, labels, where, source)


def choose(pairs: Sequence[Pair], names_file: str) -> list[Pair]:
    """Returns the pairs that a file lists, one per line, in their own order; for the few-data subsets of Sec. 4.2.

    Raises:
      UserError: a file that cannot be read or is empty, or that lists other names.
    """
    try:
        data = pathlib.Path(names_file).read_bytes()
    except OSError as error:
        raise UserError(f"config key data.names: {names_file} cannot be read: {reason(error)}") from error
    images = {pair.name: pair.image for pair in pairs}
    wanted = match_names(text_lines(data, f"config key data.names: {names_file}"), images)
    absent = [name for name in wanted if name not in images]
    if absent:
        raise UserError(
            f"config key data.names: {names_file} names {len(absent)} that are not among the prompt images:"
            f" {shorten(absent)}"
        )
    if not wanted:
        raise UserError(f"config key data.names: {names_file} is empty")
    keep = set(wanted)
    return [pair for pair in pairs if pair.name in keep]
