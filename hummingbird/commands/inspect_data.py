"""`hummingbird data CONFIG`: what a config reads, checked on a sample, with pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import rich.table
from PIL import Image

from hummingbird import config as settings
from hummingbird.commands.data_check import SHOWN, Facts, Shown, check_dense, check_images, console
from hummingbird.config import EvaluateConfig, PretrainConfig
from hummingbird.config.sequences import SEQUENCES
from hummingbird.data import augment, crops
from hummingbird.data.image_sets import build_labelled
from hummingbird.data.interface import DenseSource, ImageSource, Unreadable
from hummingbird.data.sources import DENSE, IMAGES, build_dense_source, build_image_source, look_up
from hummingbird.data.views import build_view_groups
from hummingbird.errors import UserError
from hummingbird.retrieval.examples import Example, prepare_prompt
from hummingbird.retrieval.protocol import EvalProtocol, build_protocol
from hummingbird.run.files import Json, write_json
from hummingbird.tasks import WHOLE_IMAGE, Task, build_task
from hummingbird.tasks.drawing import Picture, Tile, sheet

SIDE = 224  # of a tile, pixels
LISTED = 50  # broken and void images printed at most


def run(path: str, overrides: Sequence[tuple[str, str]] = (), out: str = "", check_all: bool = False) -> int:
    """Runs the command: `describe` for a config file.

    Args:
      path: config file, with ":variant" if it takes one.
      overrides: settings from the command line, as (key, text).
      out: folder for the results; "": runs/data/NAME.
      check_all: read every item, not a sample.

    Returns:
      Exit status: 0, or 2 if something is broken.
    """
    config = _resolve(path, overrides)
    found = describe(config, out or os.path.join("runs", "data", config.data.name.replace("/", "-")), check_all)
    return 2 if any(facts["broken"] for facts in found.values()) else 0


def _resolve(path: str, overrides: Sequence[tuple[str, str]]) -> PretrainConfig | EvaluateConfig:
    """Resolves a file as the kind of config that has its keys and its data set; if both do, its folder decides."""
    if settings.kind_of(path) == "finetune":
        return settings.resolve("finetune", path, overrides).evaluation()
    kinds: tuple[Literal["pretrain", "evaluate"], ...] = ("evaluate", "pretrain")
    kinds = kinds[::-1] if "pretrain" in Path(path).parts else kinds
    tables = {"pretrain": IMAGES, "evaluate": DENSE}
    resolved: list[PretrainConfig | EvaluateConfig] = []
    errors: list[UserError] = []
    for kind in kinds:
        try:
            config = settings.resolve(kind, path, overrides)
            if isinstance(config, EvaluateConfig) and config.data.task in SEQUENCES:
                raise UserError(
                    f"hummingbird data shows images, and {config.data.name} has none; `hummingbird evaluate` reads all "
                    "its labels before it encodes"
                )
            if not is_whole_images(config):
                look_up(tables[kind], config.data.name, kind)
            resolved.append(config)
        except UserError as error:
            errors.append(error)
    if not resolved:
        raise errors[0]
    return resolved[0]


def is_whole_images(config: PretrainConfig | EvaluateConfig) -> bool:
    """Returns whether a config is of an evaluation of whole images."""
    return isinstance(config, EvaluateConfig) and config.data.task in WHOLE_IMAGE


def describe(
    config: PretrainConfig | EvaluateConfig, out: str | os.PathLike[str], check_all: bool = False
) -> dict[str, dict[str, Json]]:
    """Reads a sample of what a config names, prints what it found, and writes data.json and pictures.

    Args:
      config: of a pretraining run or an evaluation.
      out: folder for data.json, contact.png (images, labels), and views.png (the views of each group) or augmented.png
        (prompt images as the protocol augments them, if it does); made if missing.
      check_all: read every item instead of `data_check.SAMPLE` evenly spaced ones.

    Returns:
      The content of data.json: for each split its number of images, how many were read, their sizes, statistics of
      their labels, and "broken", a line for each image that could not be read.

    Raises:
      UserError: the data set does not exist or has another layout; `out` cannot be written.
    """
    if isinstance(config, PretrainConfig):
        found, pictures = _inspect_training(config, check_all)
    elif is_whole_images(config):
        found, pictures = _inspect_whole_images(config, check_all)
    else:
        found, pictures = _inspect_evaluation(config, check_all)
    for split, facts in found.items():
        _print(split, facts)
    content = {split: facts.to_json() for split, facts in found.items()}
    _write(Path(out), content, pictures)
    return content


def _inspect_training(config: PretrainConfig, check_all: bool) -> tuple[dict[str, Facts], dict[str, Picture]]:
    """Checks the images of a pretraining config; returns facts by split, and pictures by file name."""
    source = build_image_source(config)
    facts = check_images(source, config.data.lenient, check_all)
    return {"pretrain": facts}, {"contact.png": contact(facts.shown), "views.png": _views(source, config)}


def _inspect_evaluation(config: EvaluateConfig, check_all: bool) -> tuple[dict[str, Facts], dict[str, Picture]]:
    """Checks the images of an evaluation config; returns facts by split, and pictures by file name."""
    sources = {split: build_dense_source(config, split) for split in ("prompt", "query")}
    prompt = sources["prompt"]
    task = build_task(prompt, config)
    found = {split: check_dense(split, source, task, check_all) for split, source in sources.items()}
    pictures = {"contact.png": contact([item for facts in found.values() for item in facts.shown], task)}
    protocol = build_protocol(config, task, patch_size=1)
    numbers = [item.index for item in found["prompt"].shown]
    if protocol.augmentation_epochs and numbers:
        pictures["augmented.png"] = _augmented(prompt, numbers, task, protocol)
    return found, pictures


def _inspect_whole_images(config: EvaluateConfig, check_all: bool) -> tuple[dict[str, Facts], dict[str, Picture]]:
    """Checks the training and test images of an evaluation of whole images."""
    if config.data.task != "classification":
        raise UserError(f"config key data.task: data checks classification and dense labels, not {config.data.task}")
    splits = build_labelled(config)
    parts = {"train": splits.train, "test": splits.test}
    if splits.validation is not None:
        parts["validation"] = splits.validation
    found = {name: check_images(part, config.data.lenient, check_all) for name, part in parts.items()}
    for name, part in parts.items():
        if part.knows_labels:
            counts = np.bincount(part.labels, minlength=len(part.classes))
            found[name].labels = {**found[name].labels, "images_per_class": [int(counts.min()), int(counts.max())]}
            found[name].rows.append(("images a class", f"{counts.min()} to {counts.max()}"))
        found[name].rows.append(("split", splits.choice))
    return found, {"contact.png": contact([item for facts in found.values() for item in facts.shown])}


def _write(folder: Path, content: Mapping[str, Json], pictures: Mapping[str, Picture]) -> None:
    """Writes data.json and the pictures; removes pictures that another config left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("views.png", "augmented.png"):
            (folder / name).unlink(missing_ok=True)
        for name, picture in pictures.items():
            Image.fromarray(picture).save(folder / name)
        write_json(folder / "data.json", content)
    except OSError as error:
        raise UserError(f"--out={folder} cannot be written ({error.strerror}); choose another folder") from error
    console.print(f"pictures: {', '.join(str(folder / name) for name in pictures)}")


# ---------------------------------------------------------------- pictures
def contact(items: Sequence[Shown], task: Task | None = None) -> Picture:
    """Draws items with their names, eight in a row, and their labels below them if they have a task."""
    rows: list[list[Tile]] = []
    for start in range(0, len(items), SHOWN):
        part = items[start : start + SHOWN]
        rows.append([Tile(item.image, item.name) for item in part])
        if task is not None:
            rows.append([Tile(task.paint(item.label)) for item in part if item.label is not None])
    return sheet(rows, SIDE)


def _views(source: ImageSource, config: PretrainConfig) -> Picture:
    """Draws the views of eight images, as the network gets them: global views first, then local crops."""
    groups, settings = build_view_groups(config), augment.build_augment(config)
    views: list[Mapping[str, np.ndarray]] = []
    for number in range(len(source)):
        try:
            item = source[number * max(1, len(source) // SHOWN) % len(source)]
            rng = np.random.default_rng([config.seed, number])
            views.append(crops.crop_groups(rng, item["image"], groups, lenient=config.data.lenient))
        except Unreadable:
            continue
        if len(views) == SHOWN:
            break
    rows: list[list[Tile]] = []
    for i, (name, table) in enumerate(settings.items() if views else ()):
        key = jax.random.key(config.seed)
        stacked = jnp.asarray(np.stack([item[name] for item in views]))
        augmented = augment.photometric(jax.random.fold_in(key, i) if i else key, stacked, table)
        pictures = np.round(np.asarray(augmented) * 255).astype(np.uint8)
        rows += [[Tile(picture) for picture in row] for row in pictures.swapaxes(0, 1)]
    return sheet(rows, config.input_size)


def _augmented(source: DenseSource, numbers: Sequence[int], task: Task, protocol: EvalProtocol) -> Picture:
    """Draws prompt images after their first augmentation: the image, its label, and both blended."""
    columns = []
    for number in numbers:
        example = prepare_prompt(source, number, 0, task, protocol)
        painted = task.paint(_input_label(example, task))
        blended = np.round(0.5 * example.image + 0.5 * painted).astype(np.uint8)
        columns.append([Tile(example.image), Tile(painted), Tile(blended, example.name)])
    return sheet(list(zip(*columns, strict=True)), SIDE)


def _input_label(example: Example, task: Task) -> np.ndarray:
    """Returns the label of each pixel of an encoder input with patches of one pixel; padding is void."""
    centres, padding = [], []
    for edges, length in zip(example.cells, example.label.shape, strict=False):
        centres.append(np.minimum((edges[1:] + edges[:-1]) / 2, length - 1).astype(np.intp))
        padding.append(np.diff(edges) == 0)
    label = task.move(example.label, *centres)
    label[padding[0]], label[:, padding[1]] = task.void, task.void
    return label


# ---------------------------------------------------------------- printing
def _print(split: str, facts: Facts) -> None:
    """Prints the facts of a split."""
    table = rich.table.Table("", split, title=facts.fingerprint, title_justify="left")
    table.add_row("images", f"{facts.images:,}, {facts.read:,} of them read")
    for name, (low, middle, high) in facts.ranges().items():
        table.add_row(name, f"{low} to {high} (median {middle})")
    for name, text in facts.rows:
        table.add_row(name, text)
    table.add_row("broken", str(len(facts.broken)))
    console.print(table)
    for line in facts.lines:
        console.print(line, markup=False, highlight=False)
    for message in facts.broken[:LISTED]:
        console.print(f"broken: {message}", style="red", markup=False, soft_wrap=True)
    for name in facts.all_void[:LISTED]:
        console.print(f"entirely void: {name}", style="yellow", markup=False, soft_wrap=True)
