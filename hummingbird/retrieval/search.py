"""The index of an evaluation: built over its bank, in all processes alike."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
from collections.abc import Callable

import jax

from hummingbird.config.evaluate import Retrieval
from hummingbird.errors import UserError
from hummingbird.gradients.incontext import GradientEncoder
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.capacity import check_room, devices_fit
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.index.build import Index, build_index, check_finite, kind_on_host, retuned
from hummingbird.retrieval.index.device import DeviceIndex, DeviceMemoryError
from hummingbird.retrieval.index.interface import Keys
from hummingbird.retrieval.index.scann_build import trained_settings
from hummingbird.retrieval.index.scores import Widths
from hummingbird.retrieval.index.settings import ScannSettings, decide
from hummingbird.retrieval.processes import first, gather, gather_columns, own_slice, together
from hummingbird.retrieval.product import ProductIndex
from hummingbird.retrieval.space import SpaceIndex, fit_space


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
        place, dim = pathlib.Path(folder), bank.keys.shape[1]
        together(lambda: check_room(len(bank), dim, retrieval, place, stored=True))
    scann, neighbours = dataclasses.asdict(retrieval.scann), evaluation.protocol.neighbours

    def build(kind: str) -> Index:
        recall, kept, unit = retrieval.device_recall, folder or None, not retrieval.raw_keys
        return over_space(
            evaluation,
            bank,
            lambda keys: build_index(keys, kind, kept, evaluation.progress, neighbours, recall, unit, **scann),
        )

    with evaluation.clock("build_index"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index, kind = None, retrieval.index
        # Keys that lie apart are searched together, even if the devices seem to have less memory than before.
        if bank.shares or (jax.process_count() > 1 and devices_search(retrieval, len(bank), bank.keys.shape[1])):
            index, kind = share_index(retrieval, bank), kind_on_host(len(bank))
        if index is None:
            # Where the index is kept, one process writes it before the others read it.
            built = together(lambda: build(kind) if first() or not folder else None)
            index = together(lambda: build(kind) if built is None else built)
    for warning in caught:
        evaluation.warnings.append(str(warning.message))
        warnings.warn(str(warning.message), stacklevel=2)
    return index


def over_space(evaluation: Evaluation, bank: PatchBank, build: Callable[[Keys], Index]) -> Index:
    """Builds an index over the keys of a bank as they are, or in the space that the settings name."""
    retrieval, encoder = evaluation.retrieval, evaluation.encoder
    if not retrieval.raw_keys:
        return build(bank.keys)
    if retrieval.distance == "product":
        assert isinstance(encoder, GradientEncoder)
        return ProductIndex(bank.keys, Widths(*encoder.widths), retrieval.index, build)
    space = fit_space(bank.keys, retrieval.distance, retrieval.standardise)
    keys = space.keys(bank.keys)
    return SpaceIndex(build(keys), space, -keys[:, -1] if retrieval.distance == "l2" else None)


def devices_search(retrieval: Retrieval, length: int, dim: int) -> bool:
    """Returns whether the devices of all processes will search a bank, in all processes alike."""
    return all(gather(devices_fit(length, dim, retrieval)))


def share_index(retrieval: Retrieval, bank: PatchBank) -> DeviceIndex | None:
    """Builds an index over the devices of all processes.

    Returns:
      The index; None if the memory of a device is too small for `retrieval.index=auto`: the bank then has all keys.
    """
    keys, shares = bank.keys, bank.shares
    if shares is None:
        parts = [own_slice(len(bank), process) for process in range(jax.process_count())]
        keys, shares = keys[parts[jax.process_index()]], [part.stop - part.start for part in parts]

    def place() -> tuple[DeviceIndex | None, str]:
        check_finite(keys)
        try:
            return DeviceIndex(keys, recall=retrieval.device_recall, shares=shares), ""
        except DeviceMemoryError as error:
            return None, error.reason

    index, problem = together(place)
    problems = [text for text in gather(problem) if text]
    if problems and retrieval.index == "device":
        raise DeviceMemoryError(problems[0])
    if problems:
        index = None
        warnings.warn(f"index: {problems[0]}; searching on the host instead", stacklevel=2)
        if bank.shares:
            bank.keys, bank.shares = gather_columns({"keys": bank.keys})["keys"], None
    return index


class LastIndex:
    """The index that was built last, for evaluations over one bank that differ in the settings of the search."""

    def __init__(self) -> None:
        self._bank: PatchBank | None = None
        self._index: Index | None = None
        self._built: tuple[object, ...] | None = None
        self._warnings: list[str] = []

    def get(self, evaluation: Evaluation, bank: PatchBank, folder: str = "") -> Index:
        """Returns the index over a bank, built by `index_bank` unless it is the last one."""
        retrieval = evaluation.retrieval
        kind, scann = retrieval.index, scann_settings(evaluation, len(bank))
        trained = None if kind in ("exact", "device") else trained_settings(scann)
        built = kind, retrieval.device_recall, retrieval.distance, retrieval.standardise, trained
        if self._index is not None and self._bank is bank and self._built == built:
            check_length(evaluation, len(bank))
            evaluation.warnings.extend(self._warnings)
        else:
            self.clear()
            before = len(evaluation.warnings)
            self._index = index_bank(evaluation, bank, folder)
            self._bank, self._built, self._warnings = bank, built, evaluation.warnings[before:]
        return retuned(self._index, scann)

    def clear(self) -> None:
        """Frees the memory of index and bank."""
        self._bank = self._index = None


def scann_settings(evaluation: Evaluation, length: int) -> ScannSettings:
    """Returns the settings of a ScaNN index over a bank of `length` entries."""
    return decide(evaluation.retrieval.scann, length, evaluation.protocol.neighbours)


def check_length(evaluation: Evaluation, length: int) -> None:
    """Raises UserError if a bank of `length` entries has too few for the search."""
    neighbours, leaves = evaluation.protocol.neighbours, scann_settings(evaluation, length).leaves
    if neighbours > length:
        raise UserError(f"config key retrieval.neighbours: {neighbours} is more than the {length} entries of the bank")
    if evaluation.retrieval.index == "scann" and length < leaves:
        raise UserError(
            f"config key retrieval.scann.leaves: {leaves} is more than the {length} entries of the bank; "
            "lower it or use retrieval.index=auto"
        )
