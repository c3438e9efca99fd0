"""Texts with classes, from tables of text and label and from the files of TREC, SST, AG News and TweetEval."""

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
    """Samples with a class each.

    Attributes:
      items: texts, or paths of sounds.
      labels: class ids.
    """

    items: list[str]
    labels: Int32[np.ndarray, " N"]


class SequenceSplits(NamedTuple):
    """The parts of a data set of texts or sounds.

    Attributes:
      train: to retrieve from and to train on.
      test: to classify.
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
        raise UserError(f"{path} is not text in {encoding} ({error.reason}); save it as such") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


def read_table(path: pathlib.Path) -> Rows:
    """Reads a .csv or .tsv with a header that names a column of texts and one of labels, as Banking-77 has it."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(io.StringIO(content(path, "utf-8-sig"), newline=""), delimiter=separator)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    text, label = (next((names.index(n) for n in known if n in names), -1) for known in (TEXTS, LABELS))
    if text < 0 or label < 0:
        raise UserError(f"{path}: its first line must name the columns text and label; it has {', '.join(names)}")
    fields = list(rows.fieldnames or ())
    found: Rows = []
    for row in rows:
        pair = row[fields[text]], row[fields[label]]
        if not pair[0] or not pair[1]:
            raise UserError(f"{path}, line {rows.line_num}: text or label is missing")
        found.append((pair[0], pair[1].strip()))
    return found


def read_ag_news(path: pathlib.Path) -> Rows:
    """Reads class, title and description, without a header."""
    rows = list(csv.reader(io.StringIO(content(path), newline="")))
    short = next((i for i, row in enumerate(rows, 1) if len(row) != 3), None)
    if short is not None:
        raise UserError(f"{path}, row {short}: expected class, title and description")
    return [(f"{title} {description}", label) for label, title, description in rows]


def read_trec(path: pathlib.Path) -> Rows:
    """Reads "DESC:manner How did serfdom develop ?"; the coarse class counts."""
    found: Rows = []
    for number, line in enumerate(content(path, "latin-1").splitlines(), 1):
        label, _, text = line.partition(" ")
        if ":" not in label or not text:
            raise UserError(f"{path}, line {number}: expected CLASS:detail and a question")
        found.append((text.strip(), label.partition(":")[0]))
    return found


def read_trees(path: pathlib.Path) -> Rows:
    """Reads the parse trees of the Stanford Sentiment Treebank: the label of the root, 0 to 4, and the words."""
    found: Rows = []
    for number, line in enumerate(filter(None, content(path).splitlines()), 1):
        root = re.match(r"\((\d) ", line)
        if not root:
            raise UserError(f"{path}, line {number}: expected a tree such as (3 (2 It) (4 works))")
        words: list[str] = re.findall(r"\(\d ([^()]+)\)", line)
        found.append((" ".join(BRACKETS.get(word, word) for word in words), root[1]))
    return found


def read_tweets(path: pathlib.Path) -> Rows:
    """Reads NAME_text.txt, and NAME_labels.txt beside it, line by line."""
    beside = path.with_name(path.name.replace("_text", "_labels"))
    texts, labels = content(path).splitlines(), content(beside).split()
    if len(texts) != len(labels):
        raise UserError(f"{path} has {len(texts)} lines, {beside.name} has {len(labels)}")
    return list(zip(texts, labels, strict=True))


class TextSet(NamedTuple):
    """Where the parts of a data set are, by the first name that exists, and how its files are read."""

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
      root: folder of its files, or a folder that holds the set's own.
      train, test: files in it; "": the usual ones.

    Raises:
      UserError: no such data set or file, or a file of another form.
    """
    if name not in TEXT_SETS:
        raise UserError(f"config key data.name: {name!r} is not a data set of texts; there are {', '.join(TEXT_SETS)}")
    known, folder = TEXT_SETS[name], home(root, name)
    parts = [
        known.read(find(folder, (file,) if file else usual, key))
        for file, usual, key in ((train, known.train, "data.prompt"), (test, known.test, "data.query"))
    ]
    return numbered(*parts)


def home(root: str, name: str) -> pathlib.Path:
    """Returns the folder of a data set: `root`, or one of that name in it; UserError if there is none."""
    folder = pathlib.Path(root).expanduser()
    if not root or not folder.is_dir():
        raise UserError(f"config key data.root: {root or 'empty'} is not a folder; give the one that holds {name}")
    return folder / name if (folder / name).is_dir() else folder


def find(folder: pathlib.Path, names: Sequence[str], key: str) -> pathlib.Path:
    """Returns the first file that exists; UserError if none does."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"config key {key}: there is no {' or '.join(names)} in {folder}")


def numbered(train: Rows, test: Rows) -> SequenceSplits:
    """Numbers the classes of the training samples by name; UserError if there are too few, or more among the others."""
    if not train or not test:
        raise UserError(f"config key data.{'prompt' if not train else 'query'}: no samples")
    classes = sorted({label for _, label in train})
    unknown = sorted({label for _, label in test} - set(classes))
    if unknown:
        raise UserError(f"config key data.query: class {unknown[0]!r} is not among the training samples")
    if len(classes) < 2:
        raise UserError(f"config key data.prompt: all samples are of class {classes[0]!r}; nothing to classify")
    number = {label: i for i, label in enumerate(classes)}
    parts = [
        Classified([item for item, _ in rows], np.array([number[label] for _, label in rows], np.int32))
        for rows in (train, test)
    ]
    return SequenceSplits(parts[0], parts[1], classes)
