"""Before the first image: the annotated images become a prompt, and all that decides the results gets an identity."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Integer, Shaped

from hummingbird.config import to_flat
from hummingbird.config.prompt import PromptSettings
from hummingbird.config.segment import SegmentConfig
from hummingbird.data.annotations import Annotations, Classes
from hummingbird.data.annotations.painted import content_digest
from hummingbird.data.interface import DenseItem
from hummingbird.data.label_files import IGNORE
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.incontext.prompt import Prompt
from hummingbird.incontext.segment.batches import batches
from hummingbird.incontext.segment.pictures import ClassWriter, DepthWriter, Writer
from hummingbird.incontext.segment.progress import show_progress
from hummingbird.run.files import Json

log = logging.getLogger(__name__)

UNRELATED = ("progress", "batch_size")  # settings that do not affect the results


def read_items(annotations: Annotations, prompt: str) -> list[DenseItem]:
    """Reads the annotated images; those without an annotated pixel are left out with a warning.

    Raises:
      UserError: an image or a label that cannot be read, or no annotated pixel at all.
    """
    items = [annotations.source[index] for index in range(len(annotations.source))]
    kept = [item for item in items if (item["label"] != (IGNORE if annotations.classes else 0)).any()]
    if not kept:
        raise UserError(f"--prompt={prompt}: no pixel is annotated in any of its {len(items)} images")
    for item in items:
        if not any(item is other for other in kept):
            log.warning("--prompt=%s: no pixel of %s is annotated", prompt, item["name"])
    return kept


def identify(
    encoder: Encoder, annotations: Annotations, annotated: Sequence[DenseItem], config: SegmentConfig
) -> dict[str, Json]:
    """Returns all that decides the results."""
    name = getattr(encoder, "fingerprint", None) or getattr(encoder, "name", type(encoder).__name__)
    settings = {key: value for key, value in to_flat(config).items() if key not in UNRELATED}
    classes = annotations.classes
    return {
        "encoder": str(name),
        "prompt": {item["name"]: content_digest(item) for item in annotated},
        "classes": None if classes is None else dict(zip(map(str, classes.ids), classes.names, strict=True)),
        "settings": settings,
    }


def build_prompt(
    encoder: Encoder, annotations: Annotations, annotated: Sequence[DenseItem], config: SegmentConfig
) -> Prompt:
    """Encodes the annotated images."""
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(PromptSettings)}
    classes = annotations.classes
    names = None if classes is None else dict(zip(classes.ids, classes.names, strict=True))
    made = Prompt(encoder, names, config.task, **options)
    with show_progress("annotated images", len(annotated), "images", config.progress) as advance:
        for part in batches(annotated, config.batch_size):
            for item, encoded in zip(part, made.encode([item["image"] for item in part]), strict=True):
                label = item["label"] if classes is None else stored_ids(item["label"], classes)
                made.add(encoded, label, item["name"])
                advance()
    return made


def stored_ids(label: Shaped[np.ndarray, "H W"], classes: Classes) -> Integer[np.ndarray, "H W"]:
    """Translates class numbers to the ids that the user's masks store."""
    table = np.full(IGNORE + 1, classes.void, np.int32)
    table[: len(classes.ids)] = classes.ids
    return table[label]


def build_writer(annotations: Annotations, annotated: Sequence[DenseItem], config: SegmentConfig) -> Writer:
    """Returns what turns predictions into files."""
    if annotations.classes is not None:
        return ClassWriter(annotations.classes, config.output)
    values: Float32[np.ndarray, " n"] = np.concatenate([item["label"][item["label"] > 0] for item in annotated])
    low, high = np.percentile(values, (0.5, 99.5))
    return DepthWriter(float(low), float(high), config.output)
