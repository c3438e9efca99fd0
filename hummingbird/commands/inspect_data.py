"""`hummingbird data CONFIG`: what a config would read, checked on a sample, with pictures to look at."""

from __future__ import annotations

import concurrent.futures
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rich.console
import rich.progress
import rich.table
from PIL import Image

from hummingbird import config as settings
from hummingbird.config import EvaluateConfig, PretrainConfig
from hummingbird.data import augment, crops
from hummingbird.data.image_files import decode_image
from hummingbird.data.interface import DenseSource, ImageItem, ImageSource, Unreadable, image_name
from hummingbird.data.sources import build_dense_source, build_image_source
from hummingbird.drawing import Picture, Tile, sheet
from hummingbird.errors import UserError
from hummingbird.retrieval.examples import prepare_prompt
from hummingbird.retrieval.protocol import EvalProtocol, build_protocol
from hummingbird.tasks import Task, build_task

SAMPLE = 200  # items that are read unless all are asked for
SHOWN = 8  # items in a picture, and in a row of one
SIDE = 224  # of a tile, pixels
console = rich.console.Console()


def run(path: str, overrides: Sequence[tuple[str, str]] = (), out: str = "", check_all: bool = False) -> int:
    """The command: `describe` of a config file; pictures go to `out`, by default runs/data/NAME.

    Returns:
      Exit status: 0, or 2 if something is broken.
    """
    config = _resolve(path, overrides)
    found = describe(config, out or os.path.join("runs", "data", config.data.name.replace("/", "-")), check_all)
    return 2 if any(facts["broken"] for facts in found.values()) else 0


def _resolve(path: str, overrides: Sequence[tuple[str, str]]) -> PretrainConfig | EvaluateConfig:
    """The file as the kind of config whose keys it has; where it could be either, as its folder is called."""
    kinds = ("pretrain", "evaluate") if "pretrain" in Path(path).parts else ("evaluate", "pretrain")
    try:
        return settings.resolve(kinds[0], path, overrides)
    except UserError as error:
        try:
            return settings.resolve(kinds[1], path, overrides)
        except UserError:
            raise error from None


def describe(config: PretrainConfig | EvaluateConfig, out: str | os.PathLike[str], all: bool = False) -> dict[str, Any]:
    """Reads a sample (or all) of what a config names, prints what it found, and writes data.json and pictures.

    Args:
      config: a resolved pretraining or evaluation config.
      out: folder for data.json, contact.png (images, labels), and views.png (the two views, Table 8) or augmented.png
        (prompts as the protocol augments them, if it does); made if missing.
      all: read every item instead of `SAMPLE` evenly spaced ones.

    Returns:
      What data.json holds: for each split the number of images, how many were read, their sizes, classes or depths,
      void share, and "broken": what could not be read, in one line each.

    Raises:
      UserError: the data set is not there, or not laid out as expected; `out` cannot be written.
    """
    if isinstance(config, PretrainConfig):
        source = build_image_source(config)
        found = {"pretrain": _check_images(source, config.data.lenient, all)}
        pictures = {"contact.png": contact(found["pretrain"].pop("shown"))}
        pictures["views.png"] = _views(source, config)
    else:
        splits = {split: build_dense_source(config, split) for split in ("prompt", "query")}
        prompt = splits["prompt"]
        task = build_task(prompt, config)
        found = {split: _check_dense(split, source, task, all) for split, source in splits.items()}
        shown = [item for split in found for item in found[split].pop("shown")]
        pictures = {"contact.png": contact(shown, task)}
        protocol = build_protocol(config, task, patch_size=1)
        numbers = [item["index"] for item in shown if item["split"] == "prompt"]
        if protocol.augmentation_epochs and numbers:
            pictures["augmented.png"] = _augmented(prompt, numbers, task, protocol)
    for split, facts in found.items():
        _print(split, facts)
    _write(Path(out), found, pictures)
    return found


def _write(folder: Path, found: dict[str, Any], pictures: dict[str, np.ndarray]) -> None:
    """data.json and the pictures; those of another config that lie there are removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("views.png", "augmented.png"):
            (folder / name).unlink(missing_ok=True)
        for name, picture in pictures.items():
            Image.fromarray(picture).save(folder / name)
        (folder / "data.json").write_text(json.dumps(found, indent=1))
    except OSError as error:
        raise UserError(f"--out={folder}: cannot be written ({error.strerror}); choose another folder") from error
    console.print(f"pictures: {', '.join(str(folder / name) for name in pictures)}")


# ---------------------------------------------------------------- reading
def _chosen(length: int, all: bool) -> list[int]:
    return (
        list(range(length)) if all else np.unique(np.linspace(0, length - 1, min(SAMPLE, length)).astype(int)).tolist()
    )


def _read(numbers: Sequence[int], read: Any, title: str) -> Iterable[tuple[int, Any]]:
    """(number, item or the Unreadable that came instead), read on threads behind a progress bar."""

    def one(number: int) -> Any:
        try:
            return read(number)
        except Unreadable as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # in slices: an executor would read everything ahead of a slow consumer, and hold it
        for start in rich.progress.track(range(0, len(numbers), 32), title, console=console, transient=True):
            part = numbers[start : start + 32]
            yield from zip(part, pool.map(one, part), strict=True)


def _sizes(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if not sizes:
        return {}
    heights, widths = zip(*sizes, strict=True)
    return {
        "height": [min(heights), int(np.median(heights)), max(heights)],
        "width": [min(widths), int(np.median(widths)), max(widths)],
    }


def _check_dense(split: str, source: DenseSource, task: Task, all: bool) -> dict[str, Any]:
    numbers = _chosen(len(source), all)
    broken, sizes, shown, all_void = [], [], [], []
    census, void, total = task.census(), 0, 0
    wanted = set(numbers[:: max(1, len(numbers) // SHOWN)])
    for number, item in _read(numbers, source.__getitem__, f"reading {split}"):
        if isinstance(item, Unreadable):
            broken.append(str(item))
            continue
        label = item["label"]
        sizes.append(label.shape[:2])
        total += label.shape[0] * label.shape[1]
        annotated = task.annotated(label)
        void += int((~annotated).sum())
        if not annotated.any():
            all_void.append(item["name"])
        census.add(label)
        if number in wanted and len(shown) < SHOWN:
            shown.append({**item, "index": number, "split": split})
    return {
        "task": task.kind,
        "images": len(source),
        "read": len(numbers),
        **_sizes(sizes),
        "void_share": void / max(1, total),
        "all_void": all_void,
        "broken": broken,
        "fingerprint": source.fingerprint,
        "shown": shown,
        **census.facts(),
    }


def _check_images(source: ImageSource, lenient: bool, all: bool) -> dict[str, Any]:
    numbers = _chosen(len(source), all)
    broken, sizes, labels, shown = [], [], [], []
    wanted = set(numbers[:: max(1, len(numbers) // SHOWN)])

    def read(number: int) -> ImageItem:
        item = source[number]
        if isinstance(item["image"], bytes):
            image = decode_image(item["image"], image_name(source, number), lenient)
            return {"image": image, "label": item["label"]}
        return item

    for number, item in _read(numbers, read, "reading images"):
        if isinstance(item, Unreadable):
            broken.append(str(item))
            continue
        sizes.append(item["image"].shape[:2])
        labels.append(item["label"])
        if number in wanted and len(shown) < SHOWN:
            shown.append(item)
    return {
        "task": "pretrain",
        "images": len(source),
        "read": len(numbers),
        **_sizes(sizes),
        "labelled_share": float(np.mean(np.array(labels) >= 0)) if labels else 0.0,
        "classes_named": len(getattr(source, "classes", [])),
        "broken": broken,
        "fingerprint": source.fingerprint,
        "shown": shown,
    }


# ---------------------------------------------------------------- pictures
def _views(source: ImageSource, config: PretrainConfig) -> np.ndarray:
    """Eight images' two views as the network sees them."""
    views: list[np.ndarray] = []
    for number in range(len(source)):
        try:
            item = source[number * max(1, len(source) // SHOWN) % len(source)]
            rng = np.random.default_rng([config.seed, number])
            area, aspect = config.augment.crop_area, config.augment.crop_aspect
            views.append(
                crops.crop_views(rng, item["image"], config.input_size, area, aspect, lenient=config.data.lenient)
            )
        except Unreadable:
            continue
        if len(views) == SHOWN:
            break
    if not views:
        return sheet([], config.input_size)
    table = augment.build_photometric(config)
    seen = augment.photometric(jax.random.key(config.seed), jax.numpy.asarray(np.stack(views)), table)
    pictures = np.round(np.asarray(seen) * 255).astype(np.uint8)
    return sheet([[Tile(picture) for picture in row] for row in pictures.swapaxes(0, 1)], config.input_size)


def contact(items: Sequence[dict[str, Any]], task: Task | None = None) -> Picture:
    """Draws items of a source with their names, eight in a row; their labels below them, if they are of a task."""
    rows: list[list[Tile]] = []
    for start in range(0, len(items), SHOWN):
        part = items[start : start + SHOWN]
        rows.append([Tile(item["image"], item.get("name", "")) for item in part])
        if task is not None:
            rows.append([Tile(task.paint(item["label"])) for item in part])
    return sheet(rows, SIDE)


def _augmented(source: DenseSource, numbers: Sequence[int], task: Task, protocol: EvalProtocol) -> np.ndarray:
    """Prompt images in their first augmented pass, each above its mask and above both laid over one another."""
    columns = []
    for number in numbers:
        example = prepare_prompt(source, number, 0, task, protocol)
        painted = task.paint(example.label)
        over = np.round(0.5 * example.image + 0.5 * painted).astype(np.uint8)
        columns.append([Tile(example.image), Tile(painted), Tile(over, example.name)])
    return sheet(list(zip(*columns, strict=True)), SIDE)


# ---------------------------------------------------------------- printing
def _print(split: str, facts: dict[str, Any]) -> None:
    table = rich.table.Table("", split, title=facts["fingerprint"], title_justify="left")
    table.add_row("images", f"{facts['images']:,}, {facts['read']:,} of them read")
    if "height" in facts:
        table.add_row("height, width", "{} to {} (median {})".format(*(facts["height"][i] for i in (0, 2, 1))))
        table.add_row("", "{} to {} (median {})".format(*(facts["width"][i] for i in (0, 2, 1))))
    if "void_share" in facts:
        table.add_row("void", f"{facts['void_share']:.1%} of pixels; {len(facts['all_void'])} images have no other")
    if "depth_metres" in facts:
        table.add_row(
            "depth", "{:.2f} to {:.2f} m (median {:.2f})".format(*(facts["depth_metres"][i] for i in (0, 2, 1)))
        )
    if "labelled_share" in facts:
        table.add_row("labels", f"{facts['labelled_share']:.0%} of images, {facts['classes_named']} classes")
    table.add_row("broken", str(len(facts["broken"])))
    console.print(table)
    if "classes" in facts:
        present = [(entry["pixel_share"], name, entry["images"]) for name, entry in facts["classes"].items()]
        classes = rich.table.Table("class", "share of pixels", "images", title=f"{split}: {len(present)} classes")
        for share, name, images in sorted(present, key=lambda row: -row[0])[:30]:
            if images:
                classes.add_row(name, f"{share:.2%}  {'#' * round(40 * share)}", str(images))
        absent = [name for _, name, images in present if not images]
        console.print(classes)
        if absent:
            console.print(f"not seen in what was read: {', '.join(absent[:30])}{' ...' if len(absent) > 30 else ''}")
    for message in facts["broken"][:50]:
        console.print(f"broken: {message}", style="red", markup=False, soft_wrap=True)
    for name in facts.get("all_void", [])[:10]:
        console.print(f"all void: {name}", style="yellow", markup=False, soft_wrap=True)
