"""Banks and queries of one evaluation, encoded for it alone: in memory, or with the bank in a folder."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterator

import jax

from hummingbird.retrieval.bank.build import bank_identity, build_bank, plan_bank
from hummingbird.retrieval.bank.columns import Columns
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.bank.writing import open_bank
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.index.build import Index
from hummingbird.retrieval.preflight import preflight
from hummingbird.retrieval.processes import own_part
from hummingbird.retrieval.query import QueryBatch, encode_queries
from hummingbird.retrieval.search import devices_search, index_bank
from hummingbird.retrieval.selection import query_images


def keys_apart(evaluation: Evaluation, dim: int) -> bool:
    """Returns whether each of several processes will keep the keys that it encodes, for their devices to search."""
    capacity = plan_bank(evaluation).capacity
    return jax.process_count() > 1 and devices_search(evaluation.retrieval, capacity, dim)


class Encoded:
    """Encoded for one evaluation, in memory."""

    def bank(self, evaluation: Evaluation) -> PatchBank:
        """Builds the bank."""
        dim = preflight(evaluation)
        return build_bank(evaluation, apart=keys_apart(evaluation, dim))

    def index(self, evaluation: Evaluation, bank: PatchBank) -> Index:
        """Builds the index."""
        return index_bank(evaluation, bank)

    def query_batches(self, evaluation: Evaluation, shown: Collection[int] = ()) -> Iterator[QueryBatch]:
        """Encodes the queries; only those numbered in `shown` come with their pictures."""
        images = own_part(query_images(len(evaluation.query), evaluation.protocol))
        return encode_queries(evaluation, images, shown)


class Kept(Encoded):
    """The bank is kept in the folder `retrieval.bank`, beside its index; queries as in `Encoded`."""

    def bank(self, evaluation: Evaluation) -> PatchBank:
        """Loads the bank, or builds it into the folder."""
        path, identity = evaluation.retrieval.bank, bank_identity(evaluation)
        dims: list[int] = []

        def check(stored: bool) -> None:
            dims.append(preflight(evaluation, pathlib.Path(path), stored=stored))

        def build(columns: Columns | None) -> PatchBank:
            return build_bank(evaluation, columns, apart=keys_apart(evaluation, dims[-1]))

        return open_bank(path, identity, evaluation.clock, build, check)

    def index(self, evaluation: Evaluation, bank: PatchBank) -> Index:
        """Finds the index in the folder of the bank, or builds it there."""
        return index_bank(evaluation, bank, evaluation.retrieval.bank)
