"""What evaluations of one encoder on the same data have in common: every image is read and encoded once.

Patches of an image are chosen in one fixed order (Eq. 5 with its own random numbers), and a bank takes the first so
many of each image and pass: what |M| / (|D| * epochs) leaves. So banks of other lengths, with fewer passes or of parts
of the prompt are selections of rows of one large bank, the same that an evaluation of its own would build. Only the
type that `retrieval.key_dtype=auto` stands for (float32 up to 512 MiB of keys) goes by the large one; name a type where
a small bank's numbers must be those of an evaluation of its own to the last digit. Queries lie in a temporary file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.data.interface import DenseSource
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.memory import MemoryBank
from hummingbird.retrieval.encode import Clock, Example, in_order, prepare_query
from hummingbird.retrieval.processes import own_part
from hummingbird.retrieval.prompt import bank_identity, build_bank, keep_bank, plan
from hummingbird.retrieval.protocol import Protocol
from hummingbird.retrieval.query import QueryBatch, query_batches, query_images
from hummingbird.tasks import Task

# Choices that banks cut from one another may differ in.
CUT = ("fraction", "max_images", "memory_length", "augmentation_epochs")


class Encoded:
    """The prompt of several evaluations, encoded once, and their queries, encoded when they are first asked for.

    Args:
      encoder, config, prompt, query: as of `evaluate.measure`; of the config only how it is encoded matters.
      protocols: of all banks that will be asked for; they may differ in CUT, in the seed that draws a part of the
        prompt (augmentations are of the first one's) and in what a bank does not depend on.
      folder: keeps the bank, in a sub-folder named by all that its content depends on; empty: in memory.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: EvaluateConfig,
        prompt: DenseSource,
        query: DenseSource,
        task: Task,
        protocols: Sequence[Protocol],
        clock: Clock,
        folder: str = "",
    ):
        quota: dict[int, int] = {}
        for protocol in protocols:
            images, patches = plan(len(prompt), protocol)
            for image in images:
                quota[image] = max(quota.get(image, 0), patches)
        self.quota, passes = quota, max(protocol.augmentation_epochs for protocol in protocols)
        assert len({protocol.augmentation_epochs > 0 for protocol in protocols}) == 1
        whole = dataclasses.replace(protocols[0], augmentation_epochs=passes)
        quota = dict(sorted(quota.items()))
        self.prompt_length, self.whole, self.folder = len(prompt), whole, ""
        build = functools.partial(build_bank, encoder, prompt, task, whole, config, clock, quota=quota)
        if folder:
            identity = bank_identity(encoder, prompt, task, whole, config)
            identity |= {**dict.fromkeys(CUT), "augmentation_epochs": passes, "quota": [list(x) for x in quota.items()]}
            self.folder = f"{folder}/{_digest(identity)}"
            self.everything = keep_bank(self.folder, identity, clock, lambda columns: build(columns=columns))
        else:
            self.everything = build()
        self.queries = QueryStore(encoder, query, task, folder if os.access(folder, os.W_OK) else "")

    def bank(self, protocol: Protocol) -> MemoryBank:
        """The bank that the protocol asks for; of its seed depends only which images are in.

        Raises:
          ValueError: it is none of those that the prompt was encoded for.
        """
        images, patches = plan(self.prompt_length, protocol)
        passes, kept = protocol.augmentation_epochs, self.whole.augmentation_epochs
        short = sum(self.quota.get(image, 0) < patches for image in images)
        if short or passes > kept or (passes > 0) != (kept > 0):
            raise ValueError(
                f"encoded with {kept} augmented passes and too few patches of {short} images for a bank with {passes} "
                f"passes and {patches} patches of {len(images)} images: its protocol was not among those given"
            )
        rows = rows_of(self.everything, images, patches, max(passes, 1))[: protocol.memory_length]
        return self.everything if len(rows) == len(self.everything) else self.everything.take(rows)

    def index_folder(self, protocol: Protocol) -> str:
        """Where the index over `bank(protocol)` can be kept; empty: nowhere, the bank is in memory."""
        if not self.folder:
            return ""
        images, patches = plan(self.prompt_length, protocol)
        rows = [list(images), patches, protocol.augmentation_epochs, protocol.memory_length]
        folder = pathlib.Path(self.folder, f"part-{_digest(rows)}")
        if os.access(self.folder, os.W_OK):
            folder.mkdir(exist_ok=True)
        return str(folder)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def rows_of(bank: MemoryBank, images: Sequence[int], patches: int, passes: int) -> np.ndarray:
    """Rows of a bank that a smaller one consists of, in the order in which it would be built.

    Args:
      images: of the prompt, in the smaller bank's order. patches: at most, of each image and pass. passes: of them.
    """
    # Entries of one image and pass lie together, best first.
    code = bank.image.astype(np.int64) * 256 + bank.epoch
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    lengths = np.minimum(np.diff(np.append(starts, len(code))), patches)
    image, epoch = bank.image[starts], bank.epoch[starts].astype(np.int64)
    place = np.full(max(int(image.max()), max(images)) + 1, -1)
    place[np.asarray(images)] = np.arange(len(images))
    wanted = np.flatnonzero((place[image] >= 0) & (epoch < passes))
    wanted = wanted[np.lexsort((place[image[wanted]], epoch[wanted]))]
    starts, counts = starts[wanted], lengths[wanted]
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


class QueryStore:
    """Query images of one encoder: features and truths in a temporary file, each image encoded once.

    Args:
      encoder, source: as of `query.query_batches`.
      folder: where the file lies; empty: the system's.
    """

    def __init__(self, encoder: Encoder, source: DenseSource, task: Task, folder: str = ""):
        self.encoder, self.source, self.task = encoder, source, task
        self._folder = folder or tempfile.gettempdir()
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - lives as long as the store
        self._size = 0
        self._features: dict[int, tuple[int, tuple[int, ...], np.dtype]] = {}
        self._truths: dict[tuple[int, str], tuple[str, tuple[int, tuple[int, ...], np.dtype]]] = {}

    def batches(
        self, protocol: Protocol, config: EvaluateConfig, clock: Clock, shown: Collection[int] = ()
    ) -> Iterator[QueryBatch]:
        """What `query_batches` gives; only the examples `shown` have pictures."""
        resolution = protocol.metric_resolution
        images = own_part(query_images(len(self.source), protocol))

        def prepare(number: int) -> Example:
            return prepare_query(self.source, number, self.task, protocol)

        new = [i for i in images if i not in self._features]
        for batch, features in (
            query_batches(self.encoder, self.source, self.task, protocol, config, clock, new) if new else ()
        ):
            for example, feature in zip(batch, features, strict=True):
                self._features[example.index] = self._append(feature)
                self._truths[example.index, resolution] = example.name, self._append(_small(example.label))
        for example in in_order(prepare, [i for i in images if (i, resolution) not in self._truths]):
            self._truths[example.index, resolution] = example.name, self._append(_small(example.label))
        for start in range(0, len(images), config.batch_size):
            part = images[start : start + config.batch_size]
            with clock("read_queries"):
                batch = [prepare(i) if i in shown else self._example(i, resolution) for i in part]
                features = np.stack([self._read(self._features[i]) for i in part])
            yield batch, features

    def _example(self, number: int, resolution: str) -> Example:
        name, truth = self._truths[number, resolution]
        label = self._read(truth).astype(self.task.label_dtype)
        return Example(number, 0, name, np.empty((0, 0, 3), np.uint8), label)

    def _append(self, array: np.ndarray) -> tuple[int, tuple[int, ...], np.dtype]:
        place = self._size, array.shape, array.dtype
        try:
            self._file.seek(self._size)
            self._size += self._file.write(np.ascontiguousarray(array).data)
            self._file.flush()  # else a full disk would show where nobody expects it
        except OSError as error:
            with contextlib.suppress(OSError):  # what is not written yet would be tried again at the end
                self._file.close()
            raise UserError(
                f"{self._folder}: the encoded queries cannot be kept there ({error.strerror or error}); make room, or "
                "set TMPDIR (where a bank is kept: retrieval.bank) to a folder with room for them"
            ) from error
        return place

    def _read(self, place: tuple[int, tuple[int, ...], np.dtype]) -> np.ndarray:
        start, shape, dtype = place
        self._file.seek(start)
        return np.fromfile(self._file, dtype, int(np.prod(shape))).reshape(shape)


def _small(label: np.ndarray) -> np.ndarray:
    """Class ids as the smallest type that holds them, wrong ones below 0 too; depths as float32."""
    if np.issubdtype(label.dtype, np.floating):
        return label.astype(np.float32, copy=False)
    low, high = int(label.min(initial=0)), int(label.max(initial=0))
    return label.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)))
