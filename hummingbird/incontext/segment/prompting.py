"""Before the first image: the annotated images become a prompt, and all that decides the results gets an identity."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer, Shaped

from hummingbird.config import to_flat
from hummingbird.config.prompt import PromptSettings
from hummingbird.config.segment import SegmentConfig
from hummingbird.data.annotations import Annotations, Classes, read_annotations
from hummingbird.data.annotations.painted import content_digest
from hummingbird.data.interface import DenseItem
from hummingbird.data.label_files import IGNORE
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.incontext.encoded import identity
from hummingbird.incontext.prompt import Prompt
from hummingbird.incontext.segment.batches import batches
from hummingbird.incontext.segment.pictures import ClassWriter, DepthWriter, Writer
from hummingbird.incontext.segment.reading import read_picture
from hummingbird.run.files import Json
from hummingbird.run.progress import show_progress

log = logging.getLogger(__name__)

UNRELATED = ("progress", "batch_size")  # settings that do not affect the results


class Annotated:
    """Annotated images, which become a prompt.

    Args:
      path: of the images, as in `hummingbird.data.annotations.read_annotations`.
      config: all settings.

    Attributes:
      labels: paths of masks and depth maps, which are not to be segmented.

    Raises:
      UserError: the annotations cannot be read or used.
    """

    def __init__(self, path: str, config: SegmentConfig):
        decode = functools.partial(read_picture, value_range=config.value_range)
        found = read_annotations(path, config.prompt, config.task, config.void, decode)
        self.labels, self._classes, self._config = found.labels, found.classes, config
        self._items = read_items(found, path)

    @property
    def _names(self) -> dict[int, str] | None:
        return None if self._classes is None else dict(zip(self._classes.ids, self._classes.names, strict=True))

    def identify(self, encoder: Encoder) -> dict[str, Json]:
        """Returns all that decides the results."""
        digests = {item["name"]: content_digest(item["image"], item["label"]) for item in self._items}
        return identify(encoder, digests, self._names, self._config)

    def build_prompt(self, encoder: Encoder) -> Prompt:
        """Encodes the images."""
        config, classes, items = self._config, self._classes, self._items
        options = {field.name: getattr(config, field.name) for field in dataclasses.fields(PromptSettings)}
        made = Prompt(encoder, self._names, config.task, **options)
        with show_progress("annotated images", len(items), "images", config.progress) as advance:
            for part in batches(items, config.batch_size):
                for item, encoded in zip(part, made.encode([item["image"] for item in part]), strict=True):
                    label = item["label"] if classes is None else stored_ids(item["label"], classes)
                    made.add(encoded, label, item["name"])
                    advance()
        return made

    def build_writer(self, prompt: Prompt) -> Writer:
        """Returns what turns predictions of the prompt into files."""
        if self._classes is not None:
            return ClassWriter(self._classes, self._config.output)
        return depth_writer(prompt, self._config)


def identify(
    encoder: Encoder, digests: Mapping[str, str], names: Mapping[int, str] | None, config: SegmentConfig
) -> dict[str, Json]:
    """Returns all that decides the results.

    Args:
      encoder: of the prompt.
      digests: of the annotated images, by their names.
      names: of the classes, by id; None for depth.
      config: all settings.
    """
    return {
        "encoder": identity(encoder),
        "prompt": dict(digests),
        "classes": None if names is None else {str(number): name for number, name in names.items()},
        "settings": {key: value for key, value in to_flat(config).items() if key not in UNRELATED},
    }


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


def stored_ids(label: Shaped[np.ndarray, "H W"], classes: Classes) -> Integer[np.ndarray, "H W"]:
    """Translates class numbers to the ids that the user's masks store."""
    table = np.full(IGNORE + 1, classes.void, np.int32)
    table[: len(classes.ids)] = classes.ids
    return table[label]


def depth_writer(prompt: Prompt, config: SegmentConfig) -> DepthWriter:
    """Returns what writes depth, in the colours of the range that is annotated."""
    labels = [prompt[id].label for id in prompt]
    low, high = np.percentile(np.concatenate([label[label > 0] for label in labels]), (0.5, 99.5))
    return DepthWriter(float(low), float(high), config.output)
