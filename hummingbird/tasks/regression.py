"""Regression maps of C channels: albedo, flow, heat; surface normals are those whose channels form unit vectors."""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from hummingbird.config import EvaluateConfig
from hummingbird.errors import UserError
from hummingbird.run.files import Json
from hummingbird.tasks.depth import MeanValues
from hummingbird.tasks.drawing import Picture, css, hatch, paint_values
from hummingbird.tasks.painting import DEPTHS, ERRORS, Painter, Scale, Swatch
from hummingbird.tasks.patches import Cells
from hummingbird.tasks.task import Annotated, Choices, Column, LocalLabels, Metrics, Score, Scores, Task
from hummingbird.tasks.upsampling import upsample

Map = Float[np.ndarray, "H W C"]


def finite(values: Map) -> Bool[np.ndarray, "H W"]:
    """Returns the pixels at which all channels are finite."""
    return np.asarray(np.isfinite(values).all(axis=-1))


class RegressionMetrics:
    """RMSE and mean absolute error over all channels of all valid pixels.

    Attributes:
      parts: sums of each image, float64 [3]: values, squared error, absolute error.
    """

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []

    def add(self, truth: Map, prediction: Map) -> float:
        """Counts one image; returns its own RMSE, NaN if no pixel is valid."""
        valid = finite(truth)
        error = truth[valid].astype(np.float64) - prediction[valid]
        self.parts.append(np.array([error.size, (error**2).sum(), np.abs(error).sum()]))
        return float(np.sqrt((error**2).mean())) if error.size else float("nan")

    def merge(self, other: Metrics) -> None:
        """Adds the sums of other images."""
        self.parts += other.parts

    def result(self) -> Scores:
        """Returns {"rmse", "mean_absolute_error"}, in the unit of the labels."""
        count, *sums = np.sum(self.parts, axis=0) if self.parts else np.zeros(3)
        if not count:
            raise UserError("the query images hold no valid value: all are NaN or infinite")
        return {"rmse": float(np.sqrt(sums[0] / count)), "mean_absolute_error": float(sums[1] / count)}


class AngularMetrics:
    """Mean and root-mean-square angle between true and predicted directions, and the shares below three limits.

    Attributes:
      parts: sums of each image, float64 [6]: pixels, angle, squared angle, pixels below 11.25, 22.5 and 30 degrees (the
        limits of Fouhey et al., 2013).
    """

    LIMITS = (11.25, 22.5, 30.0)

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []

    def add(self, truth: Map, prediction: Map) -> float:
        """Counts one image; returns its own mean angle in degrees, NaN if no pixel is valid."""
        angles = angle(truth, prediction)
        angles = angles[np.isfinite(angles)].astype(np.float64)
        below = [(angles < limit).sum() for limit in self.LIMITS]
        self.parts.append(np.array([len(angles), angles.sum(), (angles**2).sum(), *below]))
        return float(angles.mean()) if len(angles) else float("nan")

    def merge(self, other: Metrics) -> None:
        """Adds the sums of other images."""
        self.parts += other.parts

    def result(self) -> Scores:
        """Returns {"mean_angle", "rms_angle" (degrees), "below_11", "below_22", "below_30" (0-1)}."""
        count, *sums = np.sum(self.parts, axis=0) if self.parts else np.zeros(6)
        if not count:
            raise UserError("the query images hold no valid direction: all are NaN, infinite or zero")
        mean = (np.array(sums) / count).tolist()
        keys = ("mean_angle", "rms_angle", "below_11", "below_22", "below_30")
        return dict(zip(keys, (mean[0], float(np.sqrt(mean[1])), *mean[2:]), strict=True))


def angle(truth: Map, prediction: Map) -> Float32[np.ndarray, "H W"]:
    """Returns the angle between two maps of vectors in degrees; NaN where one of them has no direction."""
    product = np.einsum("hwc,hwc->hw", truth, prediction, dtype=np.float64)
    lengths = np.linalg.norm(truth, axis=-1) * np.linalg.norm(prediction, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.degrees(np.arccos(np.clip(product / np.where(lengths > 0, lengths, np.nan), -1, 1))).astype(
            np.float32
        )


# ---------------------------------------------------------------- for people
class RegressionCensus:
    """Range of the values of a data set."""

    def __init__(self) -> None:
        self.ranges: list[np.ndarray] = []

    def add(self, label: Map) -> None:
        """Counts one map."""
        values = label[finite(label)]
        if values.size:
            self.ranges.append(np.percentile(values, (0, 50, 100)))

    def facts(self) -> dict[str, Json]:
        """Returns {"values": [smallest, median of the images' medians, largest]}; empty without any value."""
        if not self.ranges:
            return {}
        low, middle, high = np.array(self.ranges).T
        return {"values": [float(low.min()), float(np.median(middle)), float(high.max())]}

    def lines(self) -> list[str]:
        """Formats the range in one line."""
        if not self.ranges:
            return []
        low, middle, high = np.array(self.ranges).T
        return [f"values {low.min():.3g} to {high.max():.3g} (median {np.median(middle):.3g})"]


class ChannelPainter(Painter):
    """Paints one channel by a colour map, and several as red, green and blue, each over its range.

    Args:
      truths: decide the ranges.
      errors: NaN where the truth is invalid; decide the range of their scale.
    """

    def __init__(self, truths: Iterable[Map] = (), errors: Iterable[Float[np.ndarray, "_ _"]] = ()):
        truths = list(truths)
        values = np.concatenate([truth[finite(truth)] for truth in truths]) if truths else np.zeros((0, 1))
        misses = np.concatenate([np.zeros(0), *(error[np.isfinite(error)] for error in errors)])
        found = np.percentile(values, (0.5, 99.5), axis=0) if len(values) else np.array([[0.0], [1.0]])
        self.low, self.high = found[0], np.maximum(found[1], found[0] + 1e-6)
        self.errors = Scale(0.0, max(float(np.percentile(misses, 99)), 1e-6) if len(misses) else 1.0, ERRORS, "error")
        self.scales = (Scale(float(self.low[0]), float(self.high[0]), DEPTHS, "value"), self.errors) if truths else ()
        self.legend = [Swatch("no ground truth", None)] * any(not finite(truth).all() for truth in truths)
        self.caption = "All maps share one scale, all error maps another."

    def paint(self, label: Map) -> Picture:
        """See `Painter.paint`."""
        if label.shape[2] == 1:
            return paint_values(label[..., 0], float(self.low[0]), float(self.high[0]), DEPTHS)
        known = finite(label)
        unit = np.clip((np.where(known[..., None], label, self.low) - self.low) / (self.high - self.low), 0, 1)
        colours = np.zeros((*known.shape, 3), np.uint8)
        shown = min(3, label.shape[2])
        colours[..., :shown] = np.round(255 * unit[..., :shown])
        return np.where(known[..., None], colours, hatch(*known.shape))

    def paint_error(self, error: Float[np.ndarray, "H W"], truth: Map, image: Picture) -> Picture:
        """Paints errors; invalid pixels are hatched."""
        return paint_values(error, self.errors.low, self.errors.high, self.errors.colours)

    def describe_error(self, error: Float[np.ndarray, "H W"], truth: Map) -> str:
        """Returns the mean error."""
        valid = error[np.isfinite(error)]
        return f"mean error {valid.mean(dtype=np.float64):.3g}" if len(valid) else "no valid pixels"

    def swatch(self, value: int | float, share: float | None = None) -> Swatch:
        """Returns a mean value of the first channel with its colour."""
        if not np.isfinite(value):
            return Swatch("no value", None)
        colour = paint_values(np.array([[float(value)]]), float(self.low[0]), float(self.high[0]), DEPTHS)[0, 0]
        return Swatch(f"{value:.3g}", css(colour), "mean of the patch, first channel")

    def summarise(self, label: Shaped[np.ndarray, "h w C"]) -> Swatch:
        """Returns the mean of the valid values of the first channel."""
        known = finite(label)
        return self.swatch(float(label[known][:, 0].mean()) if known.any() else float("nan"))


# ---------------------------------------------------------------- the tasks
class RegressionTask(Task):
    """Labels float32 [H, W, C], NaN where unknown.

    Args:
      channels: C.
    """

    kind = form = "regression"
    title = "Regression"
    scores = (Score("rmse", "RMSE", "", 3, False), Score("mean_absolute_error", "mean abs. error", "", 3, False))
    columns = ("label_values",)
    epochs = {"paper": 0, "few": 0}  # noqa: RUF012 - never written to; as depth (App. A.2)
    has_classes = False
    label_dtype = np.dtype(np.float32)
    void = float("nan")

    def __init__(self, channels: int = 1):
        self.channels = channels
        self.local_choices: Choices = {"channels": channels}
        self.choices: Choices = dict(self.local_choices)

    @classmethod
    def build(cls, source: Annotated, config: EvaluateConfig) -> RegressionTask:
        """See `Task.build`; the source says how many `channels` it has, 1 by default."""
        return cls(int(getattr(source, "channels", 1)))

    def annotated(self, label: Map) -> Bool[np.ndarray, "H W"]:
        """See `Task.annotated`."""
        return np.asarray(~np.isnan(label).all(axis=-1))

    def valid(self, label: Map) -> Bool[np.ndarray, "H W"]:
        """Returns the pixels at which all channels are finite."""
        return finite(label)

    def local_labels(self, label: Map, cells: Cells) -> LocalLabels:
        """Averages the valid values of each patch; see `Task.local_labels`."""
        if label.ndim != 3 or label.shape[2] != self.channels:
            raise UserError(f"label: its shape is {list(label.shape)}, expected [height, width, {self.channels}]")
        valid = self.valid(label)
        counts = cells.sums(valid.astype(np.float64))
        sums = np.stack([cells.sums(np.where(valid, label[..., c], 0.0)) for c in range(self.channels)], -1)
        mean = np.divide(sums, counts[:, None], out=np.zeros(sums.shape), where=counts[:, None] > 0)
        return LocalLabels(mean.astype(np.float32), counts > 0)

    def label_columns(self, values: Float32[np.ndarray, "n C"]) -> dict[str, Column]:
        """See `Task.label_columns`."""
        return {"label_values": values}

    @staticmethod
    def bank_labels(columns: Mapping[str, Column], channels: int) -> MeanValues:
        """See `Task.bank_labels`."""
        return MeanValues(columns["label_values"])

    def predict(
        self, votes: Float32[np.ndarray, "h w C"], height: int, width: int
    ) -> Float32[np.ndarray, "{height} {width} C"]:
        """Returns the upsampled values."""
        return np.stack([upsample(votes[..., c], height, width) for c in range(votes.shape[2])], axis=-1)

    def metrics(self) -> Metrics:
        """Returns empty metrics."""
        return RegressionMetrics()

    def census(self) -> RegressionCensus:
        """Returns an empty range of values."""
        return RegressionCensus()

    def showcase(self, label: Map, cells: Cells) -> tuple[LocalLabels, Int[np.ndarray, " N"]]:
        """Keeps all patches with a valid value, in one group."""
        local = self.local_labels(label, cells)
        return local, np.zeros(len(local.labelled), np.int64)

    def error(self, truth: Map, prediction: Map) -> Float32[np.ndarray, "H W"]:
        """Returns the length of the error; NaN where the truth is invalid."""
        return np.where(self.valid(truth), np.linalg.norm(prediction - truth, axis=-1), np.nan).astype(np.float32)

    def paint(self, label: Map) -> Picture:
        """See `Task.paint`."""
        return ChannelPainter([label]).paint(label)

    @classmethod
    def painter(
        cls,
        classes: Sequence[str],
        void: int,
        truths: Iterable[Float[np.ndarray, "_ _ _"]] = (),
        predictions: Iterable[Float[np.ndarray, "_ _ _"]] = (),
        errors: Iterable[Float[np.ndarray, "_ _"]] = (),
    ) -> ChannelPainter:
        """See `Task.painter`."""
        return ChannelPainter(truths, errors)


class NormalsTask(RegressionTask):
    """Surface normals: labels float32 [H, W, 3] of unit vectors (x to the right), NaN where unknown."""

    kind = form = "normals"
    title = "Surface normals"
    scores = (
        Score("mean_angle", "mean angle", "°", 1, False),
        Score("rms_angle", "RMS angle", "°", 1, False),
        Score("below_11", "below 11.25°", "", 3, True),
        Score("below_22", "below 22.5°", "", 3, True),
        Score("below_30", "below 30°", "", 3, True),
    )

    def __init__(self, channels: int = 3):
        super().__init__(channels)

    @classmethod
    def build(cls, source: Annotated, config: EvaluateConfig) -> NormalsTask:
        """See `Task.build`."""
        return cls()

    def move(
        self,
        label: Map,
        rows: Int[np.ndarray, " h"],
        columns: Int[np.ndarray, " w"],
        scale: tuple[float, float] = (1.0, 1.0),
        flip: bool = False,
    ) -> Float[np.ndarray, "h w C"]:
        """See `Task.move`: a mirrored normal points the other way along x."""
        moved = label[rows[:, None], columns]
        return moved * np.array([-1, 1, 1], label.dtype) if flip else moved

    def predict(
        self, votes: Float32[np.ndarray, "h w 3"], height: int, width: int
    ) -> Float32[np.ndarray, "{height} {width} 3"]:
        """Returns the upsampled directions, of length 1."""
        vectors = super().predict(votes, height, width)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)

    def metrics(self) -> AngularMetrics:
        """Returns empty metrics."""
        return AngularMetrics()

    def error(self, truth: Map, prediction: Map) -> Float32[np.ndarray, "H W"]:
        """Returns the angle between the two in degrees; NaN where the truth is invalid."""
        return angle(truth, prediction)
