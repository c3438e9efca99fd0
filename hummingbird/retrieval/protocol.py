"""Every choice that changes the number an evaluation reports, in one place; all of it is written into metrics.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from hummingbird.config import EvaluateConfig
from hummingbird.errors import UserError

# Table 6, column "Section 4.2": settings for small parts of the prompt. The other column is the default of the config.
FEW_DATA = {
    "retrieval": {
        "memory_length": 20_480_000,
        "neighbours": 90,
        "temperature": 0.1,
        "augmentation_epochs": 8,  # for depth none (App. A.2)
        "scann": {"leaves_to_search": 256, "reorder": 1800},
    }
}
# Parts of the prompt in Tables 2, 9 and 10.
FRACTIONS = tuple(1 / 2**n for n in range(7, -1, -1))


def variants(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A data set's config file by variant: "full" (or none), "few" with `FEW_DATA`, "fractions" the same for parts."""
    retrieval = dict(FEW_DATA["retrieval"])
    if config["data"].get("task") == "depth":
        del retrieval["augmentation_epochs"]
    few = {**config, "retrieval": retrieval}
    parts = {**few, "data": {**config["data"], "fractions": FRACTIONS}}
    return {"": config, "full": config, "few": few, "fractions": parts}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The choices of one evaluation. See `hummingbird.config` for what the settings mean.

    Attributes:
      input_size: side of encoder inputs, pixels, a multiple of patch_size.
      grid: patches along a side.
      preparation: how images are resized and augmented, "paper" (Table 7) or "open-hummingbird".
      void: "left_out" of local labels, or "class_0": counted as class 0 in the bank.
      absent_classes: classes in neither truth nor prediction are "left_out" of mIoU or count "zero".
      matching: predicted classes are taken as they are, "none", or re-assigned for the best IoU, "hungarian".
    """

    name: str
    task: str
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
    void: str
    absent_classes: str
    matching: str
    depth_low: float | None
    depth_high: float | None
    eigen_crop: bool | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)


# What a name stands for beyond the settings; see `hummingbird.retrieval.open_hummingbird` for the second.
PROTOCOLS = {
    "paper": {"preparation": "paper", "void": "left_out", "absent_classes": "left_out", "matching": "none"},
    "open-hummingbird": {
        "preparation": "open-hummingbird",
        "void": "class_0",
        "absent_classes": "zero",
        "matching": "hungarian",
        "metric_resolution": "input",
    },
}
DEFAULT_EPOCHS = {"paper": {"segmentation": 2, "depth": 0}, "open-hummingbird": {"segmentation": 1}}


def build_protocol(config: EvaluateConfig, task: str, patch_size: int) -> Protocol:
    """The protocol that an evaluation config asks for, for a task and an encoder's patch size."""
    if task not in ("segmentation", "depth"):
        raise UserError(f"data.name={config.data.name}: task {task!r} is neither segmentation nor depth")
    depth = task == "depth"
    if depth and config.protocol != "paper":
        raise UserError(
            f"config key protocol: {config.protocol} is for segmentation only; use protocol=paper for depth"
        )
    grid = max(1, round(config.input_size / patch_size))
    epochs = config.retrieval.augmentation_epochs
    if epochs is None:
        epochs = DEFAULT_EPOCHS[config.protocol][task]
    choices = {"metric_resolution": config.retrieval.metric_resolution, **PROTOCOLS[config.protocol]}
    return Protocol(
        name=config.protocol,
        task=task,
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
        depth_low=config.depth.low if depth else None,
        depth_high=config.depth.high if depth else None,
        eigen_crop=config.depth.eigen_crop if depth else None,
    )
