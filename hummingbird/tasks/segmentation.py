"""Semantic segmentation: labels are class ids; local labels are pixel counts per class."""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float32, Float64, Int, Int32, Integer, Num

from hummingbird.config import EvaluateConfig
from hummingbird.run.files import Json
from hummingbird.tasks import class_counts
from hummingbird.tasks.class_counts import ClassCounts, sparse_columns
from hummingbird.tasks.class_metrics import Mask, SegmentationMetrics, check_classes
from hummingbird.tasks.painting import ClassPainter
from hummingbird.tasks.patches import Cells, patch_cells
from hummingbird.tasks.task import Annotated, BankLabels, Choices, Column, LocalLabels, Score, Task
from hummingbird.tasks.upsampling import upsampled_argmax

# Neighbours of patches with less than this share of one class explain little in a report.
PURE = 0.9
LISTED = 30  # classes named for people at most


# ---------------------------------------------------------------- local labels
def patch_labels(
    mask: Integer[np.ndarray | Array, "B H W"] | Integer[np.ndarray | Array, "H W"],
    patch: int,
    num_classes: int,
    ignore: int = 255,
) -> Float32[np.ndarray, "*B h w {num_classes}"]:
    """Averages the one-hot pixel labels over the valid pixels of each patch: l_j of Sec. 3.1.

    Args:
      mask: class ids of a batch or of one image.
      patch: patch side in pixels; divides H and W.
      num_classes: C; ids must lie in 0..C-1 or be `ignore`.
      ignore: id of void pixels, which are left out of the mean.

    Returns:
      Class shares; rows sum to 1, or are 0 where every pixel is void.

    Raises:
      UserError: an id out of range, or a size that is not a multiple of `patch`.

    Example:
      >>> patch_labels(np.array([[0, 1, 2, 2], [0, 0, 2, 255]]), patch=2, num_classes=3)
      array([[[0.75, 0.25, 0.  ],
              [0.  , 0.  , 1.  ]]], dtype=float32)
    """
    masks = np.asarray(mask)
    if masks.ndim == 2:
        return patch_labels(masks[None], patch, num_classes, ignore)[0]
    height, width = masks.shape[1] // patch, masks.shape[2] // patch
    cells = patch_cells(masks.shape[1], masks.shape[2], patch)
    counts = np.stack([class_areas(m, cells, num_classes, ignore) for m in masks]).astype(np.float32)
    labels = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    return labels.reshape(len(masks), height, width, num_classes)


def class_areas(
    mask: Mask, cells: Cells, num_classes: int, ignore: int = 255
) -> Float64[np.ndarray, "N {num_classes}"]:
    """Counts the valid pixels of each class in each patch, exactly.

    Args:
      mask: class ids, 0..C-1 or `ignore`.
      cells: where the N patches lie in the mask; a pixel on an edge counts by its area on either side.
      num_classes: C.
      ignore: id of void pixels, which count for no class.

    Raises:
      UserError: an id out of range.
    """
    check_classes(mask, num_classes, ignore)
    # Void pixels are counted as class C, which is cut off.
    classes = np.where(mask == ignore, num_classes, mask).astype(np.int64)
    size = (len(cells.columns) - 1) * (num_classes + 1)
    counts = []
    for pixels, heights, columns in cells.bands(*mask.shape):
        bins = columns.cell * (num_classes + 1) + classes[pixels][:, columns.pixel]
        counts.append(np.bincount(bins.ravel(), np.outer(heights, columns.length).ravel(), size))
    return np.stack(counts).reshape(-1, num_classes + 1)[:, :num_classes]


# ---------------------------------------------------------------- for people
class ClassRow(NamedTuple):
    """Statistics of a class.

    Attributes:
      name: of the class.
      share: of all valid pixels, 0-1.
      images: number of images that hold the class.
    """

    name: str
    share: float
    images: int


class ClassCensus:
    """Pixels and images of each class."""

    def __init__(self, classes: Sequence[str], ignore: int):
        self.classes, self.ignore = tuple(classes), ignore
        self.pixels, self.images = np.zeros((2, len(classes) + 1), np.int64)

    def add(self, label: Mask) -> None:
        """Counts one mask."""
        void = len(self.classes)
        counts = np.bincount(np.where(label == self.ignore, void, label).ravel(), minlength=void + 1)
        self.pixels += counts
        self.images += counts > 0

    def facts(self) -> dict[str, Json]:
        """Returns {"classes": {name: {"pixel_share": of all valid pixels, "images": that hold the class}}}."""
        return {"classes": {row.name: {"pixel_share": row.share, "images": row.images} for row in self.rows()}}

    def rows(self) -> list[ClassRow]:
        """Returns the statistics of each class, in the order of their ids."""
        pixels, images = self.pixels[:-1].tolist(), self.images[:-1].tolist()
        total = max(1, sum(pixels))
        return [ClassRow(*row) for row in zip(self.classes, (n / total for n in pixels), images, strict=True)]

    def lines(self) -> list[str]:
        """Formats the most frequent classes as a table, and names those that do not occur."""
        rows = sorted(self.rows(), key=lambda row: -row.share)
        present = [row for row in rows if row.images]
        width = max((len(row.name) for row in present), default=0)
        lines = [f"{len(present)} of {len(rows)} classes occur; share of pixels, images:"]
        lines += [
            f"  {row.name:{width}} {row.share:7.2%} {row.images:7,}  {'#' * round(40 * row.share)}".rstrip()
            for row in present[:LISTED]
        ]
        absent = [row.name for row in self.rows() if not row.images]
        more = " ..." if len(absent) > LISTED else ""
        return lines + ([f"not in the images read: {', '.join(absent[:LISTED])}{more}"] if absent else [])


# ---------------------------------------------------------------- the task
@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules of a named protocol.

    Attributes:
      void: whether void pixels are "left_out" of the bank's local labels, count as "class_0", or as one of their "own",
        which no true pixel has.
      absent_classes: whether classes in neither truth nor prediction are "left_out" of mIoU or count "zero".
      matching: whether predicted classes are taken as they are, "none", or reassigned for the best IoU, "hungarian".
      true_void: whether true pixels of a void class of its own are "left_out" of the metrics, or "scored" as others.
    """

    void: Literal["left_out", "class_0", "own"] = "left_out"
    absent_classes: Literal["left_out", "zero"] = "left_out"
    matching: Literal["none", "hungarian"] = "none"
    true_void: Literal["left_out", "scored"] = "left_out"


# DIP takes the mean over classes that occur (nanmean), and ADE20K's `other` for a class.
PROTOCOLS = {
    "paper": Rules(),
    "open-hummingbird": Rules("class_0", "zero", "hungarian"),
    "dip": Rules("class_0", true_void="scored"),
    "capi": Rules("own"),
}


class SegmentationTask(Task):
    """Labels int32 [H, W] of class ids, `ignore` where void.

    Args:
      classes: class names by id; the last one is that of void pixels if they have their own.
      ignore: class id of void pixels.
      rules: choices of the protocol.
    """

    kind = form = "segmentation"
    title = "Semantic segmentation"
    scores = (
        Score("miou", "mIoU", "", 1, True),
        Score("pixel_accuracy", "pixel acc.", "", 1, True),
        Score("mean_class_accuracy", "mean class acc.", "", 1, True),
    )
    columns = class_counts.COLUMNS
    epochs = {"paper": 2, "few": 8, "open-hummingbird": 1, "dip": 2}  # noqa: RUF012 - never written to
    has_classes = True
    label_dtype = np.dtype(np.int32)

    def __init__(self, classes: Sequence[str], ignore: int = 255, rules: Rules = PROTOCOLS["paper"]):
        self.classes, self.ignore, self.rules = tuple(classes), ignore, rules
        self.void: float = ignore
        self.channels = len(classes)
        self.choices: Choices = dataclasses.asdict(rules)
        self.local_choices: Choices = {"void": rules.void}

    @classmethod
    def build(cls, source: Annotated, config: EvaluateConfig) -> SegmentationTask:
        """See `Task.build`; reads `protocol`."""
        rules, own = PROTOCOLS[config.protocol], getattr(source, "void_class", "")
        if rules.void == "left_out" or not own:
            return cls(source.classes, source.ignore, rules)
        return cls([*source.classes, own], source.ignore, dataclasses.replace(rules, void="own"))

    def valid(self, label: Mask) -> Bool[np.ndarray, "H W"]:
        """Returns the pixels that are not void."""
        return label != self.ignore

    def local_labels(self, label: Mask, cells: Cells) -> LocalLabels:
        """Counts the pixels of each class in each patch; see `Task.local_labels`."""
        if self.rules.void != "left_out":
            label = np.where(label == self.ignore, {"class_0": 0, "own": len(self.classes) - 1}[self.rules.void], label)
        counts = class_areas(label, cells, len(self.classes), self.ignore)
        return LocalLabels(counts, counts.max(axis=1) > 0)

    def label_columns(self, values: Num[np.ndarray, "n C"]) -> dict[str, Column]:
        """See `class_counts.sparse_columns`."""
        return sparse_columns(values)

    @staticmethod
    def bank_labels(columns: Mapping[str, Column], channels: int) -> BankLabels:
        """See `Task.bank_labels`."""
        return ClassCounts(channels, *(columns[name] for name in class_counts.COLUMNS))

    def predict(
        self, votes: Float32[np.ndarray, "h w C"], height: int, width: int
    ) -> Int32[np.ndarray, "{height} {width}"]:
        """Returns the class with the largest upsampled vote."""
        return upsampled_argmax(votes, height, width)

    def metrics(self) -> SegmentationMetrics:
        """Returns an empty confusion matrix."""
        scored = self.rules.void == "own" and self.rules.true_void == "scored"
        void = len(self.classes) - 1 if scored else None
        return SegmentationMetrics(self.classes, self.ignore, self.rules.absent_classes, self.rules.matching, void)

    def census(self) -> ClassCensus:
        """Returns empty counts of classes."""
        return ClassCensus(self.classes, self.ignore)

    def showcase(self, label: Mask, cells: Cells) -> tuple[LocalLabels, Int[np.ndarray, " N"]]:
        """Keeps patches of nearly one class, grouped by class."""
        counts = class_areas(label, cells, len(self.classes), self.ignore)
        counts[counts.max(axis=1) < PURE * cells.areas] = 0
        return LocalLabels(counts, counts.max(axis=1) > 0), counts.argmax(axis=1)

    def error(self, truth: Mask, prediction: Mask) -> Bool[np.ndarray, "H W"]:
        """Returns the valid pixels with a wrong class."""
        return (truth != prediction) & (truth != self.ignore)

    @classmethod
    def painter(
        cls,
        classes: Sequence[str],
        void: int,
        truths: Iterable[Int[np.ndarray, "_ _"]] = (),
        predictions: Iterable[Int[np.ndarray, "_ _"]] = (),
        errors: Iterable[Bool[np.ndarray, "_ _"]] = (),
    ) -> ClassPainter:
        """See `Task.painter`."""
        return ClassPainter(classes, void, [*truths, *predictions])
