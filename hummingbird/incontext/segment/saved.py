"""A prompt that `Prompt.save` or the page wrote, in place of annotated images: nothing is encoded again."""

from __future__ import annotations

import dataclasses
import os
from typing import cast

import numpy as np

from hummingbird.config import to_flat
from hummingbird.config.prompt import PromptSettings, Search
from hummingbird.config.schema import Tree, resolve
from hummingbird.config.segment import PromptFiles, SegmentConfig
from hummingbird.data.annotations import Classes
from hummingbird.data.annotations.painted import content_digest
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.incontext import files
from hummingbird.incontext.prompt import Prompt
from hummingbird.incontext.segment.pictures import ClassWriter, Writer
from hummingbird.incontext.segment.prompting import depth_writer, identify
from hummingbird.run.files import Json

SUFFIX = ".npz"
TASKS = ("segmentation", "depth")
FREE = (*Search.__annotations__, "batch_size")  # settings that may differ from those of the file


def is_saved(prompt: str) -> bool:
    """Returns whether --prompt names a saved prompt, and not annotated images."""
    return prompt.lower().endswith(SUFFIX) and not os.path.isdir(prompt)


def resolve_config(prompt: str, overrides: list[tuple[str, str]]) -> SegmentConfig:
    """Builds the config of the command; the settings of a saved prompt replace the defaults.

    Args:
      prompt: annotated images, or a saved prompt.
      overrides: pairs of key and text, as typed.

    Raises:
      UserError: a setting that is wrong, or a file that is not a prompt or holds values that cannot be written.
    """
    return resolve(SegmentConfig, _settings(prompt) if is_saved(prompt) else {}, overrides)


def _settings(path: str) -> Tree:
    stored = files.read(path)
    if stored.task not in TASKS:
        raise UserError(f"--prompt={path} holds labels of task={stored.task}; segment writes {' and '.join(TASKS)}")
    if not stored.images:
        raise UserError(f"--prompt={path} holds no annotated image; add one, and save it again")
    return {**cast(Tree, stored.options), "task": stored.task}


class Saved:
    """A saved prompt.

    Args:
      path: of the file.
      config: all settings.

    Raises:
      UserError: not a prompt, or a setting contradicts the file.
    """

    labels: frozenset[str] = frozenset()  # paths of masks, which are not to be segmented

    def __init__(self, path: str, config: SegmentConfig):
        self._path, self._config = path, config
        for key, value in _settings(path).items():
            if key not in FREE and getattr(config, key) != value:
                raise UserError(f"config key {key}: {path} was made with {value}; leave {key} out")
        defaults, chosen = to_flat(PromptFiles()), to_flat(config.prompt)
        if different := [key for key in defaults if chosen[key] != defaults[key]]:
            raise UserError(f"config key prompt.{different[0]} is for annotation files, and {path} is a saved prompt")

    def build_prompt(self, encoder: Encoder) -> Prompt:
        """Reads the prompt. Raises UserError: it was made with another encoder, or has fewer than two classes."""
        made = Prompt.load(self._path, encoder)
        free = {key: getattr(self._config, key) for key in FREE}
        made.settings = resolve(PromptSettings, {**dataclasses.asdict(made.settings), **free})
        if made.kind.name == "segmentation" and len(made.classes) < 2:
            (name,) = made.classes.values()
            raise UserError(f"--prompt={self._path}: all annotated pixels are {name}; annotate a second class")
        return made

    def identify(self, encoder: Encoder) -> dict[str, Json]:
        """Returns all that decides the results. Raises UserError as `build_prompt` does."""
        made = self.build_prompt(encoder)
        segments = [made[id] for id in made]
        digests = {x.id: content_digest(x.encoded.image, x.label) for x in segments}
        return {
            **identify(encoder, digests, made.classes or None, self._config),
            "palette": {str(number): list(colour) for number, colour in made.palette.items()},
        }

    def build_writer(self, prompt: Prompt) -> Writer:
        """Returns what turns predictions into files: classes have the colours of `Prompt.paint`."""
        if prompt.kind.name == "depth":
            return depth_writer(prompt, self._config)
        named = sorted(prompt.classes.items())
        ids, names = tuple(number for number, _ in named), tuple(name for _, name in named)
        colours = prompt.paint(np.array([ids]))[0]
        return ClassWriter(Classes(ids, names, colours, prompt.settings.void), self._config.output)
