"""The growing prompt: add a few annotated images, and all others are labelled by retrieval (Eq. 1).

    prompt = Prompt(encoder, classes=None, task="segmentation", input_size=512, neighbours=30, temperature=0.02, ...)
    encoded = prompt.encode(image)                    # features, to be used as often as needed; or a list of images
    name = prompt.add(image | encoded, label, id=None)           # -> id
    prompt.relabel(name, label)                                  # never encodes
    prompt.remove(name)
    labels, confidence = prompt.predict(image | encoded)         # or a list: two lists; confidence.share, .similarity
    for labels, confidence in prompt.stream(images): ...         # any number of images, a batch in memory
    neighbours = prompt.explain(image | encoded, y, x)           # id, box, weight, similarity, label
    picture = prompt.paint(labels)                               # prompt.palette: colours of your own
    prompt.save("prompt.npz"); prompt = Prompt.load("prompt.npz", encoder)
    len(prompt), list(prompt), name in prompt, prompt[name].encoded.image, prompt[name].label, prompt.classes

`hummingbird.config.prompt` lists all settings; `predict` and `stream` take `neighbours=`, `temperature=` and `refine=`
for one call, `explain` the first two. Images are whatever `hummingbird.incontext.images.to_rgb` accepts. Labels have
the size of their image: class ids and `void` elsewhere (a few strokes are enough), or values. One thread may write
while any number of threads read: each call answers from the prompt as it was when the call began.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar, cast, overload

import numpy as np
from jaxtyping import Shaped
from numpy.typing import ArrayLike
from typing_extensions import Unpack

from hummingbird.config.prompt import Options, PromptSettings, Search
from hummingbird.config.schema import Tree, resolve
from hummingbird.encoder import Encoder, load_encoder
from hummingbird.errors import UserError
from hummingbird.incontext import files, votes
from hummingbird.incontext.answers import Neighbour, Prediction, Predictions
from hummingbird.incontext.encoded import Encoded, View, encode_all, encode_bands, identity
from hummingbird.incontext.finder import Finder
from hummingbird.incontext.images import Pixels, to_rgb
from hummingbird.incontext.labels import ClassNames, build_kind, local_labels, paint_labels
from hummingbird.incontext.snapshot import Numbering, Segment, Snapshot
from hummingbird.retrieval.threads import cpu_count, in_order
from hummingbird.tasks.drawing import Picture

T = TypeVar("T")
Many: TypeAlias = list[T] | tuple[T, ...]
Given: TypeAlias = Pixels | Encoded
SPARSE = 4  # patches that a prompt has held, in those that it holds, before they are numbered again


class Prompt:
    """Annotated images that label others.

    Args:
      encoder: gives the features; or what `hummingbird.load_encoder` loads.
      classes: names by class id, as a list or {id: name}; None: whatever ids the labels hold.
      task: "segmentation" (class ids), "depth" (metres), "regression" (values of any number of channels) or "normals".
      **options: fields of `hummingbird.config.prompt.PromptSettings`, which says what they mean.

    Attributes:
      encoder, settings: as given, complete.
      palette: colours by class id, RGB 0-255, of classes that have one of their own; `save` keeps them.

    Raises:
      UserError: a setting out of range, a class named twice, or no encoder at the path.

    Example:
      >>> prompt = Prompt("rgb:8", classes=["sky", "grass"], input_size=16)
      >>> image = np.zeros((16, 16, 3), np.uint8)
      >>> image[:8, :, 2], image[8:, :, 1] = 255, 255
      >>> strokes = np.full((16, 16), 255)
      >>> strokes[1, 2:9], strokes[12, 4:] = 0, 1
      >>> prompt.add(image, strokes)
      '1'
      >>> labels, confidence = prompt.predict(image[::-1])
      >>> labels[0, 0].item(), labels[-1, 0].item()
      (1, 0)
    """

    def __init__(
        self,
        encoder: Encoder | str,
        classes: ClassNames = None,
        task: str = "segmentation",
        **options: Unpack[Options],
    ):
        self.encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
        self.settings = resolve(PromptSettings, cast(Tree, options))
        patch = self.encoder.patch_size
        side = max(1, round(self.settings.input_size / patch)) * patch
        self.view = View(patch, side, self.settings.resize, self.settings.scale)
        self._fingerprint = f"{identity(self.encoder)} patch={patch}"
        self.kind = build_kind(task, classes, self.settings.void)
        self.palette: dict[int, tuple[int, int, int]] = {}
        self._writing = threading.Lock()
        self._names = itertools.count(1)
        self._numbering = Numbering()
        self._now = Snapshot((), self.kind.task(()), self._numbering)
        self._finder = Finder()

    # ---------------------------------------------------------------- what is in it
    def __len__(self) -> int:
        """Number of annotated images."""
        return len(self._now.segments)

    def __iter__(self) -> Iterator[str]:
        """Ids of the annotated images, in the order in which they were added."""
        return iter([segment.id for segment in self._now.segments])

    def __contains__(self, id: object) -> bool:
        return any(segment.id == id for segment in self._now.segments)

    def __getitem__(self, id: str) -> Segment:
        """Returns an annotated image: `.encoded.image`, `.label`."""
        return self._now.segments[self._find(self._now, id)]

    def __repr__(self) -> str:
        now, name = self._now, getattr(self.encoder, "name", type(self.encoder).__name__)
        named = f"{len(self.classes)} classes" if self.classes else self.kind.name
        return f"Prompt({name}, {named}, {len(now.segments)} images, {len(now):,} keys)"

    @property
    def classes(self) -> dict[int, str]:
        """Class names by id; empty without classes. Where none were given, the ids that the labels hold."""
        return dict(self.kind.classes) or self.annotated

    @property
    def annotated(self) -> dict[int, str]:
        """The classes that have annotated pixels."""
        ids = self.kind.from_task(np.array(self._now.classes, np.int32)).tolist()
        return {i: str(self.kind.classes.get(i, i)) for i in ids}

    # ---------------------------------------------------------------- writers
    def add(self, image: Given, label: ArrayLike, id: str | None = None) -> str:
        """Adds an annotated image; costs its encoding and no more.

        Args:
          image: as in `to_rgb`, or what `encode` returned.
          label: [H, W] class ids, `void` (or negative) elsewhere; or values [H, W] or [H, W, C], NaN (for depth also 0)
            elsewhere.
          id: names the image; None: a number that no other image had.

        Returns:
          The id.

        Raises:
          UserError: a taken id, a label that does not fit, or an image or features that cannot be used. The prompt then
            is as before.
        """
        encoded = self._encoded([image])[0]
        segment = self._segment("" if id is None else id, encoded, label)
        with self._writing:
            if id is None:
                id = next(name for name in map(str, self._names) if name not in self)
                segment = dataclasses.replace(segment, id=id)
            elif id in self:
                raise UserError(f"id: {id!r} is taken; relabel or remove that image, or choose another id")
            self._set((*self._now.segments, self._numbering.take(segment)))
        return id

    def relabel(self, id: str, label: ArrayLike) -> None:
        """Replaces the label of an annotated image, without encoding it.

        Raises:
          UserError: an unknown id, or a label that does not fit. The prompt then is as before.
        """
        with self._writing:
            place = self._find(self._now, id)
            before = self._now.segments[place]
            segment = dataclasses.replace(self._segment(id, before.encoded, label), first=before.first)
            self._set((*self._now.segments[:place], segment, *self._now.segments[place + 1 :]))

    def remove(self, id: str) -> None:
        """Removes an annotated image. Raises UserError for an unknown id."""
        with self._writing:
            place = self._find(self._now, id)
            self._set((*self._now.segments[:place], *self._now.segments[place + 1 :]))

    # ---------------------------------------------------------------- readers
    @overload
    def encode(self, images: Pixels) -> Encoded: ...
    @overload
    def encode(self, images: Many[Pixels]) -> list[Encoded]: ...
    def encode(self, images: Pixels | Many[Pixels]) -> Encoded | list[Encoded]:
        """Encodes an image, or each of a list; the result stands for the image in all other methods."""
        return self._encoded(images) if isinstance(images, list | tuple) else self._encoded([images])[0]

    @overload
    def predict(self, images: Given, **search: Unpack[Search]) -> Prediction: ...
    @overload
    def predict(self, images: Many[Given], **search: Unpack[Search]) -> Predictions: ...
    def predict(self, images: Given | Many[Given], **search: Unpack[Search]) -> Prediction | Predictions:
        """Labels an image, or each of a list.

        Args:
          images: as in `to_rgb`, or what `encode` returned.
          **search: `neighbours`, `temperature`, `refine` in place of the prompt's.

        Returns:
          (labels, confidence) at the image's own size; for several images, (list of labels, list of confidences).

        Raises:
          UserError: the prompt is empty, or an image cannot be used.
        """
        if not isinstance(images, list | tuple):
            return next(self.stream([images], **search))
        found = list(self.stream(images, **search))
        return Predictions([x.labels for x in found], [x.confidence for x in found])

    def stream(self, images: Iterable[Given], **search: Unpack[Search]) -> Iterator[Prediction]:
        """Labels any number of images, one batch in memory at a time; see `predict`."""
        chosen, now, waiting = self._chosen(search), self._filled(), iter(images)
        while batch := list(itertools.islice(waiting, self.settings.batch_size)):
            yield from in_order(lambda job: job(), self._jobs(now, batch, chosen), cpu_count())

    def explain(self, image: Given, y: int, x: int, **search: Unpack[Search]) -> list[Neighbour]:
        """Says which patches of the prompt decided the label of a pixel.

        The vote of a pixel is interpolated between those of up to four patches, each of which has k neighbours: the
        weighted labels of what is returned sum to exactly this vote.

        Args:
          image: as in `to_rgb`, or what `encode` returned.
          y, x: pixel, counted from the upper left.
          **search: `neighbours`, `temperature` in place of the prompt's.

        Returns:
          The neighbours, the one with the largest weight first.

        Raises:
          UserError: the prompt is empty, or the pixel lies outside of the image.
        """
        chosen, (encoded,) = self._chosen(search), self._encoded([image])
        return votes.explain(self._filled(), self.kind, encoded, y, x, chosen.neighbours, chosen.temperature)

    def paint(self, labels: Shaped[np.ndarray, "H W *C"]) -> Picture:
        """Paints labels or a prediction: classes in their colours, void hatched; values in a range of their own."""
        return paint_labels(labels, self._now.task, self.classes, self.palette, self.settings.void)

    # ---------------------------------------------------------------- files
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes everything but the encoder into one .npz file, atomically."""
        kind, held = self.kind, self._now.segments
        files.write(path, kind.name, kind.classes, self.palette, self.settings, self._fingerprint, held)

    @classmethod
    def load(cls, path: str | os.PathLike[str], encoder: Encoder | str) -> Prompt:
        """Reads a prompt that `save` wrote.

        Args:
          path: the file.
          encoder: the one that the prompt was made with; or what `hummingbird.load_encoder` loads.

        Raises:
          UserError: no such file, not a prompt, damaged, or made with another encoder.
        """
        stored = files.read(path)
        prompt = cls(encoder, stored.classes or None, stored.task, **stored.options)
        if prompt._fingerprint != stored.encoder:
            raise UserError(
                f"{os.fspath(path)}: the prompt was made with encoder {stored.encoder}, not {prompt._fingerprint}; "
                "load it with that encoder"
            )
        prompt.palette = stored.palette
        for annotated in stored.images:
            encoded = Encoded(annotated.image, annotated.features, prompt.view, prompt._fingerprint)
            if len(encoded.features) != math.prod(encoded.frame.cells.grid):
                raise UserError(f"{os.fspath(path)} is damaged: image {annotated.id} has another number of patches")
            prompt.add(encoded, annotated.label, annotated.id)
        return prompt

    # ---------------------------------------------------------------- inside
    def _set(self, segments: tuple[Segment, ...]) -> None:
        held = sum(len(segment.encoded.features) for segment in segments)
        if self._numbering.size > max(SPARSE * held, 2**20):  # most numbers are of images that are gone
            self._numbering = Numbering()
            segments = tuple(map(self._numbering.take, segments))
        task = self.kind.task(segment.channels for segment in segments)
        self._now = Snapshot(segments, task, self._numbering)

    def _jobs(
        self, now: Snapshot, images: Sequence[Given], chosen: PromptSettings
    ) -> Iterator[Callable[[], Prediction]]:
        """Encodes images, and yields what is left to do for each; only what the caller encoded is kept."""
        k, beta, refine = chosen.neighbours, chosen.temperature, chosen.refine != "none"

        def answer(encoded: Encoded, kept: bool) -> Prediction:
            search = self._finder.search
            nearest = self._finder.find(now, encoded, k) if kept else search(now, encoded.features, k)
            found, guide = votes.vote(now, nearest, k, beta), encoded.image if refine else None
            return votes.decide(now.task, self.kind, found, encoded.frame, guide)

        if self.view.resize == "none":
            for image in images:
                if isinstance(image, Encoded):
                    self._check(image)
                    yield functools.partial(answer, image, kept=True)
                    continue
                pixels = to_rgb(image, self.settings.value_range)
                bands = encode_bands(self.encoder, pixels, self.view, self.settings.batch_size)
                found = votes.join([votes.vote(now, self._finder.search(now, x.features, k), k, beta) for x in bands])
                frame, guide = self.view.frame(*pixels.shape[:2]), pixels if refine else None
                yield functools.partial(votes.decide, now.task, self.kind, found, frame, guide)
            return
        for encoded, image in zip(self._encoded(images), images, strict=True):
            yield functools.partial(answer, encoded, kept=encoded is image)

    def _find(self, now: Snapshot, id: str) -> int:
        ids = [segment.id for segment in now.segments]
        if id not in ids:
            raise UserError(f"id: {id!r} is not in the prompt; it holds {', '.join(ids[:10]) or 'no image'}")
        return ids.index(id)

    def _filled(self) -> Snapshot:
        now = self._now
        if not len(now):
            raise UserError("the prompt is empty: add an annotated image first")
        if len(now.classes) == 1:
            (name,) = self.annotated.values()
            text = "the prompt holds annotated pixels of one class only"
            warnings.warn(f"{text}, {name}: everything will be {name}", stacklevel=3)
        return now

    def _chosen(self, search: Search) -> PromptSettings:
        return resolve(PromptSettings, dataclasses.asdict(dataclasses.replace(self.settings, **search)))

    def _segment(self, id: str, encoded: Encoded, label: ArrayLike) -> Segment:
        frame = encoded.frame
        checked = self.kind.check(label, (frame.height, frame.width))
        rows, columns = local_labels(self.kind, checked, frame)
        return Segment(id, encoded, checked, rows, columns, self.kind.channels(checked))

    def _check(self, encoded: Encoded) -> None:
        if (encoded.view, encoded.encoder) != (self.view, self._fingerprint):
            raise UserError("the image was encoded with another encoder or other settings; encode it again")

    def _encoded(self, images: Sequence[Given]) -> list[Encoded]:
        fresh = [to_rgb(image, self.settings.value_range) for image in images if not isinstance(image, Encoded)]
        made = encode_all(self.encoder, fresh, self.view, self._fingerprint, self.settings.batch_size)
        found = [image if isinstance(image, Encoded) else next(made) for image in images]
        for encoded in found:
            self._check(encoded)
        return found
