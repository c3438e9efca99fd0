"""Every choice that changes the number an evaluation reports, in one place; all of it is written into metrics.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from hummingbird.config import EvaluateConfig, to_flat
from hummingbird.config.presets import PRESETS
from hummingbird.config.schema import Tree
from hummingbird.tasks import Task, find_kind
from hummingbird.tasks.task import Choices

# Table 6, column "Section 4.2": settings for small parts of the prompt. The other column is the default of the config.
# The index is that of retrieval.scann.preset in both.
FEW_DATA: Tree = {
    "memory_length": 20_480_000,
    "neighbours": 90,
    "temperature": 0.1,
}
# Parts of the prompt in Tables 2, 9 and 10.
FRACTIONS = tuple(1 / 2**n for n in range(7, -1, -1))

# Largest ratio of an input's longer side to its shorter one; longer images are squashed to it.
LONGEST = 4

Differences = Mapping[str, Tree]


def variants(config: Differences) -> dict[str, Differences]:
    """Returns the variants of a data set's config file.

    Args:
      config: what differs from the defaults, by group.

    Returns:
      "" and "full": the config; "few": with `FEW_DATA`; "fractions": the same for random parts of the prompt.
    """
    kind = find_kind(str(config["data"].get("task") or "segmentation"))
    few = {**config, "retrieval": {**FEW_DATA, "augmentation_epochs": kind.epochs["few"]}}
    parts = {**few, "data": {**config["data"], "fractions": FRACTIONS}}
    return {"": config, "full": config, "few": few, "fractions": parts}


@dataclasses.dataclass(frozen=True)
class EvalProtocol:
    """The choices of an evaluation, besides those of its task. `hummingbird.config.evaluate` explains the settings.

    Attributes:
      name: key of `PROTOCOLS`.
      input_size: side of square encoder inputs, and shorter side of others, in pixels; a multiple of patch_size.
      patch_size: of the encoder, in pixels.
      preparation: how images are resized and augmented: "paper" (Table 7), "open-hummingbird" or "capi".
      blue: how blue is divided, see `open_hummingbird.with_its_blue`; "own": by the encoder's standard deviation.
    """

    name: str
    seed: int
    input_size: int
    patch_size: int
    resize: Literal["squash", "shorter"]
    windows: Literal["pad", "slide"]
    fraction: float
    max_images: int | None
    max_queries: int | None
    memory_length: int
    augmentation_epochs: int
    augmentation_scale: Literal["image", "input"]
    sampling: str
    neighbours: int
    temperature: float
    distance: str
    standardise: bool
    metric_resolution: str
    preparation: str
    blue: str

    def as_dict(self) -> Choices:
        """Returns all choices by name, and the grid."""
        return {**dataclasses.asdict(self), "grid": list(self.grid)}

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches of a square input."""
        side = self.input_size // self.patch_size
        return side, side

    @property
    def most_patches(self) -> int:
        """Patches of the largest prompt input."""
        rows, columns = self.grid
        squares = self.resize == "squash" or self.augmentation_epochs > 0
        return rows * columns * (1 if squares else LONGEST)

    @property
    def window(self) -> int | None:
        """Side of the squares that slide over an input; None: it is encoded as a whole."""
        return self.input_size if self.resize == "shorter" and self.windows == "slide" else None


# Choices that a name fixes, besides those of the task; for the second see `hummingbird.retrieval.open_hummingbird`. DIP
# (arXiv 2506.18463) evaluates with a copy of that project. `hummingbird.config.presets` has what can be overridden.
PROTOCOLS = {
    "paper": {"preparation": "paper"},
    "open-hummingbird": {"preparation": "open-hummingbird", "metric_resolution": "input"},
    "dip": {"preparation": "open-hummingbird", "metric_resolution": "input"},
    "capi": {"preparation": "capi", "metric_resolution": "input"},
}


def preset_warnings(config: EvaluateConfig) -> list[str]:
    """Names the settings that come with a protocol but have other values, such as those of a data set's config file.

    Example:
      >>> preset_warnings(EvaluateConfig(protocol="dip", input_size=504))
      ['protocol=dip sets retrieval.temperature=0.07, retrieval.distance=l2; this evaluation has 0.02, cosine']
    """
    found = to_flat(config)
    other = {key: value for key, value in PRESETS.get(config.protocol, {}).items() if found[key] != value}
    if not other:
        return []
    theirs = ", ".join(f"{key}={value}" for key, value in other.items())
    return [f"protocol={config.protocol} sets {theirs}; this evaluation has {', '.join(str(found[x]) for x in other)}"]


def build_protocol(config: EvaluateConfig, task: Task, patch_size: int, blue: str = "own") -> EvalProtocol:
    """Builds the protocol of an evaluation.

    Args:
      config: reads `protocol`, `seed`, `input_size`, `data.*` and `retrieval.*`.
      task: kind of label.
      patch_size: of the encoder, in pixels.
      blue: how the encoder divides it.
    """
    grid = max(1, round(config.input_size / patch_size))
    epochs = config.retrieval.augmentation_epochs
    if epochs is None:
        # Table 18 of the FUNGI paper: one pass.
        epochs = min(task.epochs[config.protocol], 1 if config.features.gradients else 255)
    choices = {"metric_resolution": config.retrieval.metric_resolution, **PROTOCOLS[config.protocol]}
    return EvalProtocol(
        name=config.protocol,
        seed=config.seed,
        input_size=grid * patch_size,
        patch_size=patch_size,
        resize=config.resize,
        windows=config.windows,
        fraction=config.data.fraction,
        max_images=config.data.max_images,
        max_queries=config.data.max_queries if config.data.max_queries is not None else config.data.max_images,
        memory_length=config.retrieval.memory_length,
        augmentation_epochs=epochs,
        augmentation_scale=config.retrieval.augmentation_scale,
        sampling=config.retrieval.sampling,
        neighbours=config.retrieval.neighbours,
        temperature=config.retrieval.temperature,
        distance=config.retrieval.distance,
        standardise=config.retrieval.standardise,
        blue=blue,
        **choices,
    )
