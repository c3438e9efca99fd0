"""Names of files: which to ignore, lists of them in text files, and slices of those lists."""

from __future__ import annotations

import codecs
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from hummingbird.data.interface import Unreadable
from hummingbird.errors import UserError

T = TypeVar("T")

# What file systems, network drives and desktops leave beside data; hidden files are ignored in any case.
SIDE_FOLDERS = (
    "@eaDir",
    "#recycle",
    "#snapshot",
    "__MACOSX",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
)
SIDE_FILES = ("Thumbs.db", "desktop.ini", *SIDE_FOLDERS)
# UTF-32 comes first: its little-endian mark begins with the mark of UTF-16.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def side_file(path: str) -> str:
    """Returns the part of a path that marks it as not belonging to a data set; "" if it belongs.

    Example:
      >>> side_file("images/@eaDir/a.jpg/THUMB.jpg"), side_file("images/._a.jpg"), side_file("images/a.jpg")
      ('@eaDir', '._a.jpg', '')
    """
    return next((part for part in path.split("/") if part in SIDE_FILES or part.startswith(".")), "")


def printable(name: str) -> str:
    r"""Escapes the bytes of a file name that are not UTF-8, so that it can be printed and written to JSON.

    Example:
      >>> printable("stra\udcdfe"), printable("straße")
      ('stra\\xdfe', 'straße')
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def names_fingerprint(names: Iterable[str]) -> str:
    """Returns twelve hexadecimal digits that depend on every name and their order."""
    digest, waiting, separator = hashlib.sha256(), iter(names), ""
    while part := list(itertools.islice(waiting, 10_000)):  # millions of them need not be in memory together
        digest.update((separator + "\n".join(part)).encode("utf-8", "surrogateescape"))
        separator = "\n"
    return digest.hexdigest()[:12]


def shorten(names: Sequence[str], most: int = 5) -> str:
    """Joins the first names, and counts the rest.

    Example:
      >>> shorten(["a", "b", "c", "d"], most=2)
      'a, b and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


# ---------------------------------------------------------------- lists
def decode_text(data: bytes, name: str) -> str:
    """Decodes a text file: UTF-8, or the encoding of its byte order mark (as Windows writes it).

    Args:
      data: the file's bytes.
      name: what to call it in errors.

    Raises:
      Unreadable: any other encoding.

    Example:
      >>> decode_text("straße".encode("utf-16"), "train.txt")
      'straße'
    """
    encoding = next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"{name} is not {encoding.removesuffix('-sig').upper()} text: byte {data[error.start]:#04x} at position"
            f" {error.start}; save it as UTF-8"
        ) from error


def text_lines(data: bytes, name: str) -> list[str]:
    """Returns the lines of a text file, stripped, without blank ones. Raises Unreadable as `decode_text` does."""
    return [line.strip() for line in decode_text(data, name).splitlines() if line.strip()]


def match_names(lines: Sequence[str], files: Mapping[str, str]) -> list[str]:
    """Finds the name that each line of a list means.

    A line is a name, a file name, a path (of the data set or of another machine), or any of these followed by other
    columns: the first reading that is among `files` counts.

    Args:
      lines: as `text_lines` returns them.
      files: the paths of the files by name.

    Returns:
      A name for each line; where none is among `files`, the line's first column without folders and suffix.

    Example:
      >>> files = {"my photo 1": "images/my photo 1.png", "a/b": "images/a/b.png"}
      >>> match_names(["my photo 1.png", "/data/x/my photo 1.png", "images/a/b.png labels/a/b.png", "c.png 1"], files)
      ['my photo 1', 'my photo 1', 'a/b', 'c']
    """
    by_path = {path: name for name, path in files.items()}
    return [_match_name(line, files, by_path) for line in lines]


def _match_name(line: str, files: Mapping[str, str], by_path: Mapping[str, str]) -> str:
    path = name = ""
    for text in (line, re.split(r"[,;\t]", line)[0], line.split()[0]):
        path = text.strip(" \"'").replace("\\", "/").removeprefix("./")
        name = path.rpartition("/")[2]
        for reading in (text, path, by_path.get(path, ""), _bare(path), name, _bare(name)):
            if reading in files:
                return reading
    return _bare(name)


def _bare(path: str) -> str:
    """Drops the suffix of a path's last part."""
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and "/" not in suffix else path


# ---------------------------------------------------------------- parts
def split_parts(text: str) -> tuple[str, str]:
    """Splits the text of a split into its name and its slice.

    Raises:
      UserError: the text is not of the form NAME, NAME[LOW:HIGH] or [LOW:HIGH].

    Example:
      >>> split_parts("train[:80%]"), split_parts("train"), split_parts("[10:]")
      (('train', ':80%'), ('train', ''), ('', '10:'))
    """
    found = re.fullmatch(r"([^\[\]]*)(?:\[([^\[\]:]*:[^\[\]:]*)\])?", text.strip())
    if not found:
        raise UserError(f"split {text!r} is not understood; write NAME, NAME[:100], NAME[20%:] or [10:20]")
    return found[1], found[2] or ""


def take(items: Sequence[T], part: str, text: str) -> list[T]:
    """Returns a slice of the items.

    Args:
      items: all of them.
      part: the slice, as `split_parts` returns it: ":80%", "100:"; "" for all.
      text: the split that it is part of, for errors.

    Raises:
      UserError: a bound is neither a number nor a percentage, or nothing is left.

    Example:
      >>> take("abcde", ":40%", "train[:40%]"), take("abcde", "-1:", "[-1:]")
      (['a', 'b'], ['e'])
    """
    if not part:
        return list(items)
    low, high = part.split(":")
    chosen = list(items)[_bound(low, 0, len(items), text) : _bound(high, len(items), len(items), text)]
    if not chosen:
        raise UserError(f"split {text!r} is empty: there are {len(items)} images")
    return chosen


def _bound(side: str, default: int, count: int, text: str) -> int:
    side = side.strip()
    try:
        if not side:
            return default
        return round(float(side[:-1]) / 100 * count) if side.endswith("%") else int(side)
    except (ValueError, OverflowError):
        raise UserError(f"split {text!r}: {side!r} is neither a number nor a percentage") from None


def repeated(names: Iterable[str]) -> list[str]:
    """Returns the names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)
