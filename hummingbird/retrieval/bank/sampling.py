"""Which patches of an image enter the memory bank (App. A.1, Eq. 5)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Bool, Int, Num

from hummingbird.errors import UserError
from hummingbird.tasks import LocalLabels, Task

EMPTY_SCORE = 1e6


def sample_patches(labels: Num[np.ndarray | Array, "N C"], n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Draws the n patches of an image with the lowest final score (Eq. 5): rare classes first, empty patches last.

    kappa_c counts the patches that hold class c; class_score_j = sum_c kappa_c 1[c in l_j];
    final_score_j = class_score_j * x + 1e6 * 1[l_j empty], with x ~ U[0, 1] for each patch.

    Args:
      labels: local labels or pixel counts; a patch holds the classes whose value is above 0.
      n: patches wanted.
      rng: random generator; N uniform numbers are drawn.

    Returns:
      min(n, N) patch numbers, best first.

    Example:
      >>> sample_patches(np.array([[0, 0], [1, 0], [3, 1]]), 2, np.random.default_rng(0))
      array([2, 1])
    """
    holds = np.asarray(labels) > 0
    kappa = holds.sum(axis=0)
    class_score = holds @ kappa
    final_score = class_score * rng.random(len(holds)) + EMPTY_SCORE * ~holds.any(axis=1)
    return np.argsort(final_score, kind="stable")[:n]


def sample_uniform(labelled: Bool[np.ndarray, " N"], n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Draws n patches in random order, patches without a label after all others (App. A.1).

    Args:
      labelled: whether each patch holds a valid pixel.
      n: patches wanted.
      rng: random generator; one permutation is drawn.

    Returns:
      min(n, N) patch numbers.
    """
    order = rng.permutation(len(labelled))
    return order[np.argsort(~labelled[order], kind="stable")][:n]


def choose_patches(
    local: LocalLabels, n: int, rng: np.random.Generator, task: Task, sampling: str = "salient"
) -> Int[np.ndarray, " n"]:
    """Draws n patches of an image as `retrieval.sampling` says; patches without a label come last.

    Eq. 5 applies to `salient` sampling of tasks with classes; otherwise patches are drawn uniformly.
    """
    if sampling == "salient" and task.has_classes:
        return sample_patches(local.values, n, rng)
    return sample_uniform(local.labelled, n, rng)


def features_per_image(memory_length: int, images: int, epochs: int, patches: int, sampling: str) -> int:
    """Returns |M| / (|D| * augmentation epochs), at most the patches of an image; all patches for sampling "all".

    Args:
      memory_length: |M|, the capacity of the bank.
      images: |D|, images in the prompt.
      epochs: augmented passes; 0 counts as one pass.
      patches: patches of an image.
      sampling: `retrieval.sampling`.

    Raises:
      UserError: less than one patch of each image and pass.

    Example:
      >>> features_per_image(10_240_000, 10_582, 2, 1024, "salient")
      483
    """
    if sampling == "all":
        return patches
    n = memory_length // (images * max(epochs, 1))
    if n < 1:
        raise UserError(
            f"config key retrieval.memory_length: {memory_length} is less than one patch for each of {images} images"
            f" x {max(epochs, 1)} passes; raise it or lower data.fraction"
        )
    return min(n, patches)
