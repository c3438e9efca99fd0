"""The prompt half of an evaluation: from annotated images to a memory bank and an index over it (App. A.1)."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.data.interface import DenseSource
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.retrieval.bank import files as bank_files
from hummingbird.retrieval.bank.memory import (
    BankBuilder,
    MemoryBank,
    bank_from_columns,
    choose_patches,
    features_per_image,
)
from hummingbird.retrieval.bank.writing import FileColumns, save_bank
from hummingbird.retrieval.capacity import check_room
from hummingbird.retrieval.encode import (
    Clock,
    Example,
    encode,
    in_order,
    prepare_prompt,
    refuse_features,
    stream,
    subset,
    track,
)
from hummingbird.retrieval.index.build import Index, build_index
from hummingbird.retrieval.processes import first, gather, gather_columns, own_part, together
from hummingbird.retrieval.protocol import Protocol
from hummingbird.tasks import LocalLabels, Task

# The parts of a protocol that the content of a bank depends on, beside the task's own.
BANK_CHOICES = {
    "seed",
    "input_size",
    "patch_size",
    "fraction",
    "max_images",
    "memory_length",
    "augmentation_epochs",
    "sampling",
    "preparation",
}


def make_bank(
    encoder: Encoder, source: DenseSource, task: Task, protocol: Protocol, config: EvaluateConfig, clock: Clock
) -> MemoryBank:
    """The memory bank of an evaluation: built in memory, or kept in the folder `retrieval.bank`.

    A folder that holds the same bank is used as it is; an unfinished one is finished.
    """
    path = config.retrieval.bank
    if not path:
        return build_bank(encoder, source, task, protocol, config, clock)
    identity = bank_identity(encoder, source, task, protocol, config)
    build = functools.partial(build_bank, encoder, source, task, protocol, config, clock)
    return keep_bank(path, identity, clock, build)


def keep_bank(
    path: str,
    identity: dict[str, Any],
    clock: Clock,
    build: Callable[[FileColumns | None], MemoryBank],
) -> MemoryBank:
    """The bank in a folder: loaded if it is there, else built into it, by `build`.

    Several processes build it in memory, and the first one writes it: then an interrupted building begins anew.

    Raises:
      UserError: the folder holds another bank, cannot be written, or is being built by another command.
    """
    if "://" in path:
        raise UserError(f"retrieval.bank={path}: a bank is kept in a local folder; copy it afterwards")
    if all(gather(bank_files.is_bank(path))):
        with clock("load_bank"):
            return together(lambda: bank_files.load_bank(path, identity))
    if jax.process_count() == 1:
        with FileColumns(pathlib.Path(path), identity) as columns:
            return build(columns) if not columns.finished else bank_files.load_bank(path, identity)
    # Before all encode: a folder that only the first one can see must not hold another bank.
    together(lambda: bank_files.check_folder(pathlib.Path(path), identity) if first() else None)
    bank = build(None)
    together(lambda: save_bank(path, identity, bank) if first() else None)
    return bank


def build_bank(
    encoder: Encoder,
    source: DenseSource,
    task: Task,
    protocol: Protocol,
    config: EvaluateConfig,
    clock: Clock,
    columns: FileColumns | None = None,
    quota: dict[int, int] | None = None,
) -> MemoryBank:
    """Encodes the prompt and fills a memory bank (App. A.1).

    Args:
      columns: files to fill; jobs that they hold already are left out. None: in memory.
      quota: {image: patches to keep of each pass}; None: what the protocol says.
    """
    if quota is None:
        images, n = plan(len(source), protocol)
        quota, limit = dict.fromkeys(images, n), protocol.memory_length
    else:
        limit = sys.maxsize
    jobs = [(image, epoch) for epoch in range(max(protocol.augmentation_epochs, 1)) for image in quota]
    capacity = min(limit, sum(quota[image] for image, _ in jobs))
    builder = BankBuilder(
        capacity,
        task,
        protocol.patch_size,
        config.retrieval.key_dtype,
        columns,
        columns.length if columns is not None else 0,
    )
    jobs = list(own_part(jobs))
    done = columns.done if columns is not None else 0
    labels: dict[tuple[int, int], LocalLabels] = {}

    def prepare(job: tuple[int, int]) -> tuple[Example, LocalLabels]:
        example = prepare_prompt(source, *job, task, protocol)
        return example, task.local_labels(example.label, protocol.patch_size)

    def examples() -> Iterator[Example]:
        for example, local in track(in_order(prepare, jobs[done:]), len(jobs) - done, "prompt", config.progress):
            labels[example.index, example.epoch] = local
            yield example

    def fill() -> None:
        nonlocal done
        for batch, features, zero in encode(encoder, examples(), config.batch_size, clock, "prompt"):
            with clock("fill_bank"):
                if not builder.length:
                    check_room(
                        capacity, features.shape[-1], config.retrieval, columns.folder if columns is not None else None
                    )
                for example, keys, wrong in zip(batch, features, zero, strict=True):
                    local = labels.pop((example.index, example.epoch))
                    rng = stream(protocol.seed, example.index, example.epoch, 1)
                    salient = protocol.sampling == "salient" and task.has_classes
                    chosen = choose_patches(local, quota[example.index], rng, salient)
                    chosen = chosen[local.labelled[chosen]]
                    refuse_features(wrong[None, chosen], [example], "zero")
                    kept = LocalLabels(local.values[chosen], local.labelled[chosen])
                    builder.add(keys[chosen], kept, example.index, example.epoch, chosen)
                done += len(batch)
                if columns is not None:
                    columns.commit(done, builder.length, always=done == len(jobs))

    together(fill)
    if jax.process_count() == 1:
        return builder.finish()
    found = gather_columns(builder.columns.finish())
    builder.length = len(found.get("keys", ()))
    bank = bank_from_columns(found, task.kind, task.channels) if builder.length else builder.finish()
    return bank if len(bank) <= capacity else bank.take(np.arange(capacity))


def plan(length: int, protocol: Protocol) -> tuple[Sequence[int], int]:
    """Which of `length` images are in the prompt, and how many patches to keep of each in each pass."""
    patches, passes = protocol.grid**2, max(protocol.augmentation_epochs, 1)
    images = subset(length, protocol.fraction, protocol.max_images, protocol.seed)
    n = features_per_image(protocol.memory_length, len(images), passes, patches, protocol.sampling)
    if protocol.sampling == "all":
        # Fig. 6, downsample=False: whole images in random order until the bank is full.
        order = np.random.default_rng([protocol.seed, len(images)]).permutation(np.asarray(images))
        images = order[: -(-protocol.memory_length // (patches * passes))].tolist()
    return images, n


def bank_identity(
    encoder: Encoder, source: DenseSource, task: Task, protocol: Protocol, config: EvaluateConfig
) -> dict[str, Any]:
    """All that the content of a bank depends on, as plain JSON."""
    fingerprint = getattr(encoder, "fingerprint", None)
    if not fingerprint:
        raise UserError("retrieval.bank: the encoder has no `fingerprint`, so its bank could not be told from others'")
    choices = {key: value for key, value in protocol.as_dict().items() if key in BANK_CHOICES}
    return {
        "encoder": fingerprint,
        "data": source.fingerprint,
        "task": task.kind,
        "channels": task.channels,
        "key_dtype": config.retrieval.key_dtype,
        **choices,
        **task.local_choices,
        "versions": {"numpy": np.__version__},
    }


def make_index(
    bank: MemoryBank, protocol: Protocol, config: EvaluateConfig, clock: Clock, notes: list[str], folder: str = ""
) -> Index:
    """The index that the config asks for, over the bank's keys.

    Args:
      notes: warnings are added to it.
      folder: the bank's own, to keep the index in; empty: nowhere.
    """
    if protocol.neighbours > len(bank):
        raise UserError(
            f"config key retrieval.neighbours: {protocol.neighbours} is more than the {len(bank)} entries of the bank"
        )
    scann = config.retrieval.scann
    if config.retrieval.index == "scann" and len(bank) < scann.leaves:
        raise UserError(
            f"config key retrieval.scann.leaves: {scann.leaves} is more than the {len(bank)} entries of the bank; "
            "lower it or use retrieval.index=auto"
        )
    if folder:
        check_room(len(bank), bank.keys.shape[1], config.retrieval, pathlib.Path(folder), stored=True)

    def build() -> Index:
        return build_index(
            bank.keys, config.retrieval.index, folder or None, config.progress, **dataclasses.asdict(scann)
        )

    with clock("build_index"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # One process writes the index of a kept bank, then the others read it.
        built = together(lambda: build() if first() or not folder else None)
        index = together(lambda: build() if built is None else built)
    for warning in caught:
        notes.append(str(warning.message))
        warnings.warn(str(warning.message), stacklevel=2)
    return index
