"""Encoded queries in a temporary file, so that several evaluations read and encode each image once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from hummingbird.errors import UserError
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.examples import Example, prepare_query, query_frame, smallest
from hummingbird.retrieval.patch_features import PatchFeatures
from hummingbird.retrieval.processes import own_part
from hummingbird.retrieval.query import QueryBatch, encode_queries
from hummingbird.retrieval.selection import query_images
from hummingbird.retrieval.threads import in_order


class Place(NamedTuple):
    """Where an array lies in the file."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


class QueryStore:
    """Features and true labels of query images; each image is encoded when it is first needed.

    Args:
      folder: where the file lies; empty: the system's folder for temporary files.
    """

    def __init__(self, folder: str = ""):
        self._folder = folder or tempfile.gettempdir()
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - lives as long as the store
        self._size = 0
        self._names: dict[int, str] = {}
        self._features: dict[int, Place] = {}
        self._truths: dict[tuple[int, str], Place] = {}

    def batches(self, evaluation: Evaluation, shown: Collection[int] = ()) -> Iterator[QueryBatch]:
        """Yields what `encode_queries` does; only the examples numbered in `shown` have pictures."""
        images = own_part(query_images(len(evaluation.query), evaluation.protocol))
        self._encode(evaluation, [i for i in images if i not in self._features])
        resolution = evaluation.protocol.metric_resolution
        self._prepare(evaluation, [i for i in images if (i, resolution) not in self._truths])
        for start in range(0, len(images), evaluation.batch_size):
            part = images[start : start + evaluation.batch_size]
            with evaluation.clock("read_queries"):
                batch = [
                    prepare_query(evaluation.query, i, evaluation.task, evaluation.protocol)
                    if i in shown
                    else self._example(evaluation, i)
                    for i in part
                ]
                features = [self._read(self._features[i]) for i in part]
            yield QueryBatch(batch, PatchFeatures(features))

    def _encode(self, evaluation: Evaluation, images: list[int]) -> None:
        """Encodes images and stores their features and truths."""
        if not images:
            return
        for number, batch in enumerate(encode_queries(evaluation, images)):
            if not number:
                self._check_space(sum(x.nbytes for x in batch.features) * len(images) // len(batch.features))
            for example, features in zip(batch.examples, batch.features, strict=True):
                self._features[example.index] = self._append(features)
                self._add_truth(evaluation, example)

    def _check_space(self, needed: int) -> None:
        """Raises UserError if so many bytes do not fit the folder, which may be small or in memory (tmpfs)."""
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise UserError(
                f"{self._folder}: the encoded queries need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; set "
                "TMPDIR (with a kept bank: retrieval.bank) to a folder with room for them"
            )

    def _prepare(self, evaluation: Evaluation, images: list[int]) -> None:
        """Stores truths of encoded images at another metric resolution."""

        def prepare(number: int) -> Example:
            return prepare_query(evaluation.query, number, evaluation.task, evaluation.protocol)

        for example in in_order(prepare, images):
            self._add_truth(evaluation, example)

    def _add_truth(self, evaluation: Evaluation, example: Example) -> None:
        self._names[example.index] = example.name
        place = self._append(smallest(example.label))
        self._truths[example.index, evaluation.protocol.metric_resolution] = place

    def _example(self, evaluation: Evaluation, number: int) -> Example:
        label = self._read(self._truths[number, evaluation.protocol.metric_resolution])
        label = label.astype(evaluation.task.label_dtype)
        frame = query_frame(label, evaluation.protocol)
        return Example(number, 0, self._names[number], np.empty((0, 0, 3), np.uint8), label, *frame)

    def _append(self, array: Shaped[np.ndarray, ...]) -> Place:
        place = Place(self._size, array.shape, array.dtype)
        try:
            self._file.seek(self._size)
            self._size += self._file.write(np.ascontiguousarray(array).data)
            self._file.flush()  # a full disk shows here rather than at some later operation
        except OSError as error:
            with contextlib.suppress(OSError):  # closing would try to write the rest again
                self._file.close()
            raise UserError(
                f"{self._folder}: the encoded queries cannot be kept there ({error.strerror or error}); make room, or "
                "set TMPDIR (with a kept bank: retrieval.bank) to a folder with room for them"
            ) from error
        return place

    def _read(self, place: Place) -> Shaped[np.ndarray, ...]:
        self._file.seek(place.start)
        return np.fromfile(self._file, place.dtype, int(np.prod(place.shape))).reshape(place.shape)
