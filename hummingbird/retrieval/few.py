"""Scores with small parts of the prompt: Sec. 4.2, Tables 2, 9 and 10, the retrieval curves of Figure 3.

Every image is encoded once. The patches of an image are chosen in one fixed order (Eq. 5 with its own random numbers),
and each part of the prompt takes the first so many of them: what |M| / (|D| * epochs) leaves for its number of images.
So the bank of each part is a selection of rows of one large bank, the same that an evaluation of that part would build.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.figure
import numpy as np

from hummingbird.retrieval.encode import Clock, Encoder, Example, in_order, prepare_query, subset
from hummingbird.retrieval.memory import MemoryBank, features_per_image
from hummingbird.retrieval.prompt import build_bank, make_index
from hummingbird.retrieval.protocol import Protocol, build_protocol
from hummingbird.retrieval.query import QueryBatch, answer, query_batches, query_images

HEADLINE = {"segmentation": "miou", "depth": "rmse"}
UNITS = {"segmentation": "mIoU", "depth": "RMSE (m)"}


@dataclasses.dataclass(frozen=True)
class Part:
    """One random part of the prompt: its images, ascending, and the patches kept of each in each pass."""

    fraction: float
    number: int
    images: Sequence[int]
    patches: int


def measure_fractions(encoder: Encoder, config: Any, prompt: Any, query: Any) -> list[dict[str, Any]]:
    """Scores `data.subsets` random parts of the prompt for each of `data.fractions`.

    Part number i of a fraction is drawn with seed + i, so number 0 is what `data.fraction` alone would use. The whole
    prompt has only one part.

    Returns:
      [{"fraction", "images", "metric", "mean", "std", "values"}], in the order of the config; std is over the parts.
    """
    protocol = build_protocol(config, prompt.task, encoder.patch_size)
    parts = choose_parts(len(prompt), config.data.fractions, config.data.subsets, protocol)
    quota: dict[int, int] = {}
    for part in parts:
        for image in part.images:
            quota[image] = max(quota.get(image, 0), part.patches)
    clock, notes = Clock(), []
    everything = build_bank(encoder, prompt, protocol, config, clock, quota=dict(sorted(quota.items())))
    metric, values = HEADLINE[protocol.task], {}
    with tempfile.TemporaryFile() as file:
        features = store_queries(file, query_batches(encoder, query, protocol, config, clock), len(query), protocol)
        for part in parts:
            bank = everything.take(rows_of(everything, part, max(protocol.augmentation_epochs, 1)))
            index = make_index(bank, protocol, config, clock, notes)
            batches = stored_queries(features, query, protocol, config.batch_size)
            scores, _ = answer(batches, query, bank, index, protocol, config, clock)
            values.setdefault(part.fraction, []).append((scores[metric], len(part.images)))
    return [
        {
            "fraction": fraction,
            "images": found[0][1],
            "metric": metric,
            "mean": float(np.mean([score for score, _ in found])),
            "std": float(np.std([score for score, _ in found])),
            "values": [score for score, _ in found],
        }
        for fraction, found in values.items()
    ]


def choose_parts(length: int, fractions: Sequence[float], subsets: int, protocol: Protocol) -> list[Part]:
    """The random parts of a prompt of `length` images."""
    parts = []
    for fraction in fractions:
        for number in range(subsets if fraction < 1 else 1):
            images = subset(length, fraction, protocol.max_images, protocol.seed + number)
            patches = features_per_image(
                protocol.memory_length,
                len(images),
                max(protocol.augmentation_epochs, 1),
                protocol.grid**2,
                protocol.sampling,
            )
            parts.append(Part(fraction, number, images, patches))
    return parts


def rows_of(bank: MemoryBank, part: Part, passes: int) -> np.ndarray:
    """Rows of the large bank that the bank of a part consists of, in the order in which it would be built."""
    # Entries of one image and pass lie together, best first.
    code = bank.image.astype(np.int64) * passes + bank.epoch
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    lengths = np.diff(np.append(starts, len(code)))
    wanted = np.isin(bank.image[starts], np.asarray(part.images))
    starts, counts = starts[wanted], np.minimum(lengths[wanted], part.patches)
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def store_queries(file: Any, batches: Iterator[QueryBatch], length: int, protocol: Protocol) -> np.ndarray:
    """Features of all query images in a file, memory-mapped: float32 [images, h*w, D]."""
    dim = 0
    for _, features in batches:
        dim = features.shape[-1]
        file.write(np.ascontiguousarray(features, np.float32).data)
    file.flush()
    shape = (len(query_images(length, protocol)), protocol.grid**2, dim)
    return np.memmap(file, np.float32, "r", shape=shape)


def stored_queries(features: np.ndarray, source: Any, protocol: Protocol, batch_size: int) -> Iterator[QueryBatch]:
    """The batches of `query_batches` again, with stored features."""

    def prepare(number: int) -> Example:
        return prepare_query(source, number, protocol.input_size, protocol.metric_resolution, protocol.preparation)

    examples = in_order(prepare, query_images(len(source), protocol))
    for start in range(0, len(features), batch_size):
        part = features[start : start + batch_size]
        yield [example for _, example in zip(range(len(part)), examples, strict=False)], part


def write_table(folder: pathlib.Path, result: dict[str, Any]) -> None:
    """Writes fractions.md (a table), fractions.json and fractions.png (the curve) of `measure_fractions`."""
    rows, unit = result["fractions"], UNITS[result["task"]]
    digits = 1 if result["task"] == "segmentation" else 3
    lines = [f"| part of the prompt | images | {unit} | deviation | parts |", "|---|---|---|---|---|"]
    for row in rows:
        name = f"1/{1 / row['fraction']:g}"
        values = f"{row['mean']:.{digits}f} | {row['std']:.{digits}f} | {len(row['values'])}"
        lines.append(f"| {name} | {row['images']} | {values} |")
    (folder / "fractions.md").write_text("\n".join(lines) + "\n")
    (folder / "fractions.json").write_text(json.dumps(rows, indent=2) + "\n")
    figure = matplotlib.figure.Figure((5, 3.4), layout="constrained")
    axes = figure.subplots()
    images, means, deviations = ([row[key] for row in rows] for key in ("images", "mean", "std"))
    axes.errorbar(images, means, yerr=deviations, marker="o")
    axes.set(
        xscale="log", xlabel="prompt images", ylabel=unit, title=f"{result['dataset']}, {result['encoder']['name']}"
    )
    axes.grid(alpha=0.3)
    figure.savefig(folder / "fractions.png", dpi=150)
