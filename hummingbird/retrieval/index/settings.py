"""Settings of a ScaNN index as it is built: what grows with the bank is decided here."""

from __future__ import annotations

import dataclasses
import math

from hummingbird.config.evaluate import Scann

# Up to this many keys ten candidates a neighbour suffice; beyond, their number grows with this power of the keys.
ENOUGH, GROWTH = 655_360, 0.65


@dataclasses.dataclass(frozen=True)
class ScannSettings:
    """The settings of `hummingbird.config.evaluate.Scann`, all decided."""

    dimensions_per_block: int = 4
    leaves: int = 512
    leaves_to_search: int = 32
    reorder: int = 120
    anisotropic_threshold: float = 0.2
    training_sample: int = 25_000
    autopilot: bool = False


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The settings that Table 6 fixes and that must grow with a bank.

    Attributes:
      leaves: partitions of the tree.
      leaves_to_search: partitions to search.
      reorder: candidates to re-score exactly.
    """

    leaves: int
    leaves_to_search: int
    reorder: int


def table6(length: int, neighbours: int) -> Sizes:
    """Returns the sizes of Table 6, "Everywhere else"."""
    return Sizes(512, 32, 120)


def table6_few(length: int, neighbours: int) -> Sizes:
    """Returns the sizes of Table 6, "Section 4.2"."""
    return Sizes(512, 256, 1800)


def growing(length: int, neighbours: int) -> Sizes:
    """Returns sizes with which at least 95% of the neighbours are found.

    Long banks have about as many leaves as there are keys in each; candidates are proportional to the neighbours, and
    grow further where true neighbours lie among ever more keys that their codes do not tell apart. How many are found
    depends on the keys: `scripts/benchmarks/retrieval_scale.py` has the measurements, every evaluation reports its own.

    Example:
      >>> growing(163_840, 30)
      Sizes(leaves=512, leaves_to_search=32, reorder=300)
      >>> growing(10_240_000, 90)
      Sizes(leaves=4096, leaves_to_search=64, reorder=5380)
    """
    leaves = max(512, 2 ** round(math.log2(max(length, 1)) / 2))
    leaves = min(leaves, 2 ** max(0, math.floor(math.log2(max(length, 1) / 8))))  # a short bank has 8 keys in each
    candidates = 10 * neighbours * max(1.0, length / ENOUGH) ** GROWTH
    return Sizes(leaves, min(leaves, max(32, leaves // 64)), 10 * math.ceil(candidates / 10))


PRESETS = {"auto": growing, "table6": table6, "table6_few": table6_few}


def decide(settings: Scann, length: int, neighbours: int) -> ScannSettings:
    """Returns the settings of an index.

    Args:
      settings: those of the config; None stands for what the preset says.
      length: keys of the bank.
      neighbours: that are looked up.
    """
    sizes = dataclasses.asdict(PRESETS[settings.preset](length, neighbours))
    given = {name: value for name, value in dataclasses.asdict(settings).items() if name != "preset"}
    return ScannSettings(**{name: sizes[name] if value is None else value for name, value in given.items()})
