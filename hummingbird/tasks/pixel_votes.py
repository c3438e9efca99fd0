"""Segmentation in which the neighbours' pixels vote, each for the pixel at its place: CAPI's patch k-NN.

CAPI (facebookresearch/capi, eval_segmentation.py) keeps the labels of all pixels of a patch, drops patches that are
mostly void, and predicts for each pixel the most frequent label among the k neighbours' pixels at its place. Void is a
label like others there; where it is predicted, it counts in the mean as a class without true pixels. On ties the lowest
id in the files wins, which is void on ADE20K, where void is 0.

Two differences remain. CAPI standardises features by their statistics over all patches of nine tenths of the training
images, here those of the bank are used; and on ADE20K it computes distances in bfloat16.
"""

# NumPy's own annotations are partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Int32, Integer

from hummingbird.config import EvaluateConfig
from hummingbird.tasks import pixel_labels
from hummingbird.tasks.class_metrics import Mask, check_classes
from hummingbird.tasks.patches import Cells
from hummingbird.tasks.pixel_labels import PixelLabels, most_frequent
from hummingbird.tasks.segmentation import PROTOCOLS, SegmentationTask
from hummingbird.tasks.task import Annotated, Column, LocalLabels


class PixelVoteTask(SegmentationTask):
    """Labels are class ids, int32 [H, W]; void pixels form the last class.

    Args:
      classes: class names by id, the name of void last.
      ignore: class id of void pixels.
    """

    form = "segmentation_pixels"
    columns = pixel_labels.COLUMNS
    void_first = False  # whether void wins ties
    epochs = {"capi": 0}  # noqa: RUF012 - never written to
    has_classes = False  # all patches enter the bank, in any order

    def __init__(self, classes: Sequence[str], ignore: int = 255):
        super().__init__(classes, ignore, PROTOCOLS["capi"])

    @classmethod
    def build(cls, source: Annotated, config: EvaluateConfig) -> PixelVoteTask:
        """See `Task.build`."""
        own = getattr(source, "void_class", "")
        return (VoidFirstTask if own else cls)([*source.classes, own or "void"], source.ignore)

    def local_labels(self, label: Mask, cells: Cells) -> LocalLabels:
        """Returns the class of each pixel of each patch; patches that are mostly void have no label.

        Args:
          label: at the size of the encoder input.
          cells: its patches, squares of whole pixels.
        """
        void = len(self.classes) - 1
        check_classes(label, void, self.ignore)
        rows, columns = len(cells.rows) - 1, len(cells.columns) - 1
        classes = np.where(label == self.ignore, void, label)
        patches = classes.reshape(rows, label.shape[0] // rows, columns, label.shape[1] // columns)
        pixels = patches.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
        modes = most_frequent(pixels[:, :, None], void if self.void_first else None)
        return LocalLabels(pixels, modes[:, 0] != void)

    def label_columns(self, values: Integer[np.ndarray, "n P"]) -> dict[str, Column]:
        """Returns the pixels in the smallest type that holds all classes."""
        return {"label_pixels": values.astype(np.uint8 if len(self.classes) <= 256 else np.uint16)}

    @staticmethod
    def bank_labels(columns: Mapping[str, Column], channels: int) -> PixelLabels:
        """See `Task.bank_labels`."""
        return PixelLabels(columns["label_pixels"])

    def predict(
        self, votes: Float32[np.ndarray, "h w P"], height: int, width: int
    ) -> Int32[np.ndarray, "{height} {width}"]:
        """Puts the pixels of patches side by side."""
        rows, columns = votes.shape[:2]
        pixels = votes.reshape(rows, columns, height // rows, width // columns)
        return pixels.transpose(0, 2, 1, 3).reshape(height, width).astype(np.int32)


class VoidFirstTask(PixelVoteTask):
    """The same for data sets in which void has the lowest id: void wins ties."""

    form = "segmentation_pixels_void_first"
    void_first = True

    @staticmethod
    def bank_labels(columns: Mapping[str, Column], channels: int) -> PixelLabels:
        """See `Task.bank_labels`."""
        return PixelLabels(columns["label_pixels"], channels - 1)
