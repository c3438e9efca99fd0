"""Every choice that changes the number an evaluation reports, in one place; all of it is written into metrics.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from hummingbird.config import EvaluateConfig
from hummingbird.tasks import Task, find_kind

# Table 6, column "Section 4.2": settings for small parts of the prompt. The other column is the default of the config.
FEW_DATA = {
    "retrieval": {
        "memory_length": 20_480_000,
        "neighbours": 90,
        "temperature": 0.1,
        "scann": {"leaves_to_search": 256, "reorder": 1800},
    }
}
# Parts of the prompt in Tables 2, 9 and 10.
FRACTIONS = tuple(1 / 2**n for n in range(7, -1, -1))


def variants(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A data set's config file by variant: "full" (or none), "few" with `FEW_DATA`, "fractions" the same for parts."""
    epochs = find_kind(config["data"].get("task") or "segmentation").epochs["few"]
    few = {**config, "retrieval": {**FEW_DATA["retrieval"], "augmentation_epochs": epochs}}
    parts = {**few, "data": {**config["data"], "fractions": FRACTIONS}}
    return {"": config, "full": config, "few": few, "fractions": parts}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The choices of one evaluation. See `hummingbird.config` for what the settings mean.

    Attributes:
      input_size: side of encoder inputs, pixels, a multiple of patch_size.
      grid: patches along a side.
      preparation: how images are resized and augmented, "paper" (Table 7) or "open-hummingbird".
    """

    name: str
    seed: int
    input_size: int
    patch_size: int
    grid: int
    fraction: float
    max_images: int | None
    max_queries: int | None
    memory_length: int
    augmentation_epochs: int
    sampling: str
    neighbours: int
    temperature: float
    metric_resolution: str
    preparation: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)


# What a name stands for beyond the settings and the task's own choices; see `hummingbird.retrieval.open_hummingbird`.
PROTOCOLS = {
    "paper": {"preparation": "paper"},
    "open-hummingbird": {"preparation": "open-hummingbird", "metric_resolution": "input"},
}


def build_protocol(config: EvaluateConfig, task: Task, patch_size: int) -> Protocol:
    """The protocol that an evaluation config asks for, for a task and an encoder's patch size."""
    grid = max(1, round(config.input_size / patch_size))
    epochs = config.retrieval.augmentation_epochs
    if epochs is None:
        epochs = task.epochs[config.protocol]
    choices = {"metric_resolution": config.retrieval.metric_resolution, **PROTOCOLS[config.protocol]}
    return Protocol(
        name=config.protocol,
        seed=config.seed,
        input_size=grid * patch_size,
        patch_size=patch_size,
        grid=grid,
        fraction=config.data.fraction,
        max_images=config.data.max_images,
        max_queries=config.data.max_queries if config.data.max_queries is not None else config.data.max_images,
        memory_length=config.retrieval.memory_length,
        augmentation_epochs=epochs,
        sampling=config.retrieval.sampling,
        neighbours=config.retrieval.neighbours,
        temperature=config.retrieval.temperature,
        **choices,
    )
