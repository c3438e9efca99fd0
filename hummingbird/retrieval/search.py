"""The index of an evaluation: built over its bank, in all processes alike."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.capacity import check_room
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.index.build import Index, build_index
from hummingbird.retrieval.processes import first, together


def index_bank(evaluation: Evaluation, bank: PatchBank, folder: str = "") -> Index:
    """Builds the index that the settings name, over the keys of a bank. Warnings are added to the evaluation's.

    Args:
      evaluation: says which index.
      bank: holds the keys.
      folder: keeps the index; empty: in memory.

    Raises:
      UserError: the bank is too small for the settings, or the memory for the index.
    """
    check_length(evaluation, len(bank))
    retrieval = evaluation.retrieval
    if folder:
        check_room(len(bank), bank.keys.shape[1], retrieval, pathlib.Path(folder), stored=True)
    scann = dataclasses.asdict(retrieval.scann)

    def build() -> Index:
        return build_index(bank.keys, retrieval.index, folder or None, evaluation.progress, **scann)

    with evaluation.clock("build_index"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Where the index is kept, one process writes it before the others read it.
        built = together(lambda: build() if first() or not folder else None)
        index = together(lambda: build() if built is None else built)
    for warning in caught:
        evaluation.warnings.append(str(warning.message))
        warnings.warn(str(warning.message), stacklevel=2)
    return index


def check_length(evaluation: Evaluation, length: int) -> None:
    """Raises UserError if a bank of `length` entries has too few for the search."""
    neighbours, leaves = evaluation.protocol.neighbours, evaluation.retrieval.scann.leaves
    if neighbours > length:
        raise UserError(f"config key retrieval.neighbours: {neighbours} is more than the {length} entries of the bank")
    if evaluation.retrieval.index == "scann" and length < leaves:
        raise UserError(
            f"config key retrieval.scann.leaves: {leaves} is more than the {length} entries of the bank; "
            "lower it or use retrieval.index=auto"
        )
