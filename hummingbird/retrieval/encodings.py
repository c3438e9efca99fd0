"""Where an evaluation gets its bank and its encoded queries from: four ways behind one interface."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol, runtime_checkable

from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.fitted_encodings import FittedEncodings, needs_fit
from hummingbird.retrieval.index.build import Index
from hummingbird.retrieval.own_encodings import Encoded, Kept
from hummingbird.retrieval.part_encodings import PartEncodings
from hummingbird.retrieval.query import QueryBatch
from hummingbird.retrieval.selection import drawn_parts
from hummingbird.retrieval.shared_encoding import share_encoding


@runtime_checkable
class Encodings(Protocol):
    """Banks and encoded queries; also `hummingbird.retrieval.shared_encoding.SharedEncoding`."""

    def bank(self, evaluation: Evaluation) -> PatchBank:
        """Returns the bank of an evaluation."""
        ...

    def index(self, evaluation: Evaluation, bank: PatchBank) -> Index:
        """Returns the index over `bank(evaluation)`."""
        ...

    def query_batches(self, evaluation: Evaluation, shown: Collection[int] = ()) -> Iterator[QueryBatch]:
        """Yields this process's query images, encoded; those numbered in `shown` come with their pictures."""
        ...


def build_encodings(evaluation: Evaluation) -> Encodings:
    """Chooses how an evaluation is encoded: with `data.fractions`, each image once for as many parts as possible."""
    if needs_fit(evaluation):
        return FittedEncodings()
    if evaluation.data.fractions and not evaluation.retrieval.bank:
        return PartEncodings(evaluation)
    if evaluation.data.fractions:
        parts = drawn_parts(evaluation.protocol, evaluation.data.fractions, evaluation.data.subsets)
        return share_encoding(evaluation, [evaluation.protocol, *parts], evaluation.retrieval.bank)
    return Kept() if evaluation.retrieval.bank else Encoded()
