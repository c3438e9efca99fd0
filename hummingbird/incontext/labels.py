"""The labels that users give a prompt: checked, and the kind of label (`hummingbird.tasks`) that they are."""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped
from numpy.typing import ArrayLike

from hummingbird.config.evaluate import Depth as DepthSettings
from hummingbird.errors import UserError
from hummingbird.incontext.encoded import Frame
from hummingbird.tasks import DepthTask, NormalsTask, RegressionTask, SegmentationTask, Task
from hummingbird.tasks.drawing import Picture, class_colours, paint_classes
from hummingbird.tasks.patches import Cells, Edges
from hummingbird.tasks.task import Column

Label = Shaped[np.ndarray, "H W *C"]
ClassNames = Sequence[str] | Mapping[int, str] | None
MOST_IDS = 65_535


class Kind(abc.ABC):
    """A kind of label as a prompt knows it.

    Attributes:
      name: key of `KINDS`.
      classes: class names by the ids that labels hold; empty if they hold values.
    """

    name: str
    classes: dict[int, str]

    @abc.abstractmethod
    def check(self, label: ArrayLike, size: tuple[int, int]) -> Label:
        """Returns a label as an array in a small type.

        Args:
          label: as the user gave it.
          size: height and width of its image.

        Raises:
          UserError: another size, values that no label can have, or no annotated pixel at all.
        """

    @abc.abstractmethod
    def channels(self, label: Label) -> int:
        """Returns how many classes or channels a label needs."""

    @abc.abstractmethod
    def task(self, channels: Iterable[int]) -> Task:
        """Returns the task of a prompt with labels of so many channels each."""

    @abc.abstractmethod
    def for_task(self, label: Label) -> Label:
        """Returns a label as the task takes it: class numbers in place of ids."""

    @abc.abstractmethod
    def from_task(self, prediction: Label) -> Label:
        """Returns a prediction with the ids of the user."""


class ClassKind(Kind):
    """Class ids, void where a pixel is not annotated: negative ids and `void` are.

    Args:
      classes: names by id: a list (ids count from 0), {id: name}, or None: ids as labels hold them, without names.
      void: id of pixels that are not annotated.
    """

    name = "segmentation"

    def __init__(self, classes: ClassNames, void: int):
        self.open = classes is None
        self.classes = dict(enumerate(classes)) if isinstance(classes, Sequence) else dict(classes or {})
        self.void = void
        if not self.open and len(self.classes) < 2:
            raise UserError(f"classes: a prompt needs at least two, not {list(self.classes.values())}")
        names = [str(name) for name in self.classes.values()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"classes: {twice[0]!r} is named twice; give each class a name of its own")
        if void in self.classes:
            raise UserError(f"void: {void} is the id of class {self.classes[void]!r}; choose another one")
        wrong = [number for number in self.classes if not 0 <= number <= MOST_IDS]
        if wrong:
            raise UserError(f"classes: id {wrong[0]} lies outside of 0..{MOST_IDS}")
        self.ids = np.array(sorted(self.classes), np.int32)

    def check(self, label: ArrayLike, size: tuple[int, int]) -> Label:
        """See `Kind.check`."""
        mask = np.asarray(label)
        check_size(mask, size, 2)
        if mask.dtype.kind not in "bui":
            raise UserError(f"label: its values are {mask.dtype}, expected integer class ids (task=segmentation)")
        annotated = mask != self.void
        if mask.dtype.kind == "i":
            annotated &= mask >= 0
        found = np.unique(mask[annotated])
        if not len(found):
            raise UserError(f"label: no pixel is annotated (all are void, {self.void}); mark at least one")
        unknown = found[found > MOST_IDS] if self.open else found[~np.isin(found, self.ids)]
        if len(unknown):
            known = f"0..{MOST_IDS}" if self.open else ", ".join(f"{i} ({self.classes[i]})" for i in self.ids.tolist())
            raise UserError(f"label: class ids {unknown[:5].tolist()} are not among {known[:200]}, and not {self.void}")
        small = np.uint8 if max(int(found.max()), self.void) <= 255 else np.int32
        return np.where(annotated, mask, self.void).astype(small)

    def channels(self, label: Label) -> int:
        """See `Kind.channels`; without names, the number of classes grows with the ids."""
        return 1 + int(label[label != self.void].max()) if self.open else len(self.ids)

    def task(self, channels: Iterable[int]) -> SegmentationTask:
        """See `Kind.task`."""
        count = max(channels, default=0)
        names = [str(i) for i in range(count)] if self.open else [str(self.classes[i]) for i in self.ids.tolist()]
        return SegmentationTask(names, max(MOST_IDS + 1, self.void))

    def for_task(self, label: Label) -> Label:
        """See `Kind.for_task`."""
        known = label != self.void
        numbers = label.astype(np.int32) if self.open else np.searchsorted(self.ids, label).astype(np.int32)
        return np.where(known, numbers, max(MOST_IDS + 1, self.void))

    def from_task(self, prediction: Label) -> Label:
        """See `Kind.from_task`."""
        return prediction if self.open else self.ids[prediction]


class ValueKind(Kind):
    """Values of one or several channels, NaN or infinite where a pixel is not annotated; for depth, also 0.

    Args:
      name: key of `KINDS`.
      make: task for a number of channels.
      channels: numbers that there may be; None: any.
    """

    def __init__(self, name: str, make: Callable[[int], Task], channels: int | None):
        self.name, self.make, self.channels_of_all, self.classes = name, make, channels, {}

    def check(self, label: ArrayLike, size: tuple[int, int]) -> Label:
        """See `Kind.check`; a label of one channel is [H, W] or [H, W, 1]."""
        values = np.asarray(label)
        check_size(values, size, 2, 3)
        if values.dtype.kind not in "buif":
            raise UserError(f"label: its values are {values.dtype}, expected numbers (task={self.name})")
        values = values.astype(np.float32)
        if values.ndim == 2:
            values = values[..., None]
        wanted = self.channels_of_all
        if wanted not in (None, values.shape[2]):
            raise UserError(f"label: it has {values.shape[2]} channels, expected {wanted} (task={self.name})")
        if not self.make(values.shape[2]).valid(self.for_task(values)).any():
            raise UserError("label: no pixel has a valid value (all are missing or out of range); give at least one")
        return values

    def channels(self, label: Label) -> int:
        """See `Kind.channels`."""
        return label.shape[2]

    def task(self, channels: Iterable[int]) -> Task:
        """See `Kind.task`. Raises UserError for labels of different numbers of channels."""
        counts = list(channels)
        if len(set(counts)) > 1:
            raise UserError(f"label: it has {counts[-1]} channels, those before it have {counts[0]}")
        return self.make(counts[0] if counts else self.channels_of_all or 1)

    def for_task(self, label: Label) -> Label:
        """See `Kind.for_task`."""
        return label

    def from_task(self, prediction: Label) -> Label:
        """Returns [H, W] for one channel, else [H, W, C]."""
        return prediction[..., 0] if prediction.ndim == 3 and prediction.shape[2] == 1 else prediction


class DepthKind(ValueKind):
    """Metres; 0, NaN or infinity where unknown. Any positive depth is valid."""

    def __init__(self) -> None:
        settings = dataclasses.replace(DepthSettings(), low=1e-6, high=1e6)
        super().__init__("depth", lambda _: DepthTask(settings), 1)

    def for_task(self, label: Label) -> Label:
        """See `Kind.for_task`."""
        return np.where(np.isfinite(label), label, 0)[..., 0]


def check_size(label: Label, size: tuple[int, int], *dimensions: int) -> None:
    """Raises UserError unless a label has the size of its image, and one of the numbers of dimensions."""
    if label.ndim not in dimensions or label.shape[:2] != size:
        raise UserError(
            f"label: its shape is {list(label.shape)}, expected {list(size)} (height and width of the image)"
        )


KINDS: dict[str, Callable[[ClassNames, int], Kind]] = {
    "segmentation": ClassKind,
    "depth": lambda classes, void: DepthKind(),
    "regression": lambda classes, void: ValueKind("regression", RegressionTask, None),
    "normals": lambda classes, void: ValueKind("normals", NormalsTask, 3),
}


def local_labels(kind: Kind, label: Label, frame: Frame) -> tuple[Int[np.ndarray, " n"], dict[str, Column]]:
    """Summarises a label patch by patch; only the part with annotated pixels costs anything.

    Args:
      kind: of label.
      label: as `Kind.check` returned it.
      frame: where the patches lie in it.

    Returns:
      The patches that have a label, and their local labels as a bank stores them.
    """
    task, label = kind.task([kind.channels(label)]), kind.for_task(label)
    known = task.valid(label)
    sides = [
        annotated_part(np.asarray(known.any(axis=1 - axis)), (frame.cells.rows, frame.cells.columns)[axis])
        for axis in (0, 1)
    ]
    (rows, down, edges_down), (columns, across, edges_across) = sides
    local = task.local_labels(label[down, across], Cells(edges_down, edges_across))
    chosen = np.flatnonzero(local.labelled)
    row, column = np.divmod(chosen, columns.stop - columns.start)
    patches = (rows.start + row) * frame.cells.grid[1] + columns.start + column
    return patches, task.label_columns(local.values[chosen])


def annotated_part(known: Bool[np.ndarray, " n"], edges: Edges) -> tuple[slice, slice, Edges]:
    """Returns the cells along an axis that hold annotated pixels, the pixels of these cells, and their edges there."""
    pixels = np.flatnonzero(known)
    first = int(np.searchsorted(edges, pixels[0], side="right")) - 1
    last = int(np.searchsorted(edges, pixels[-1] + 1, side="left"))
    part = slice(int(edges[first]), int(np.ceil(edges[last])))
    return slice(first, last), part, edges[first : last + 1] - part.start


def build_kind(name: str, classes: ClassNames, void: int) -> Kind:
    """Builds a kind of label by its name.

    Raises:
      UserError: an unknown name, or classes that are not well defined.
    """
    if name not in KINDS:
        raise UserError(f"task: {name!r} is not one of {', '.join(KINDS)}")
    if classes is not None and name != "segmentation":
        raise UserError(f"classes: task={name} has none; leave them out")
    return KINDS[name](classes, void)


def paint_labels(
    labels: Label, task: Task, names: Mapping[int, str], palette: Mapping[int, tuple[int, int, int]], void: int
) -> Picture:
    """Paints labels of a prompt.

    Args:
      labels: as the user has them.
      task: kind of label.
      names: of the classes, by id.
      palette: colours of classes, by id; the others have those of `hummingbird.tasks.drawing`.
      void: id of pixels without a label, which are hatched.
    """
    if not task.has_classes:
        flat = labels.ndim == 2 and task.kind != "depth"
        return task.paint(labels[..., None] if flat else labels)
    most = max((*names, *palette), default=0)
    colours = class_colours([names.get(i, str(i)) for i in range(most + 1)])
    for number, colour in palette.items():
        colours[number] = colour
    return paint_classes(labels, colours, void)
