"""Labelled texts: tables with a column of texts and one of labels, and the files of TREC, SST, AG News, TweetEval."""

from __future__ import annotations

import csv
import io
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from hummingbird.errors import UserError

Rows = list[tuple[str, str]]  # text and label
BRACKETS = {"-LRB-": "(", "-RRB-": ")"}  # in parse trees
TEXTS, LABELS = ("text", "sentence", "question"), ("label", "category", "class", "intent")


class Classified(NamedTuple):
    """Samples and their classes.

    Attributes:
      items: texts, or paths of sounds.
      labels: class ids.
    """

    items: list[str]
    labels: Int32[np.ndarray, " N"]


class SequenceSplits(NamedTuple):
    """A data set of texts or sounds.

    Attributes:
      train: samples to retrieve from and to train on.
      test: samples to classify.
      classes: names by id.
    """

    train: Classified
    test: Classified
    classes: list[str]


def content(path: pathlib.Path, encoding: str = "utf-8") -> str:
    """Returns the text of a file; UserError if it cannot be read."""
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not {encoding} text ({error.reason}); save it in that encoding") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


def read_table(path: pathlib.Path) -> Rows:
    """Reads a .csv or .tsv with a header that names the columns of texts and labels, as in Banking-77."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(io.StringIO(content(path, "utf-8-sig"), newline=""), delimiter=separator)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    text, label = (next((names.index(n) for n in known if n in names), -1) for known in (TEXTS, LABELS))
    if text < 0 or label < 0:
        raise UserError(
            f"{path}: its first line must name the columns text and label; it has {', '.join(names) or 'no columns'}"
        )
    fields = list(rows.fieldnames or ())
    found: Rows = []
    for row in rows:
        pair = row[fields[text]], row[fields[label]]
        if not pair[0] or not pair[1]:
            raise UserError(f"{path}, line {rows.line_num}: text or label is missing")
        found.append((pair[0], pair[1].strip()))
    return found


def read_ag_news(path: pathlib.Path) -> Rows:
    """Reads rows of class, title and description, without a header."""
    rows = list(csv.reader(io.StringIO(content(path), newline="")))
    short = next((i for i, row in enumerate(rows, 1) if len(row) != 3), None)
    if short is not None:
        raise UserError(f"{path}, row {short}: expected class, title and description")
    return [(f"{title} {description}", label) for label, title, description in rows]


def read_trec(path: pathlib.Path) -> Rows:
    """Reads lines such as "DESC:manner How did serfdom develop ?"; the label is the coarse class, DESC."""
    found: Rows = []
    for number, line in enumerate(content(path, "latin-1").splitlines(), 1):
        label, _, text = line.partition(" ")
        if ":" not in label or not text:
            raise UserError(f"{path}, line {number}: expected CLASS:detail and a question")
        found.append((text.strip(), label.partition(":")[0]))
    return found


def read_trees(path: pathlib.Path) -> Rows:
    """Reads the words and root labels, 0 to 4, of the parse trees of the Stanford Sentiment Treebank."""
    found: Rows = []
    for number, line in enumerate(filter(None, content(path).splitlines()), 1):
        root = re.match(r"\((\d) ", line)
        if not root:
            raise UserError(f"{path}, line {number}: expected a tree such as (3 (2 It) (4 works))")
        words: list[str] = re.findall(r"\(\d ([^()]+)\)", line)
        found.append((" ".join(BRACKETS.get(word, word) for word in words), root[1]))
    return found


def read_tweets(path: pathlib.Path) -> Rows:
    """Reads NAME_text.txt and, beside it, NAME_labels.txt: a text and a label on each line."""
    beside = path.with_name(path.name.replace("_text", "_labels"))
    texts, labels = content(path).splitlines(), content(beside).split()
    if len(texts) != len(labels):
        raise UserError(f"{path} has {len(texts)} lines, {beside.name} has {len(labels)}; they have to match")
    return list(zip(texts, labels, strict=True))


class TextSet(NamedTuple):
    """The files of a data set, of which the first that exists is read, and how to read them."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    read: Callable[[pathlib.Path], Rows] = read_table


TEXT_SETS = {
    "texts": TextSet(("train.csv", "train.tsv"), ("test.csv", "test.tsv")),
    "banking77": TextSet(("train.csv",), ("test.csv",)),
    "trec": TextSet(("train_5500.label",), ("TREC_10.label",), read_trec),
    "sst": TextSet(("train.txt", "trees/train.txt"), ("test.txt", "trees/test.txt"), read_trees),
    "ag_news": TextSet(("train.csv",), ("test.csv",), read_ag_news),
    "tweet_eval": TextSet(("train_text.txt",), ("test_text.txt",), read_tweets),
}


def build_texts(name: str, root: str, train: str = "", test: str = "") -> SequenceSplits:
    """Reads a data set of texts.

    Args:
      name: a key of `TEXT_SETS`.
      root: folder of its files, or one that holds a folder of the data set's name.
      train, test: files in it; "": the usual ones.

    Raises:
      UserError: there is no such data set or file, or a file has another format.
    """
    if name not in TEXT_SETS:
        raise UserError(f"config key data.name: {name!r} is not a data set of texts; there are {', '.join(TEXT_SETS)}")
    known, folder = TEXT_SETS[name], home(root, name)
    prompt = known.read(find(folder, (train,) if train else known.train, "data.prompt"))
    query = known.read(find(folder, (test,) if test else known.test, "data.query"))
    return numbered(prompt, query)


def home(root: str, name: str) -> pathlib.Path:
    """Returns the folder of a data set: the one of its name in `root`, else `root`; UserError if there is none."""
    folder = pathlib.Path(root).expanduser()
    if not root or not folder.is_dir():
        what = f"{root} is not a folder" if root else "is empty"
        raise UserError(f"config key data.root: {what}; give the folder of {name}")
    return folder / name if (folder / name).is_dir() else folder


def find(folder: pathlib.Path, names: Sequence[str], key: str) -> pathlib.Path:
    """Returns the first file that exists; UserError if none does."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"config key {key}: there is no {' or '.join(names)} in {folder}")


def numbered(train: Rows, test: Rows, keys: tuple[str, str] = ("data.prompt", "data.query")) -> SequenceSplits:
    """Numbers classes in alphabetical order.

    Args:
      train, test: samples.
      keys: config keys that chose them, for errors.

    Raises:
      UserError: no samples, fewer than two classes, or a class without training samples.
    """
    for rows, key, part in ((train, keys[0], "training"), (test, keys[1], "test")):
        if not rows:
            raise UserError(f"config key {key}: there are no {part} samples")
    classes = sorted({label for _, label in train})
    unknown = sorted({label for _, label in test} - set(classes))
    if unknown:
        raise UserError(f"config key {keys[1]}: class {unknown[0]!r} is not among the training samples")
    if len(classes) < 2:
        raise UserError(f"config key {keys[0]}: all samples are of class {classes[0]!r}; nothing to classify")
    number = {label: i for i, label in enumerate(classes)}
    parts = [
        Classified([item for item, _ in rows], np.array([number[label] for _, label in rows], np.int32))
        for rows in (train, test)
    ]
    return SequenceSplits(parts[0], parts[1], classes)
