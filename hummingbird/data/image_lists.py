"""Lists of images: a path and a label on each line."""

from __future__ import annotations

import re

import numpy as np

from hummingbird.data.image_files import SUFFIXES as IMAGE_SUFFIXES
from hummingbird.data.images import Images
from hummingbird.data.names import take, text_lines
from hummingbird.data.store import Store
from hummingbird.errors import UserError

SUFFIXES = (".txt", ".csv", ".tsv", ".lst")


def list_images(store: Store, content: bytes, name: str, part: str = "") -> Images:
    """Reads a list of images.

    A line is "PATH LABEL", separated by a tab, a comma or spaces; further columns are ignored, and so is a first line
    that names the columns. Without a label, the path's last folder is the class. Paths are those of the data set, with
    or without its outer folders and the file's suffix. Labels are names, or numbers in their order.

    Args:
      store: holds the images.
      content: of the list.
      name: of the list, for messages.
      part: slice of the lines, as `names.split_parts` returns it.

    Raises:
      UserError: a line without a label, or an image that does not exist; the line's number is named.
    """
    files = paths_by_name(store)
    lines = text_lines(content, name)
    if not lines:
        raise UserError(f"{name} is empty; write a path and a label on each line")
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        path, label = columns(line)
        found = files.get(path.removeprefix("./").replace("\\", "/"))
        if found is None and number == 1 and not path.lower().endswith(IMAGE_SUFFIXES) and "/" not in path:
            continue  # names of the columns
        if not found:
            reason = "names several images; write more of its path" if found == "" else f"is not in {store.where}"
            raise UserError(f"{name} line {number}: {path!r} {reason}")
        label = label or found.rpartition("/")[0].rpartition("/")[2]
        if not label:
            raise UserError(f"{name} line {number}: {line!r} has no label; write PATH LABEL")
        rows.append((found, label))
    if not rows:
        raise UserError(f"{name} lists no images; write a path and a label on each line")
    names = {label for _, label in rows}
    classes = sorted(names, key=int) if all(label.isdecimal() for label in names) else sorted(names)
    ids = {label: i for i, label in enumerate(classes)}
    rows = take(rows, part, f"{name}[{part}]")
    labels = np.array([ids[label] for _, label in rows], np.int32)
    return Images(store, [path for path, _ in rows], labels, classes, f"list {name}")


def columns(line: str) -> tuple[str, str]:
    """Returns path and label of a line; "" for a label that is not there.

    Example:
      >>> columns("my photo.jpg,cat"), columns("a/b.jpg 3 0 0 64"), columns("tulip/1.jpg")
      (('my photo.jpg', 'cat'), ('a/b.jpg', '3'), ('tulip/1.jpg', ''))
    """
    words = re.split(r"[\t,;]", line) if re.search(r"[\t,;]", line) else line.split()
    words = [word.strip(" \"'") for word in words]
    return words[0], words[1] if len(words) > 1 else ""


def paths_by_name(store: Store) -> dict[str, str]:
    """Returns the path that each spelling of an image means; "" for those that mean several."""
    found: dict[str, str] = {}
    paths = [path for path in store.files() if path.lower().endswith(IMAGE_SUFFIXES)]
    for path in paths:
        parts = path.split("/")
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for spelling in (tail, tail.rpartition(".")[0]):
                found[spelling] = path if found.get(spelling, path) == path else ""
    return found | {path: path for path in paths}
