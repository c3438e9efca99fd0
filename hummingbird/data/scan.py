"""Lists the images of a data set once, with their labels: of folders, of a tar archive or of many."""

from __future__ import annotations

import concurrent.futures
import itertools
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Int32

from hummingbird.data.image_files import SUFFIXES
from hummingbird.data.index import LARGEST, TAR_BLOCK, Group, label_by_folder
from hummingbird.data.tars import Members, Span, list_members
from hummingbird.errors import UserError

WNID = re.compile(r"n\d{8}/")
CLS = ".cls"  # a file beside an image that holds its class number, as in WebDataset shards
BESIDE = -2  # the label is read with the image, from such a file
INVALID = -3  # that file holds no number
READERS = 16  # archives that are listed at a time


class Listed(NamedTuple):
    """The images of one archive or folder.

    Attributes:
      groups: in sorted order.
      classes: class number of each image from the file beside it, `INVALID` if that holds none; `BESIDE` if it is
        still to be read, -1 if there is none.
    """

    groups: list[Group]
    classes: list[int]


def list_archives(root: epath.Path, archives: Sequence[str]) -> list[Listed]:
    """Lists archives that lie side by side, each as a folder named after it; several at a time."""

    def one(name: str) -> Listed:
        members = list_members(root / name, CLS)
        return list_images(members.spans, members.texts, name, name.removesuffix(".tar"))

    with concurrent.futures.ThreadPoolExecutor(min(READERS, len(archives))) as pool:
        return list(pool.map(one, archives))


def list_archive(members: Members, archive: str, inside: str, split: str) -> Listed:
    """Lists the images of one archive, below its folder `inside` and the folder `split` of that; each may be ""."""
    start = f"{inside}/" if inside else ""
    below = f"{start}{split}/" if split else start
    keep = [path for path in members.spans if path.startswith(below)]
    spans = {path.removeprefix(start): members.spans[path] for path in keep}
    texts = {path.removeprefix(start): text for path, text in members.texts.items() if path.startswith(below)}
    return list_images(spans, texts, archive, "")


def list_images(spans: Mapping[str, Span], texts: Mapping[str, bytes], archive: str, folder: str) -> Listed:
    """Lists the images among the files of an archive.

    Args:
      spans: where each file is.
      texts: content of the files that hold class numbers.
      archive: its path under the data set's root.
      folder: what its files lie in, for paths under the data set.
    """
    paths = sorted(path for path in spans if path.lower().endswith(SUFFIXES))
    large = [path for path in paths if spans[path].size > LARGEST]
    if large:
        raise UserError(f"{archive}: {large[0]} is larger than 4 GiB, which no image is")
    groups = [
        Group(
            posixpath.join(folder, inner),
            archive,
            [posixpath.basename(path).encode("utf-8", "surrogateescape") for path in part],
            np.array([spans[path].offset // TAR_BLOCK for path in part], np.uint32),
            np.array([spans[path].size for path in part], np.uint32),
        )
        for inner, part in _by_folder(paths)
    ]
    return Listed(groups, [_class_number(texts.get(f"{path.rpartition('.')[0]}{CLS}")) for path in paths])


def list_files(files: Sequence[str]) -> Listed:
    """Lists the images among plain files, given as sorted paths."""
    paths = [path for path in files if path.lower().endswith(SUFFIXES)]
    groups = [
        Group(inner, "", [posixpath.basename(path).encode("utf-8", "surrogateescape") for path in part])
        for inner, part in _by_folder(paths)
    ]
    beside = {path.removesuffix(CLS) for path in files if path.endswith(CLS)}
    return Listed(groups, [BESIDE if path.rpartition(".")[0] in beside else -1 for path in paths])


def _by_folder(paths: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Splits sorted paths into runs of the same folder."""
    return [(folder, list(part)) for folder, part in itertools.groupby(paths, posixpath.dirname)]


def _class_number(text: bytes | None) -> int:
    if text is None:
        return -1
    try:
        return int(text)
    except ValueError:
        return INVALID


def label_groups(
    groups: Sequence[Group], split: str = "", shards: bool = False
) -> tuple[Int32[np.ndarray, " G"], list[str]]:
    """Labels groups of images by their first folder below `split`.

    The name of a shard is a class only if it is one of WordNet's; otherwise the folders inside of it may be.
    """
    paths = [f"{group.folder}/image".removeprefix("/").removeprefix(f"{split}/" if split else "") for group in groups]
    if shards:
        paths = [path if WNID.match(path) else path.partition("/")[2] for path in paths]
    return label_by_folder(paths)
