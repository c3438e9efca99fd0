"""How labels are painted for people: one painter for classes, one for values such as depth."""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from hummingbird.tasks.drawing import Picture, class_colours, css, hatch, paint_classes, paint_values

RED = np.array([226, 42, 36], np.float32)
DEPTHS, ERRORS = "viridis", "magma"  # colour maps


class Swatch(NamedTuple):
    """A colour with its meaning.

    Attributes:
      text: what it stands for.
      colour: as in CSS; None: hatched.
      title: more about it.
    """

    text: str
    colour: str | None
    title: str = ""


class Scale(NamedTuple):
    """A colour scale.

    Attributes:
      low, high: values at its ends; values beyond them are clipped.
      colours: Matplotlib colour map.
      label: quantity and unit.
    """

    low: float
    high: float
    colours: str
    label: str


class Painter(abc.ABC):
    """Paints labels, predictions and errors of several images in the same colours.

    Attributes:
      legend: the colours that occur.
      scales: the colour scales in use.
      caption: sentences that explain the pictures.
    """

    legend: Sequence[Swatch]
    scales: Sequence[Scale]
    caption: str

    @abc.abstractmethod
    def paint(self, label: Shaped[np.ndarray, "H W *C"]) -> Picture:
        """Paints a label or a prediction; pixels without a label are hatched."""

    @abc.abstractmethod
    def paint_error(
        self, error: Shaped[np.ndarray, "H W"], truth: Shaped[np.ndarray, "H W *C"], image: Picture
    ) -> Picture:
        """Paints the errors that `Task.error` returns; `image` may serve as background."""

    @abc.abstractmethod
    def describe_error(self, error: Shaped[np.ndarray, "H W"], truth: Shaped[np.ndarray, "H W *C"]) -> str:
        """Summarises the errors of an image in a few words."""

    @abc.abstractmethod
    def swatch(self, value: int | float, share: float | None = None) -> Swatch:
        """Describes the local label of a patch, as `BankLabels.describe` returns it."""

    @abc.abstractmethod
    def summarise(self, label: Shaped[np.ndarray, "h w *C"]) -> Swatch:
        """Describes the label of a patch by its pixels."""


class ClassPainter(Painter):
    """Paints class ids in `drawing.class_colours`; wrong pixels are red on the faded image.

    Args:
      classes: class names by id.
      void: class id of void pixels.
      labels: truths and predictions; the legend lists the classes that they hold.
    """

    scales = ()

    def __init__(self, classes: Sequence[str], void: int, labels: Iterable[Int[np.ndarray, "_ _"]] = ()):
        self.classes, self.void = classes, void
        self.colours = class_colours(classes)
        present = {int(c) for label in labels for c in np.unique(label)}
        self.legend = [self.swatch(c) for c in sorted(present & set(range(len(classes))))]
        if void in present:
            self.legend.append(Swatch("void: no ground truth", None))
        hatched = "; void is hatched and counts nowhere" if void in present else ""
        self.caption = f"Errors are red on the faded image{hatched}. The mIoU below a prediction is that image's own."

    def paint(self, label: Int[np.ndarray, "H W"]) -> Picture:
        """See `Painter.paint`."""
        return paint_classes(label, self.colours, self.void)

    def paint_error(self, error: Bool[np.ndarray, "H W"], truth: Int[np.ndarray, "H W"], image: Picture) -> Picture:
        """Paints wrong pixels red on the faded image; void is hatched."""
        grey = image.astype(np.float32).mean(axis=2, keepdims=True)
        red, pale = RED * (0.8 + 0.2 * grey / 255), 168 + 0.33 * grey
        painted = np.clip(np.where(error[..., None], red, pale), 0, 255).astype(np.uint8)
        return np.where((truth == self.void)[..., None], hatch(*truth.shape), painted)

    def describe_error(self, error: Bool[np.ndarray, "H W"], truth: Int[np.ndarray, "H W"]) -> str:
        """Returns the share of valid pixels that are wrong."""
        valid = int((truth != self.void).sum())
        return f"{100 * int(error.sum()) / valid:.1f} % of valid pixels wrong" if valid else "no valid pixels"

    def swatch(self, value: int | float, share: float | None = None) -> Swatch:
        """Returns a class with its colour, and the share of the patch that it covers."""
        if not 0 <= value < len(self.classes):
            return Swatch("no label", None)
        name = self.classes[int(value)]
        title = f"{name}, {100 * share:.0f} % of the patch" if share is not None else name
        return Swatch(name, css(self.colours[int(value)]), title)

    def summarise(self, label: Int[np.ndarray, "h w"]) -> Swatch:
        """Returns the class that most valid pixels have."""
        ids, counts = np.unique(label[label != self.void], return_counts=True)
        return self.swatch(int(ids[counts.argmax()]) if len(ids) else -1)


class ValuePainter(Painter):
    """Paints values on one colour scale and absolute errors on another.

    Args:
      quantity: such as "depth".
      unit: symbol and name, such as ("m", "metres").
      void: value of pixels without a label.
      truths: decide the range of the first scale.
      errors: NaN where the truth is invalid; decide the range of the second scale.
    """

    def __init__(
        self,
        quantity: str,
        unit: tuple[str, str],
        void: float,
        truths: Iterable[Float[np.ndarray, "_ _"]] = (),
        errors: Iterable[Float[np.ndarray, "_ _"]] = (),
    ):
        self.quantity, self.unit, self.void = quantity, unit[0], void
        truths = list(truths)
        values = np.concatenate([np.zeros(0), *(truth[self._known(truth)] for truth in truths)])
        misses = np.concatenate([np.zeros(0), *(error[np.isfinite(error)] for error in errors)])
        low, high = np.percentile(values, (0.5, 99.5)) if len(values) else (0.0, 1.0)
        worst = max(np.ceil(10 * np.percentile(misses, 99)) / 10, 0.1) if len(misses) else 1.0
        self.values = Scale(
            float(np.floor(10 * low) / 10), float(np.ceil(10 * high) / 10), DEPTHS, f"{quantity} in {unit[1]}"
        )
        self.errors = Scale(0.0, float(worst), ERRORS, f"absolute error in {unit[1]}")
        self.scales = (self.values, self.errors) if truths else ()
        hatched = any(not self._known(truth).all() for truth in truths)
        self.legend = [Swatch("no ground truth", None)] * hatched
        self.caption = (
            f"All {quantity} maps share one scale, all error maps another. "
            "The RMSE below a prediction is that image's own."
        )

    def _known(self, label: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
        return np.isfinite(label) & (label != self.void)

    def paint(self, label: Float[np.ndarray, "H W"]) -> Picture:
        """See `Painter.paint`."""
        known = np.where(self._known(label), label, np.nan)
        return paint_values(known, self.values.low, self.values.high, self.values.colours)

    def paint_error(self, error: Float[np.ndarray, "H W"], truth: Float[np.ndarray, "H W"], image: Picture) -> Picture:
        """Paints absolute errors; invalid pixels are hatched."""
        return paint_values(error, self.errors.low, self.errors.high, self.errors.colours)

    def describe_error(self, error: Float[np.ndarray, "H W"], truth: Float[np.ndarray, "H W"]) -> str:
        """Returns the mean absolute error."""
        valid = error[np.isfinite(error)]
        return f"mean error {valid.mean(dtype=np.float64):.3f} {self.unit}" if len(valid) else "no valid pixels"

    def swatch(self, value: int | float, share: float | None = None) -> Swatch:
        """Returns a mean value with its colour."""
        pixel = np.array([[float(value)]])
        if not self._known(pixel).all():
            return Swatch(f"no {self.quantity}", None)
        colour: UInt8[np.ndarray, " 3"] = self.paint(pixel)[0, 0]
        return Swatch(f"{value:.2f} {self.unit}", css(colour), f"mean {self.quantity} of the patch")

    def summarise(self, label: Float[np.ndarray, "h w"]) -> Swatch:
        """Returns the mean of the valid values."""
        known = self._known(label)
        return self.swatch(float(label[known].mean()) if known.any() else self.void)
