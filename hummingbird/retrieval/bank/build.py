"""Builds a memory bank: encodes the annotated images and keeps some patches of each (App. A.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from hummingbird.encoder import arithmetic
from hummingbird.errors import UserError
from hummingbird.gradients.incontext import GradientEncoder
from hummingbird.retrieval.bank.columns import Columns, MemoryColumns
from hummingbird.retrieval.bank.files import Identity
from hummingbird.retrieval.bank.keys import key_dtype
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.bank.sampling import choose_patches
from hummingbird.retrieval.encode import encode, refuse_features
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.examples import Example, prepare_prompt
from hummingbird.retrieval.processes import gather, gather_columns, own_part, together
from hummingbird.retrieval.progress import track
from hummingbird.retrieval.selection import SAMPLING, prompt_images, stream
from hummingbird.retrieval.threads import in_order
from hummingbird.tasks import LocalLabels, Task

Job = tuple[int, int]  # image number, augmentation pass

# Part of a bank's identity. To be raised with every change of code that changes the entries of some bank: resizing,
# augmentation, local labels, the choice of patches, normalisation.
BANK_VERSION = 4

# Choices of a protocol that the content of a bank depends on; the task adds its own.
BANK_CHOICES = (
    "seed",
    "input_size",
    "resize",
    "windows",
    "patch_size",
    "fraction",
    "max_images",
    "memory_length",
    "augmentation_epochs",
    "augmentation_scale",
    "sampling",
    "preparation",
    "blue",
)


class BankPlan(NamedTuple):
    """What a bank will be built from.

    Attributes:
      quota: patches to keep of each prompt image in each pass.
      passes: over the prompt.
      capacity: most entries.
      longest: entries of the longest bank that will be searched: this one, or one that is cut from it.
    """

    quota: Mapping[int, int]
    passes: int
    capacity: int
    longest: int


def plan_bank(evaluation: Evaluation) -> BankPlan:
    """Plans the bank of one evaluation."""
    protocol = evaluation.protocol
    images, patches = prompt_images(len(evaluation.prompt), protocol)
    quota, passes = dict.fromkeys(images, patches), max(protocol.augmentation_epochs, 1)
    capacity = min(protocol.memory_length, passes * sum(quota.values()))
    return BankPlan(quota, passes, capacity, capacity)


def build_bank(
    evaluation: Evaluation, columns: Columns | None = None, plan: BankPlan | None = None, apart: bool = False
) -> PatchBank:
    """Encodes the prompt and fills a memory bank.

    Args:
      evaluation: says how.
      columns: where entries go; jobs whose entries they hold already are skipped. None: memory.
      plan: what the bank consists of; None: what the protocol says.
      apart: leave each key with the process that encoded it; otherwise every process gets all of them.

    Raises:
      UserError: features that cannot be searched, no valid label in any image, or a full disk.
    """
    plan, task = plan or plan_bank(evaluation), evaluation.task
    jobs = [(image, epoch) for epoch in range(plan.passes) for image in plan.quota]
    builder = BankBuilder(plan.capacity, task, evaluation.retrieval.stored_dtype, columns, plan.longest)
    together(lambda: fill_bank(evaluation, builder, own_part(jobs), plan.quota))
    if jax.process_count() == 1:
        return builder.finish()
    mine = builder.columns.finish()
    keys = mine.pop("keys", None) if apart else None
    found = gather_columns(mine)
    if not found:
        return builder.finish()  # says that there are no entries
    if apart:
        form = next(form for form in gather(None if keys is None else (keys.shape[1], keys.dtype)) if form)
        found["keys"] = np.empty((0, form[0]), form[1]) if keys is None else keys
    bank = PatchBank.from_columns(found, task.form, task.channels)
    bank.shares = tuple(gather(len(bank.keys))) if apart else None
    return bank.shorten(plan.capacity, jax.process_index())


def fill_bank(evaluation: Evaluation, builder: BankBuilder, jobs: Sequence[Job], quota: Mapping[int, int]) -> None:
    """Encodes the images of `jobs` that are not done yet, and adds their patches to a bank.

    Args:
      evaluation: says how.
      builder: takes the patches.
      jobs: all jobs of this process, in order.
      quota: patches to keep of each image in each pass.
    """
    clock, columns = evaluation.clock, builder.columns
    done = columns.done
    examples = prompt_examples(evaluation, jobs[done:])
    window, raw = evaluation.protocol.window, evaluation.retrieval.raw_keys
    dtype = builder.dtype(getattr(evaluation.encoder, "dim", None))
    encoded = encode(evaluation.encoder, examples, evaluation.batch_size, clock, "prompt", window, raw, dtype)
    for batch, features, zero in encoded:
        with clock("fill_bank"):
            for example, keys, is_zero in zip(batch, features, zero, strict=True):
                add_example(evaluation, builder, example, keys, is_zero, quota[example.index])
            done += len(batch)
            columns.commit(done, builder.length, always=done == len(jobs))


def prompt_examples(evaluation: Evaluation, jobs: Sequence[Job]) -> Iterator[Example]:
    """Prepares prompt images with their local labels, ahead on threads and under a progress bar."""
    task, protocol = evaluation.task, evaluation.protocol

    def prepare(job: Job) -> Example:
        example = prepare_prompt(evaluation.prompt, *job, task, protocol)
        example.local = task.local_labels(example.label, example.cells)
        return example

    return track(in_order(prepare, jobs), len(jobs), "prompt", evaluation.progress)


def add_example(
    evaluation: Evaluation,
    builder: BankBuilder,
    example: Example,
    keys: Float[np.ndarray, "N D"],
    is_zero: Bool[np.ndarray, " N"],
    patches: int,
) -> None:
    """Chooses patches of an image and adds them to a bank.

    Args:
      evaluation: says how they are chosen.
      builder: takes them.
      example: the image, with its local labels.
      keys: its features, L2-normalised unless the bank keeps raw keys, in float32 or rounded as they will be kept.
      is_zero: which of them are zero, and so cannot be searched.
      patches: how many to keep.
    """
    protocol, local = evaluation.protocol, example.local
    assert local is not None
    rng = stream(protocol.seed, example.index, example.epoch, SAMPLING)
    chosen = choose_patches(local, patches, rng, evaluation.task, protocol.sampling)
    chosen = chosen[local.labelled[chosen]]
    refuse_features([is_zero[chosen]], [example], "zero")
    kept = LocalLabels(local.values[chosen], local.labelled[chosen])
    builder.add(keys[chosen], kept, example.index, example.epoch, chosen)


class BankBuilder:
    """Fills a `PatchBank` image by image; entries without a label never enter.

    Args:
      capacity: most entries.
      task: kind of label.
      key_dtype: "auto", "float32" or "bfloat16".
      columns: where entries go; None: memory.
      longest: entries that decide what "auto" means; None: `capacity`.

    Attributes:
      length: entries so far.
    """

    def __init__(
        self,
        capacity: int,
        task: Task,
        key_dtype: str = "auto",
        columns: Columns | None = None,
        longest: int | None = None,
    ):
        self.capacity, self.task, self.key_dtype, self.longest = capacity, task, key_dtype, longest or capacity
        self.columns: Columns = MemoryColumns(capacity) if columns is None else columns
        self.length = self.columns.length

    def add(
        self,
        keys: Float[np.ndarray, "n D"],
        local: LocalLabels,
        image: int,
        epoch: int,
        patch: Int[np.ndarray, " n"],
    ) -> None:
        """Appends entries of one image, as many as there is room for.

        Args:
          keys: features, L2-normalised unless the bank keeps raw keys.
          local: their local labels; entries without a label are dropped.
          image: number of the image.
          epoch: augmentation pass.
          patch: patch numbers.
        """
        chosen = np.flatnonzero(local.labelled)[: self.capacity - self.length]
        if not len(chosen):
            return
        self.columns.append("keys", keys[chosen].astype(self.dtype(keys.shape[1]), copy=False))
        self.columns.append("image", np.full(len(chosen), image, np.int32))
        self.columns.append("epoch", np.full(len(chosen), epoch, np.uint8))
        self.columns.append("patch", patch[chosen].astype(np.int32))
        for name, values in self.task.label_columns(local.values[chosen]).items():
            self.columns.append(name, values)
        self.length += len(chosen)

    def dtype(self, dim: int | None) -> str:
        """Returns the type of the keys; float32, which can still be rounded, as long as their dimension is unknown."""
        return "float32" if dim is None else str(key_dtype(self.key_dtype, self.longest, dim))

    def finish(self) -> PatchBank:
        """Returns the bank; UserError if no patch of any image holds a valid pixel."""
        if not self.length:
            raise UserError("the prompt holds no patch with a valid label: check data.root and the void value")
        return PatchBank.from_columns(self.columns.finish(), self.task.form, self.task.channels)


def bank_identity(evaluation: Evaluation) -> Identity:
    """Returns everything that the content of a bank depends on; UserError if the encoder has no fingerprint."""
    encoder = evaluation.encoder
    fingerprint = getattr(encoder, "fingerprint", None)
    if not fingerprint:
        raise UserError(
            "retrieval.bank: the encoder has no `fingerprint`, so its bank could be mistaken for another one's"
        )
    features: Identity = {}
    if isinstance(encoder, GradientEncoder):
        # Apart, so that a bank of another encoder is refused as such.
        fingerprint, features = encoder.encoder.fingerprint, {"features": encoder.summary}
    protocol, task = evaluation.protocol.as_dict(), evaluation.task
    return {
        "bank_version": BANK_VERSION,
        "encoder": fingerprint,
        **arithmetic(encoder),
        "data": evaluation.prompt.fingerprint,
        "labels": getattr(evaluation.prompt, "content", None),
        "task": task.form,
        "channels": task.channels,
        "key_dtype": evaluation.retrieval.key_dtype,
        **{name: protocol[name] for name in BANK_CHOICES},
        **task.local_choices,
        **({"keys": "raw"} if evaluation.retrieval.raw_keys else {}),
        **features,
        "versions": {"numpy": np.__version__},
    }
