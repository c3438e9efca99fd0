"""Which images and random numbers an evaluation uses: functions of the seed, never of batch size or order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from hummingbird.retrieval.bank.sampling import features_per_image
from hummingbird.retrieval.protocol import EvalProtocol

# Purposes of random numbers; an image and pass has its own stream for each.
AUGMENTATION, SAMPLING, RECALL, REPORT, HELD_OUT = range(5)


def stream(seed: int, index: int, epoch: int, purpose: int) -> np.random.Generator:
    """Returns the random generator of an image, augmentation pass and purpose."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, epoch, purpose]))


def subset(length: int, fraction: float, most: int | None, seed: int) -> Sequence[int]:
    """Draws image numbers, ascending. Larger fractions with the same seed include smaller ones.

    Args:
      length: images to draw from.
      fraction: share to draw; at least one image is drawn.
      most: upper bound on the images drawn; None: no bound.
      seed: decides, together with `length`, which images.
    """
    wanted = max(1, round(length * fraction))
    wanted = min(wanted, most) if most is not None else wanted
    if wanted >= length:
        return range(length)
    order = np.random.default_rng(np.random.SeedSequence([seed, length])).permutation(length)
    return sorted(order[:wanted].tolist())


def hold_out(images: Sequence[int], share: float, seed: int) -> tuple[Sequence[int], Sequence[int]]:
    """Divides image numbers into those to learn from and those to choose settings by, at least one if `share` is not 0.

    Example:
      >>> [len(part) for part in hold_out(range(20), 0.1, seed=0)], hold_out(range(3), 0.0, seed=0)
      ([18, 2], (range(0, 3), []))
    """
    if not share:
        return images, []
    count = max(1, round(len(images) * share))
    chosen = set(stream(seed, len(images), 0, HELD_OUT).permutation(len(images))[:count].tolist())
    return [x for i, x in enumerate(images) if i not in chosen], [images[i] for i in sorted(chosen)]


def prompt_images(length: int, protocol: EvalProtocol) -> tuple[Sequence[int], int]:
    """Returns which of `length` images are in the prompt, and the patches to keep of each in each pass."""
    rows, columns = protocol.grid
    passes = max(protocol.augmentation_epochs, 1)
    images = subset(length, protocol.fraction, protocol.max_images, protocol.seed)
    n = features_per_image(protocol.memory_length, len(images), passes, protocol.most_patches, protocol.sampling)
    if protocol.sampling == "all":
        # Fig. 6, downsample=False: whole images in random order until the bank is full.
        order = np.random.default_rng([protocol.seed, len(images)]).permutation(np.asarray(images))
        images = order[: -(-protocol.memory_length // (rows * columns * passes))].tolist()
    return images, n


def query_images(length: int, protocol: EvalProtocol) -> Sequence[int]:
    """Returns which of `length` images are predicted."""
    return subset(length, 1.0, protocol.max_queries, protocol.seed)


def drawn_parts(protocol: EvalProtocol, fractions: Sequence[float], subsets: int) -> list[EvalProtocol]:
    """Returns the protocol of each part of the prompt; its seed draws the images.

    Part number i of a fraction is drawn with seed + i, so number 0 is the part that `data.fraction` alone would use.

    Args:
      protocol: of the whole evaluation.
      fractions: shares of the prompt.
      subsets: parts of each; the whole prompt has only one.
    """
    return [
        dataclasses.replace(protocol, fraction=fraction, seed=protocol.seed + number)
        for fraction in fractions
        for number in range(subsets if fraction < 1 else 1)
    ]


def nested(parts: Sequence[EvalProtocol]) -> list[EvalProtocol]:
    """Orders parts so that those that include each other follow each other, the largest first."""
    return sorted(parts, key=lambda part: (part.seed, -part.fraction))


def part_name(fraction: float) -> str:
    """Returns a fraction as readers know it.

    Example:
      >>> part_name(0.25), part_name(0.3), part_name(1.0)
      ('1/4', '0.3', '1')
    """
    whole = round(1 / fraction)
    return "1" if fraction == 1 else f"1/{whole}" if abs(whole * fraction - 1) < 1e-6 else f"{fraction:g}"
