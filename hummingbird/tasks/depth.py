"""Depth estimation: labels are metres along the optical axis; local labels are means of valid depths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from hummingbird.config import EvaluateConfig
from hummingbird.config.evaluate import Depth as DepthSettings
from hummingbird.errors import UserError
from hummingbird.run.files import Json
from hummingbird.tasks.painting import ValuePainter
from hummingbird.tasks.patches import Cells
from hummingbird.tasks.task import Annotated, Choices, Column, LocalLabels, Metrics, Score, Scores, Task
from hummingbird.tasks.upsampling import upsample

Depth = Float[np.ndarray, "H W"]


# ---------------------------------------------------------------- local labels
def valid_depth(depth: Depth, low: float, high: float) -> Bool[np.ndarray, "H W"]:
    """Returns the pixels with a finite depth within [low, high] metres."""
    return np.isfinite(depth) & (depth >= low) & (depth <= high)


def patch_depth(
    depth: Depth, cells: Cells, low: float, high: float
) -> tuple[Float32[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """Averages the valid depths of each patch (App. A.1).

    Args:
      depth: metres; values that are not finite or outside [low, high] are invalid.
      cells: where the N patches lie in the depth map; a pixel on an edge counts by its area on either side.

    Returns:
      Mean depths, 0 where no pixel is valid, and the number of valid pixels.
    """
    valid = valid_depth(depth, low, high)
    counts, sums = cells.sums(valid.astype(np.float64)), cells.sums(np.where(valid, depth, 0.0))
    return np.divide(sums, counts, out=np.zeros(len(sums)), where=counts > 0).astype(np.float32), counts


class MeanValues:
    """Mean values of the valid pixels of M patches, C channels each; see `hummingbird.tasks.task.BankLabels`."""

    def __init__(self, values: Float32[np.ndarray, "M C"]):
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def columns(self) -> dict[str, Float32[np.ndarray, "M C"]]:
        """Returns the arrays to store."""
        return {"label_values": self.values}

    def vote(self, ids: Int[np.ndarray, "Q k"], weights: Float[np.ndarray, "Q k"]) -> Float32[np.ndarray, "Q C"]:
        """Returns the weighted sum of the neighbours' values (Eq. 1), in float64; ids of -1 do not vote."""
        values = np.where(ids[..., None] >= 0, self.values[ids], 0.0).astype(np.float64)
        return np.einsum("qk,qkc->qc", weights, values).astype(np.float32)

    def take(self, rows: Int[np.ndarray, " n"]) -> MeanValues:
        """Returns the labels of the entries `rows`, in that order, copied."""
        return MeanValues(self.values[rows])

    def describe(self, entry: int) -> tuple[int | float, float]:
        """Returns the mean of an entry's first channel, and 1."""
        return float(self.values[entry, 0]), 1.0


# ---------------------------------------------------------------- metrics
class DepthMetrics:
    """RMSE over all valid pixels of the data set and as the mean of the images', AbsRel, log RMSE and delta < 1.25^i.

    BTS, AdaBins and DINOv2 report the mean of the images' RMSE, which is the lower one where all images have as many
    valid pixels. All other scores are pooled.

    Args:
      low, high: range of valid true depths, metres; predictions are clipped to it.
      eigen_crop: count only Eigen's crop of 480x640 frames (scaled to other sizes).

    Attributes:
      parts: sums of each image, float64 [7]: valid pixels, squared error, ... Images are added in one order, so that no
        digit depends on the number of processes.
    """

    def __init__(self, low: float = 1e-3, high: float = 10.0, eigen_crop: bool = False):
        self.low, self.high, self.eigen_crop = low, high, eigen_crop
        self.parts: list[np.ndarray] = []

    def add(self, truth: Depth, prediction: Depth) -> float:
        """Counts one image in metres; returns its own RMSE, NaN if no pixel is valid."""
        valid = valid_depth(truth, self.low, self.high)
        if self.eigen_crop:
            valid &= eigen_crop(*truth.shape)
        true = truth[valid].astype(np.float64)
        guess = np.clip(prediction[valid].astype(np.float64), self.low, self.high)
        ratio = np.maximum(true / guess, guess / true)
        errors = (
            (true - guess) ** 2,
            np.abs(true - guess) / true,
            (np.log(true) - np.log(guess)) ** 2,
            ratio < 1.25,
            ratio < 1.25**2,
            ratio < 1.25**3,
        )
        self.parts.append(np.array([len(true), *(error.sum() for error in errors)]))
        return float(np.sqrt(self.parts[-1][1] / len(true))) if len(true) else float("nan")

    def merge(self, other: Metrics) -> None:
        """Adds the sums of other images."""
        self.parts += other.parts

    def result(self) -> Scores:
        """Returns {"rmse", "rmse_per_image" (metres), "abs_rel", "rmse_log", "delta1", "delta2", "delta3" (0-1)}."""
        count, *sums = np.sum(self.parts, axis=0) if self.parts else np.zeros(7)
        if not count:
            raise UserError("the query images hold no valid depth: check data.root, depth.low and depth.high")
        mean = np.array(sums) / count
        return {
            "rmse": float(np.sqrt(mean[0])),
            "rmse_per_image": float(np.mean([np.sqrt(part[1] / part[0]) for part in self.parts if part[0]])),
            "abs_rel": float(mean[1]),
            "rmse_log": float(np.sqrt(mean[2])),
            "delta1": float(mean[3]),
            "delta2": float(mean[4]),
            "delta3": float(mean[5]),
        }


def eigen_crop(height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """Returns the pixels inside Eigen's crop: rows 45-470 and columns 41-600 of a 480x640 frame."""
    inside = np.zeros((height, width), bool)
    rows = (round(45 * height / 480), round(471 * height / 480))
    columns = (round(41 * width / 640), round(601 * width / 640))
    inside[rows[0] : rows[1], columns[0] : columns[1]] = True
    return inside


# ---------------------------------------------------------------- for people
class DepthCensus:
    """Range of the depths of a data set."""

    def __init__(self) -> None:
        self.ranges: list[np.ndarray] = []

    def add(self, label: Depth) -> None:
        """Counts one depth map; 0 is no depth."""
        if (label != 0).any():
            self.ranges.append(np.percentile(label[label != 0], (0, 50, 100)))

    def summary(self) -> tuple[float, float, float] | None:
        """Returns the smallest depth, the median of the images' medians, and the largest; None without any depth."""
        if not self.ranges:
            return None
        low, middle, high = np.array(self.ranges).T
        return float(low.min()), float(np.median(middle)), float(high.max())

    def facts(self) -> dict[str, Json]:
        """Returns {"depth_metres": `summary`}; empty without any depth."""
        summary = self.summary()
        return {} if summary is None else {"depth_metres": list(summary)}

    def lines(self) -> list[str]:
        """Formats the range in one line."""
        summary = self.summary()
        return [] if summary is None else ["depth {0:.2f} to {2:.2f} m (median {1:.2f})".format(*summary)]


# ---------------------------------------------------------------- the task
class DepthTask(Task):
    """Labels float32 [H, W] in metres, 0 where unknown.

    Args:
      settings: which depths count.
    """

    kind = form = "depth"
    title = "Depth estimation"
    scores = (
        Score("rmse", "RMSE", "m", 3, False),
        Score("rmse_per_image", "mean RMSE of images", "m", 3, False),
        Score("abs_rel", "AbsRel", "", 3, False),
        Score("delta1", "δ < 1.25", "", 3, True),
        Score("delta2", "δ < 1.25²", "", 3, True),
        Score("delta3", "δ < 1.25³", "", 3, True),
        Score("rmse_log", "RMSE log", "", 3, False),
    )
    columns = ("label_values",)
    epochs = {"paper": 0, "few": 0}  # noqa: RUF012 - never written to; App. A.2: no augmentation
    has_classes = False
    label_dtype = np.dtype(np.float32)
    channels = 1
    void = 0.0

    def __init__(self, settings: DepthSettings = DepthSettings()):
        self.settings = settings
        self.local_choices: Choices = {"depth_low": settings.low, "depth_high": settings.high}
        self.choices: Choices = {**self.local_choices, "eigen_crop": settings.eigen_crop}

    @classmethod
    def build(cls, source: Annotated, config: EvaluateConfig) -> DepthTask:
        """See `Task.build`; reads `depth.*`."""
        return cls(config.depth)

    def valid(self, label: Depth) -> Bool[np.ndarray, "H W"]:
        """Returns the pixels with a depth in range."""
        return valid_depth(label, self.settings.low, self.settings.high)

    def local_labels(self, label: Depth, cells: Cells) -> LocalLabels:
        """Averages the valid depths of each patch; see `Task.local_labels`."""
        mean, counts = patch_depth(label, cells, self.settings.low, self.settings.high)
        return LocalLabels(mean[:, None], counts > 0)

    def label_columns(self, values: Float32[np.ndarray, "n 1"]) -> dict[str, Float32[np.ndarray, "n 1"]]:
        """See `Task.label_columns`."""
        return {"label_values": values}

    @staticmethod
    def bank_labels(columns: Mapping[str, Column], channels: int) -> MeanValues:
        """See `Task.bank_labels`."""
        return MeanValues(columns["label_values"])

    def predict(
        self, votes: Float32[np.ndarray, "h w 1"], height: int, width: int
    ) -> Float32[np.ndarray, "{height} {width}"]:
        """Returns the upsampled depth in metres."""
        return upsample(votes[..., 0], height, width)

    def metrics(self) -> DepthMetrics:
        """Returns empty metrics."""
        return DepthMetrics(self.settings.low, self.settings.high, self.settings.eigen_crop)

    def census(self) -> DepthCensus:
        """Returns an empty range of depths."""
        return DepthCensus()

    def showcase(self, label: Depth, cells: Cells) -> tuple[LocalLabels, Int[np.ndarray, " N"]]:
        """Keeps all patches with a valid depth, in one group."""
        local = self.local_labels(label, cells)
        return local, np.zeros(len(local.labelled), np.int64)

    def error(self, truth: Depth, prediction: Depth) -> Float32[np.ndarray, "H W"]:
        """Returns the absolute error in metres; NaN where the truth is invalid."""
        return np.where(self.valid(truth), np.abs(prediction - truth), np.nan).astype(np.float32)

    @classmethod
    def painter(
        cls,
        classes: Sequence[str],
        void: int,
        truths: Iterable[Float[np.ndarray, "_ _"]] = (),
        predictions: Iterable[Float[np.ndarray, "_ _"]] = (),
        errors: Iterable[Float[np.ndarray, "_ _"]] = (),
    ) -> ValuePainter:
        """See `Task.painter`."""
        return ValuePainter("depth", ("m", "metres"), cls.void, truths, errors)
