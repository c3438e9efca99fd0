"""A rehearsal of an evaluation: what could fail after hours of encoding fails before the first image.

One prompt and one query image pass through encoder, local labels, a tiny bank, search, prediction, metrics and the
samples of the report. The class ids of a few more labels are checked, ScaNN is imported if it will be needed, and the
memory for the bank and its index is compared with that of the disk, the host and the devices. The encoder gets a batch
of the size that the evaluation uses, so that its program is compiled once.
"""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
import tempfile
from collections.abc import Sequence

import jax
import numpy as np

from hummingbird.data.interface import DenseItem, DenseSource
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.build import BankBuilder, BankPlan, add_example, plan_bank
from hummingbird.retrieval.capacity import check_room
from hummingbird.retrieval.encode import encode
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.examples import prepare_prompt, prepare_query
from hummingbird.retrieval.index import scann
from hummingbird.retrieval.index.build import AUTO_SCANN_LENGTH, build_index
from hummingbird.retrieval.patch_features import PatchFeatures
from hummingbird.retrieval.processes import together
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.query import Found, Predictor, QueryBatch
from hummingbird.retrieval.sample_files import save_samples
from hummingbird.retrieval.samples import SampleCollector
from hummingbird.retrieval.search import over_space
from hummingbird.retrieval.selection import query_images
from hummingbird.retrieval.threads import in_order
from hummingbird.tasks import Task

CHECKED = 8  # labels of each set


def preflight(
    evaluation: Evaluation,
    folder: pathlib.Path | None = None,
    plan: BankPlan | None = None,
    stored: bool = False,
) -> int:
    """Rehearses an evaluation on one prompt and one query image; adds its time to the clock as `preflight`.

    Args:
      evaluation: what is about to be run.
      folder: will keep the bank; None: in memory.
      plan: of the bank; None: what the protocol says.
      stored: the bank is in `folder` already.

    Returns:
      The dimension of the features.

    Raises:
      UserError: what the evaluation would have failed with later.
    """
    with evaluation.clock("preflight"):
        return together(lambda: rehearse(evaluation, folder, plan, stored))


def rehearse(evaluation: Evaluation, folder: pathlib.Path | None, plan: BankPlan | None, stored: bool) -> int:
    """Does the work of `preflight` in one process."""
    task, apart = evaluation.task, plan is None  # a bank that others are cut from is whole in every process
    plan = plan or plan_bank(evaluation)
    prompt = first_labelled(evaluation.prompt, list(plan.quota), task, "prompt")
    query = first_labelled(evaluation.query, query_images(len(evaluation.query), evaluation.protocol), task, "query")
    dim = rehearse_images(evaluation, prompt, query, plan.quota[prompt])
    if not stored:
        check_room(plan.capacity, dim, evaluation.retrieval, folder, longest=plan.longest, apart=apart)
    check_imports(evaluation, plan.longest)
    return dim


def first_labelled(source: DenseSource, images: Sequence[int], task: Task, name: str) -> int:
    """Checks the labels of a few images, spread over a set; returns the first image that has a valid pixel."""
    chosen = [images[i] for i in sorted({*np.linspace(0, len(images) - 1, CHECKED).astype(int).tolist()})]
    valid = list(in_order(lambda number: check_label(source[number], task, name), chosen))
    return chosen[valid.index(True)] if True in valid else chosen[0]


def check_label(item: DenseItem, task: Task, name: str) -> bool:
    """Returns whether a label has a valid pixel; UserError that names the image if it holds impossible values."""
    try:
        task.metrics().add(item["label"], item["label"])
    except UserError as error:
        raise UserError(f"{name} image {item['name']}: {error}") from error
    return bool(task.valid(item["label"]).any())


def rehearse_images(evaluation: Evaluation, prompt: int, query: int, patches: int) -> int:
    """Passes two images through all stages; returns the dimension of the features.

    Args:
      evaluation: what is about to be run.
      prompt, query: numbers of the images.
      patches: to keep of the prompt image.
    """
    task, protocol = evaluation.task, evaluation.protocol
    # Times and warnings of the rehearsal are not those of the evaluation.
    rehearsal = dataclasses.replace(evaluation, clock=Clock(), warnings=[])
    asked = prepare_query(evaluation.query, query, task, protocol)
    shown = prepare_prompt(evaluation.prompt, prompt, 0, task, protocol)
    shown.local = task.local_labels(shown.label, shown.cells)
    features = {}
    for batch, keys, zero in encode(
        evaluation.encoder,
        iter([shown, asked]),
        evaluation.batch_size,
        rehearsal.clock,
        "images",
        protocol.window,
        evaluation.retrieval.raw_keys,
    ):
        features |= {id(example): (keys[i], zero[i]) for i, example in enumerate(batch)}
    keys, zero = features[id(shown)]
    if not shown.local.labelled.any():
        return keys.shape[-1]  # an augmented image may be cropped to pixels without a label
    builder = BankBuilder(patches, task, evaluation.retrieval.stored_dtype)
    add_example(rehearsal, builder, shown, keys, zero, patches)
    bank = builder.finish()
    index = over_space(rehearsal, bank, lambda keys: build_index(keys, "exact"))
    found = Found(*index.search(features[id(asked)][0], protocol.neighbours))
    collector = SampleCollector(rehearsal, bank)
    collector.wanted = {query}
    predictor = Predictor(rehearsal, bank, collector, sample=True)
    predictor.add(QueryBatch([asked], PatchFeatures([features[id(asked)][0]])), found)
    if task.valid(asked.label).any():
        predictor.metrics.result()
    if evaluation.report.enabled:
        importlib.import_module("hummingbird.retrieval.report")
        with tempfile.TemporaryDirectory(prefix="hummingbird-preflight-") as scratch:
            save_samples(f"{scratch}/samples.npz", collector.finish(attention=False))
    return keys.shape[-1]


def check_imports(evaluation: Evaluation, length: int) -> None:
    """Imports ScaNN if a bank of this length would be searched with it; a warning later says if that fails."""
    kind = evaluation.retrieval.index
    if kind == "scann" or (kind == "auto" and length >= AUTO_SCANN_LENGTH and jax.default_backend() == "cpu"):
        scann.find_scann()
