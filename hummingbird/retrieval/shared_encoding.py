"""What evaluations of one encoder on the same data have in common: every image is read and encoded once.

Patches of an image are chosen in one fixed order (Eq. 5 with the image's own random numbers), and a bank takes the
first |M| / (|D| * epochs) of each image and pass. So banks of other lengths, with fewer passes or of parts of the
prompt are rows of one large bank, equal to those built on their own. Only `retrieval.key_dtype=auto` (float32 up to 512
MiB of keys) is decided for all of them, by the longest; name a type where a small bank must match its own evaluation to
the last digit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from hummingbird.retrieval.bank.build import BankPlan, bank_identity, build_bank
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.bank.writing import open_bank
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.index.build import Index
from hummingbird.retrieval.preflight import preflight
from hummingbird.retrieval.protocol import EvalProtocol
from hummingbird.retrieval.query import QueryBatch
from hummingbird.retrieval.query_store import QueryStore
from hummingbird.retrieval.search import LastIndex, index_bank
from hummingbird.retrieval.selection import prompt_images
from hummingbird.run.files import Json

# Choices in which banks cut from one bank may differ.
CUT = ("fraction", "max_images", "memory_length", "augmentation_epochs")


@dataclasses.dataclass
class LastCut:
    """The bank that was cut last, and its index, for evaluations that follow each other over the same bank.

    Attributes:
      cut: what the bank consists of, as `cut_digest`.
      bank: None before the first one.
      index: over it.
    """

    cut: str = ""
    bank: PatchBank | None = None
    index: LastIndex = dataclasses.field(default_factory=LastIndex)

    def clear(self) -> None:
        """Frees the memory of bank and index."""
        self.bank = None
        self.index.clear()


@dataclasses.dataclass
class SharedEncoding:
    """The encoded prompt of several evaluations, and their queries, encoded on first use.

    Attributes:
      everything: the large bank.
      quota: patches that it keeps of each image in each pass.
      passes: augmentation epochs that it holds.
      folder: where it is kept; empty: in memory.
      queries: the encoded queries.
      last: the bank cut last, by what it consists of, and its index.
    """

    everything: PatchBank
    quota: Mapping[int, int]
    passes: int
    folder: str
    queries: QueryStore
    last: LastCut = dataclasses.field(default_factory=LastCut)

    def bank(self, evaluation: Evaluation) -> PatchBank:
        """Returns the rows of an evaluation's bank; its seed only decides which images they come from.

        Raises:
          ValueError: the prompt was not encoded for such a bank.
        """
        protocol = evaluation.protocol
        images, patches = prompt_images(len(evaluation.prompt), protocol)
        passes = protocol.augmentation_epochs
        short = sum(self.quota.get(image, 0) < patches for image in images)
        if short or passes > self.passes or (passes > 0) != (self.passes > 0):
            raise ValueError(
                f"encoded with {self.passes} augmented passes and too few patches of {short} images for a bank with "
                f"{passes} passes and {patches} patches of {len(images)} images: its protocol was not among those given"
            )
        cut = cut_digest(evaluation)
        if self.last.cut != cut or self.last.bank is None:
            self.last.clear()  # one copy at a time
            rows = rows_of(self.everything, images, patches, max(passes, 1))[: protocol.memory_length]
            bank = self.everything if len(rows) == len(self.everything) else self.everything.take(rows)
            if evaluation.data.fractions:
                return bank  # of which there are many, each needed once
            self.last.cut, self.last.bank = cut, bank
        return self.last.bank

    def index(self, evaluation: Evaluation, bank: PatchBank) -> Index:
        """Returns the index over `bank(evaluation)`, kept on disk if banks are."""
        folder = ""
        if self.folder and evaluation.retrieval.bank:
            part = pathlib.Path(self.folder, f"part-{cut_digest(evaluation)}")
            if os.access(self.folder, os.W_OK):
                part.mkdir(exist_ok=True)
            folder = str(part)
        if evaluation.data.fractions:
            return index_bank(evaluation, bank, folder)
        return self.last.index.get(evaluation, bank, folder)

    def query_batches(self, evaluation: Evaluation, shown: Collection[int] = ()) -> Iterator[QueryBatch]:
        """Yields this process's query images; only those numbered in `shown` come with their pictures."""
        return self.queries.batches(evaluation, shown)


def plan_shared(length: int, protocols: Sequence[EvalProtocol]) -> BankPlan:
    """Plans the bank that the banks of all `protocols` over a prompt of `length` images can be cut from."""
    quota: dict[int, int] = {}
    longest, passes = 0, max(1, *(protocol.augmentation_epochs for protocol in protocols))
    for protocol in protocols:
        images, patches = prompt_images(length, protocol)
        quota |= {image: max(quota.get(image, 0), patches) for image in images}
        own = len(images) * patches * max(protocol.augmentation_epochs, 1)
        longest = max(longest, min(own, protocol.memory_length))
    return BankPlan(dict(sorted(quota.items())), passes, passes * sum(quota.values()), longest)


def share_encoding(
    evaluation: Evaluation,
    protocols: Sequence[EvalProtocol],
    folder: str = "",
    queries: QueryStore | None = None,
    longest: int | None = None,
) -> SharedEncoding:
    """Encodes the prompt for several banks.

    Args:
      evaluation: says how; its protocol's seed is that of the augmentations.
      protocols: of all banks that will be needed. They may differ in `CUT`, in the seed that draws a part of the
        prompt, and in choices that a bank does not depend on.
      folder: keeps the bank, in a subfolder named by all that its content depends on; empty: in memory.
      queries: encoded before, after a preflight; None: none yet.
      longest: entries of the longest of all banks that must share a type of keys; None: of those of `protocols`.
    """
    assert len({protocol.augmentation_epochs > 0 for protocol in protocols}) == 1
    passes = max(protocol.augmentation_epochs for protocol in protocols)
    plan = plan_shared(len(evaluation.prompt), protocols)
    plan = plan._replace(longest=longest or plan.longest)
    own = dataclasses.replace(evaluation.protocol, augmentation_epochs=passes)
    whole, quota = dataclasses.replace(evaluation, protocol=own), plan.quota
    if not folder:
        if queries is None:
            preflight(whole, plan=plan)
        return SharedEncoding(build_bank(whole, plan=plan), quota, passes, "", queries or QueryStore())
    shared: dict[str, Json] = {"quota": [[*x] for x in quota.items()], "longest": plan.longest}
    cut: dict[str, Json] = {**dict.fromkeys(CUT), "augmentation_epochs": passes, **shared}
    identity = {**bank_identity(whole), **cut}
    # The digest leaves out versions, as `check_identity` does, so that an upgrade finds the folder again.
    path = f"{folder}/{_digest({key: value for key, value in identity.items() if key != 'versions'})}"
    everything = open_bank(
        path,
        identity,
        whole.clock,
        lambda columns: build_bank(whole, columns, plan),
        lambda stored: preflight(whole, pathlib.Path(path), plan, stored),
    )
    queries = queries or QueryStore(folder if os.access(folder, os.W_OK) else "")
    return SharedEncoding(everything, quota, passes, path, queries)


def cut_digest(evaluation: Evaluation) -> str:
    """Returns a digest of which images, and how much of each, an evaluation's bank consists of."""
    protocol = evaluation.protocol
    images, patches = prompt_images(len(evaluation.prompt), protocol)
    return _digest([list(images), patches, protocol.augmentation_epochs, protocol.memory_length])


def _digest(content: Json) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def rows_of(bank: PatchBank, images: Sequence[int], patches: int, passes: int) -> Int[np.ndarray, " n"]:
    """Returns the rows of a bank that a smaller bank consists of, in the order in which that would be built.

    Args:
      bank: the large bank.
      images: of the smaller bank, in its order.
      patches: most patches of each image and pass.
      passes: augmentation passes of the smaller bank, at least 1.
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
