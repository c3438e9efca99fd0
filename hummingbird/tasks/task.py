"""What the rest of the package needs to know about a kind of label: the interface that every kind implements.

Labels are arrays [H, W] or [H, W, C] aligned with their image. To add a kind, write a file beside this one with a
subclass of `Task` and add it to `hummingbird.tasks.KINDS`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from hummingbird.config import EvaluateConfig
from hummingbird.run.files import Json
from hummingbird.tasks.drawing import Picture
from hummingbird.tasks.painting import Painter
from hummingbird.tasks.patches import Cells

Column: TypeAlias = Shaped[np.ndarray, " ..."]
Scores: TypeAlias = "dict[str, float | dict[str, float | None]]"
Choices: TypeAlias = "dict[str, str | int | float | bool | list[int] | None]"


class Score(NamedTuple):
    """A number that a task reports.

    Attributes:
      key: its key in metrics.json.
      name: how readers know it.
      unit: empty for percentages (0-100) and ratios.
      digits: decimals to show.
      larger_is_better: direction.
    """

    key: str
    name: str
    unit: str
    digits: int
    larger_is_better: bool

    @property
    def label(self) -> str:
        """Name with unit, for table headings and axes."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


class LocalLabels(NamedTuple):
    """Local labels of the N patches of an image (Sec. 3.1).

    Attributes:
      values: a row of numbers for each patch; what they mean is up to the task.
      labelled: whether the patch holds a valid pixel. Patches that do not never enter a memory bank.
    """

    values: Shaped[np.ndarray, "N C"]
    labelled: Bool[np.ndarray, " N"]


@runtime_checkable
class BankLabels(Protocol):
    """Local labels of the M entries of a memory bank, and how they vote."""

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def columns(self) -> dict[str, Column]:
        """Returns the arrays to store; `Task.bank_labels` restores the labels from them."""
        ...

    def vote(self, ids: Int[np.ndarray, "Q k"], weights: Float[np.ndarray, "Q k"]) -> Float32[np.ndarray, "Q C"]:
        """Returns the weighted sum of the labels of each query's neighbours (Eq. 1); ids of -1 do not vote."""
        ...

    def take(self, rows: Int[np.ndarray, " n"]) -> BankLabels:
        """Returns the labels of the entries `rows`, in that order, copied."""
        ...

    def describe(self, entry: int) -> tuple[int | float, float]:
        """Returns the label that stands for an entry, and the share of the entry's valid pixels that have it."""
        ...


@runtime_checkable
class Metrics(Protocol):
    """Metrics of a data set, streamed image by image.

    Attributes:
      parts: additive summaries in the order of the images. To merge the metrics of several processes, concatenate
        their lists in the order of the processes.
    """

    parts: list[np.ndarray]

    def add(self, truth: Shaped[np.ndarray, "H W *C"], prediction: Shaped[np.ndarray, "H W *C"]) -> float:
        """Counts one image; returns its own headline score, NaN if it holds no valid pixel."""
        ...

    def merge(self, other: Metrics) -> None:
        """Adds metrics of the same kind, of images that come after its own."""
        ...

    def result(self) -> Scores:
        """Returns the scores by key. Raises UserError if no image held a valid pixel."""
        ...


@runtime_checkable
class Census(Protocol):
    """Statistics of the labels of a data set, for `hummingbird data`."""

    def add(self, label: Shaped[np.ndarray, "H W *C"]) -> None:
        """Counts the label of one image."""
        ...

    def facts(self) -> dict[str, Json]:
        """Returns the statistics by name."""
        ...

    def lines(self) -> list[str]:
        """Formats the statistics for people."""
        ...


@runtime_checkable
class Annotated(Protocol):
    """What a task has to know about a data set (`hummingbird.data.interface.DenseSource` says it)."""

    task: str
    classes: list[str]
    ignore: int


class Kind(abc.ABC):
    """A kind of label, as results and reports know it.

    Attributes:
      kind: its name in configs, sources and metrics.json.
      title: its name for readers.
      scores: what metrics hold besides details; the first one is the headline.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    scores: ClassVar[tuple[Score, ...]]

    @classmethod
    def headline(cls, scores: Scores) -> float:
        """Returns the score that stands for all."""
        value = scores[cls.scores[0].key]
        assert isinstance(value, float)
        return value


class Task(Kind):
    """A kind of dense label, with everything that depends on it.

    Attributes:
      form: how a bank holds its labels, a key of `hummingbird.tasks.FORMS`; most tasks have one of their own.
      columns: names of the bank columns that hold them.
      epochs: default number of augmented passes over the prompt for each named protocol that the task supports, and
        under "few" for the few-data settings of Table 6.
      has_classes: whether `LocalLabels.values` has a column for each class, positive where the patch holds it. Then
        `retrieval.sampling=salient` prefers rare classes (Eq. 5); otherwise it draws patches at random (App. A.1).
      label_dtype: type of labels and predictions.
      channels: C, the columns of `LocalLabels.values` and the planes of a vote.
      classes: class names by id; empty for tasks without classes.
      void: value of pixels without a label, such as the padding of an augmented image.
      choices: settings of the task that affect the score, as written to metrics.json.
      local_choices: those of them that local labels depend on: part of the identity of a memory bank.
    """

    form: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    epochs: ClassVar[Mapping[str, int]]
    has_classes: ClassVar[bool]
    label_dtype: ClassVar[np.dtype[np.generic]]

    channels: int
    classes: tuple[str, ...] = ()
    void: float
    choices: Choices
    local_choices: Choices

    @classmethod
    @abc.abstractmethod
    def build(cls, source: Annotated, config: EvaluateConfig) -> Task:
        """Builds the task of an evaluation.

        Args:
          source: the data.
          config: the evaluation's settings.
        """

    # ------------------------------------------------------------ pixels
    def annotated(self, label: Shaped[np.ndarray, "H W *C"]) -> Bool[np.ndarray, "H W"]:
        """Returns the pixels that have a label, valid or not."""
        return label != self.void

    @abc.abstractmethod
    def valid(self, label: Shaped[np.ndarray, "H W *C"]) -> Bool[np.ndarray, "H W"]:
        """Returns the pixels that count in local labels and metrics."""

    def move(
        self,
        label: Shaped[np.ndarray, "H W *C"],
        rows: Int[np.ndarray, " h"],
        columns: Int[np.ndarray, " w"],
        scale: tuple[float, float] = (1.0, 1.0),
        flip: bool = False,
    ) -> Shaped[np.ndarray, "h w *C"]:
        """Returns the label of a cropped, resized or mirrored image. Labels are never interpolated.

        Tasks with values that depend on the image's geometry override this: offsets between pixels are multiplied by
        `scale`, and the horizontal component of a vector changes sign under `flip`.

        Args:
          label: the label of the whole image.
          rows, columns: for each row and column of the result, the nearest one of the whole image.
          scale: new pixels per old pixel, vertically and horizontally.
          flip: whether `columns` run from right to left.
        """
        return label[rows[:, None], columns]

    # ------------------------------------------------------------ memory bank
    @abc.abstractmethod
    def local_labels(self, label: Shaped[np.ndarray, "H W *C"], cells: Cells) -> LocalLabels:
        """Summarises the valid pixels of each patch, row by row (Sec. 3.1).

        Args:
          label: label of the whole image, at its own resolution.
          cells: where the patches lie in it.

        Raises:
          UserError: values that no label can have.
        """

    @abc.abstractmethod
    def label_columns(self, values: Shaped[np.ndarray, "n C"]) -> dict[str, Column]:
        """Returns `LocalLabels.values` of labelled patches as the bank columns named in `columns`."""

    @staticmethod
    @abc.abstractmethod
    def bank_labels(columns: Mapping[str, Column], channels: int) -> BankLabels:
        """Restores the labels of a bank from its columns."""

    # ------------------------------------------------------------ predictions
    @abc.abstractmethod
    def predict(
        self, votes: Float32[np.ndarray, "h w C"], height: int, width: int
    ) -> Shaped[np.ndarray, "{height} {width} *C"]:
        """Upsamples the votes of a grid of patches to a prediction for each pixel."""

    @abc.abstractmethod
    def metrics(self) -> Metrics:
        """Returns empty metrics."""

    # ------------------------------------------------------------ for people
    @abc.abstractmethod
    def census(self) -> Census:
        """Returns empty statistics of labels."""

    @abc.abstractmethod
    def showcase(self, label: Shaped[np.ndarray, "H W *C"], cells: Cells) -> tuple[LocalLabels, Int[np.ndarray, " N"]]:
        """Returns local labels for choosing query patches to show in a report, and a group for each patch.

        Patches that would explain little are without a label; one patch of each group is shown first.
        """

    @abc.abstractmethod
    def error(
        self, truth: Shaped[np.ndarray, "H W *C"], prediction: Shaped[np.ndarray, "H W *C"]
    ) -> Shaped[np.ndarray, "H W"]:
        """Returns the error of each pixel, or what the report draws of it."""

    @classmethod
    @abc.abstractmethod
    def painter(
        cls,
        classes: Sequence[str],
        void: int,
        truths: Iterable[Shaped[np.ndarray, "_ _ *C"]] = (),
        predictions: Iterable[Shaped[np.ndarray, "_ _ *C"]] = (),
        errors: Iterable[Shaped[np.ndarray, "_ _"]] = (),
    ) -> Painter:
        """Returns a painter that paints several images in the same colours.

        Args:
          classes: class names by id.
          void: class id of void pixels.
          truths, predictions: labels to be painted.
          errors: what `error` returned for them.
        """

    def paint(self, label: Shaped[np.ndarray, "H W *C"]) -> Picture:
        """Paints a label or a prediction in its own range of values; pixels without a label are hatched."""
        return self.painter(self.classes, int(self.void), [label]).paint(label)
