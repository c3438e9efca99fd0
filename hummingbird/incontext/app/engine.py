"""What computes for a session: its prompt, and the features of its images, which are encoded once."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from hummingbird.data.label_files import IGNORE
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.incontext.answers import Box
from hummingbird.incontext.app.session import Picture
from hummingbird.incontext.app.store import SessionFolder
from hummingbird.incontext.encoded import Encoded
from hummingbird.incontext.images import Pixels
from hummingbird.incontext.prompt import Prompt

KEPT = 4  # sessions with features in memory
SIZES = 2  # at which an image is predicted again and again: in the overview and on the stage
MOST_FEATURES = 2**31  # bytes of features in memory for one session


@dataclasses.dataclass(frozen=True)
class Explained:
    """A patch of the prompt that took part in a decision.

    Attributes:
      image: id of its image.
      box: top, left, bottom, right in pixels of that image.
      weight: share of the decision, 0-1.
      similarity: cosine similarity to the patch in question.
      value: class value that most of its annotated pixels have.
    """

    image: str
    box: Box
    weight: float
    similarity: float
    value: int


@dataclasses.dataclass(frozen=True)
class Masks:
    """A prediction for the page.

    Attributes:
      labels: class values.
      share: of the votes that the class got, 0-255 for 0-1.
    """

    labels: UInt8[np.ndarray, "h w"]
    share: UInt8[np.ndarray, "h w"]


class Live:
    """The prompt of a session that follows its strokes; all methods may be called from any thread.

    Args:
      session: its folder.
      encoder: gives the features.
      input_size: side of the encoder's input, pixels.
    """

    def __init__(self, session: SessionFolder, encoder: Encoder, input_size: int):
        self.session = session
        self.prompt = Prompt(encoder, None, input_size=input_size, void=IGNORE)
        self._features: OrderedDict[str, Encoded] = OrderedDict()
        self._queries: dict[str, dict[tuple[int, int], Encoded]] = {}
        self._followed: dict[str, int] = {}  # revision of the labels that the prompt holds
        self._lock = threading.RLock()

    def follow(self) -> None:
        """Brings the prompt up to date: annotated images are encoded if they have not been, changed ones relabelled."""
        with self._lock:
            with self.session.lock:
                shown = {picture.id: picture.changed for picture in self.session.state.shown()}
            for id in set(self._followed) - set(shown):
                self._forget(id)
            for id, changed in shown.items():
                if self._followed.get(id) != changed:
                    self._relabel(id, self.session.labels(id))
                    self._followed[id] = changed

    def _relabel(self, id: str, labels: UInt8[np.ndarray, "H W"]) -> None:
        if (labels == IGNORE).all():
            if id in self.prompt:
                self.prompt.remove(id)
        elif id in self.prompt:
            self.prompt.relabel(id, labels)
        else:
            self.prompt.add(self.encoded(id), labels, id)

    def _forget(self, id: str) -> None:
        self._followed.pop(id)
        self._features.pop(id, None)
        self._queries.pop(id, None)
        if id in self.prompt:
            self.prompt.remove(id)

    def encoded(self, id: str) -> Encoded:
        """Returns an image with its features, of its size but without its pixels, which nothing here needs."""
        with self._lock:
            if id not in self._features:
                found = self.prompt.encode(self.session.pixels(id))
                self._features[id] = resized(found, *found.image.shape[:2])
                while len(self._features) > 1 and self.nbytes > MOST_FEATURES:
                    self._queries.pop(self._features.popitem(last=False)[0], None)
            self._features.move_to_end(id)
            return self._features[id]

    @property
    def nbytes(self) -> int:
        """Bytes of the features in memory."""
        return sum(encoded.features.nbytes for encoded in self._features.values())

    def annotated_values(self) -> list[int]:
        """Returns the class values that the prompt holds."""
        return sorted(self.prompt.classes)

    def has_features(self, id: str) -> bool:
        """Returns whether an image can be predicted without being encoded."""
        return id in self._features

    def predict(self, wanted: Sequence[tuple[str, int]]) -> list[Masks]:
        """Predicts images of the session.

        Args:
          wanted: (id, side) of each; its longer side is reduced to at most `side` pixels.

        Raises:
          UserError: the prompt is empty, or an image is gone.
        """
        return self._predict([(id, *_reduced(self.session.picture(id), side)) for id, side in wanted])

    def predict_full(self, id: str) -> UInt8[np.ndarray, "H W"]:
        """Predicts the class values of an image at the size of its file."""
        picture = self.session.picture(id)
        return self._predict([(id, picture.full_height, picture.full_width)])[0].labels

    def _predict(self, wanted: Sequence[tuple[str, int, int]]) -> list[Masks]:
        settings = self.session.state.settings
        queries: list[Pixels | Encoded] = [self.query(id, height, width) for id, height, width in wanted]
        stream = self.prompt.stream(queries, neighbours=settings.neighbours, temperature=settings.temperature)
        return [Masks(found.labels.astype(np.uint8), _bytes(found.confidence.share)) for found in stream]

    def query(self, id: str, height: int, width: int) -> Encoded:
        """Returns an image of a given size with its features.

        The same object each time: the prompt keeps the neighbours of what it has seen, and compares new keys only.
        """
        with self._lock:
            encoded, known = self.encoded(id), self._queries.setdefault(id, {})
            if (height, width) not in known:
                if len(known) >= SIZES:
                    known.pop(next(iter(known)))
                known[height, width] = resized(encoded, height, width)
            return known[height, width]

    def explain(self, id: str, y: int, x: int, most: int) -> list[Explained]:
        """Returns the patches of the prompt that decided the class of a pixel, at most `most`, the largest first.

        Raises:
          UserError: the prompt is empty, the image is gone or the pixel outside of it.
        """
        settings = self.session.state.settings
        k, beta = settings.neighbours, settings.temperature
        found = self.prompt.explain(self.encoded(id), y, x, neighbours=k, temperature=beta)[:most]
        main = [max(near.label.items(), key=lambda item: item[1])[0] for near in found]
        return [
            Explained(near.id, near.box, near.weight, near.similarity, value)
            for near, value in zip(found, main, strict=True)
        ]


def resized(encoded: Encoded, height: int, width: int) -> Encoded:
    """Returns the features of an image as those of a black one of another size; it takes no memory."""
    return dataclasses.replace(encoded, image=np.broadcast_to(np.uint8(0), (height, width, 3)))


def _bytes(share: Float32[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _reduced(picture: Picture, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(picture.height, picture.width))
    return max(1, round(picture.height * scale)), max(1, round(picture.width * scale))


class Engine:
    """The encoder, and the prompts of the sessions that were used last.

    Args:
      encoder: gives the features.
      input_size: side of its input, pixels.
    """

    def __init__(self, encoder: Encoder, input_size: int):
        self.encoder, self.input_size = encoder, input_size
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._lock = threading.Lock()

    def live(self, session: SessionFolder) -> Live:
        """Returns the prompt of a session."""
        with self._lock:
            if session.id not in self._live:
                self._live[session.id] = Live(session, self.encoder, self.input_size)
                while len(self._live) > KEPT:
                    self._live.popitem(last=False)
            self._live.move_to_end(session.id)
            return self._live[session.id]

    def export(self, session: SessionFolder) -> Prompt:
        """Returns the prompt of a session with class names and whole images, to be saved.

        Raises:
          UserError: nothing is annotated, or fewer than two classes are named.
        """
        live, state = self.live(session), session.state
        live.follow()
        if not len(live.prompt):
            raise UserError("nothing is annotated yet: paint a stroke first")
        classes = [entry for entry in state.classes.values() if not entry.removed]
        names = {entry.value: entry.name for entry in classes}
        found = Prompt(
            self.encoder,
            names,
            input_size=self.input_size,
            void=IGNORE,
            neighbours=state.settings.neighbours,
            temperature=state.settings.temperature,
        )
        for entry in classes:
            red, green, blue = bytes.fromhex(entry.colour[1:])
            found.palette[entry.value] = red, green, blue
        for id in live.prompt:
            encoded = dataclasses.replace(live.encoded(id), image=session.pixels(id))
            found.add(encoded, live.prompt[id].label, id)
        return found
