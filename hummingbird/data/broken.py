"""Images that cannot be read: counted over all hosts against a budget, and kept across resumes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable

import jax

from hummingbird.config.data import InputPipeline
from hummingbird.devices.board import Board
from hummingbird.errors import UserError
from hummingbird.run.files import Json

log = logging.getLogger(__name__)

LEAST = 10  # unreadable images that any data set may have
TOPIC = "broken"
READING = 10.0  # seconds between two looks at the other hosts' images


class BrokenImages:
    """The unreadable images that were replaced.

    Attributes:
      own: {number of an image: what is wrong with it}, as far as this host has read them, and those of earlier starts.
      limit: how many different ones all hosts together may have.
    """

    def __init__(self, limit: int, key: str, board: Board | None = None, clock: Callable[[], float] = time.monotonic):
        """Starts without any.

        Args:
          limit: as above.
          key: config key that sets it, for errors.
          board: where hosts learn of one another's.
          clock: returns seconds that never go back.
        """
        self.own: dict[int, str] = {}
        self.limit = limit
        self._key, self._board, self._clock = key, board or Board(), clock
        self._named: set[int] = set()  # images of other hosts that this one has logged
        self._next_reading = clock()

    def add(self, found: Iterable[tuple[int, str]]) -> None:
        """Counts images. Raises UserError where there are more than allowed."""
        new = {int(index): str(message) for index, message in found if index not in self.own}
        if new:
            self.own |= new
            self._board.put(TOPIC, json.dumps(sorted(self.own.items())))
            for message in new.values():
                log.warning("replaced an unreadable image (%d of at most %d): %s", len(self.own), self.limit, message)
        if new or (jax.process_count() > 1 and self._clock() >= self._next_reading):
            self._next_reading = self._clock() + READING
            self._check()

    def _check(self) -> None:
        """Compares the images of all hosts with the limit; the first host logs those of the others."""
        if jax.process_index() == 0:
            for process, found in self._others().items():
                for index, message in found:
                    if index not in self.own and index not in self._named:
                        self._named.add(index)
                        log.warning("process %d replaced an unreadable image: %s", process, message)
        images = self.of_all_hosts()
        if len(images) > self.limit:
            *_, last = self.own.values() or images.values()
            raise UserError(
                f"{len(images)} images are unreadable, config key {self._key} allows {self.limit}; the last: {last}"
            )

    def of_all_hosts(self) -> dict[int, str]:
        """Returns the images of all hosts."""
        return {**{index: message for part in self._others().values() for index, message in part}, **self.own}

    def _others(self) -> dict[int, list[tuple[int, str]]]:
        """Returns the images of each other process, by its number."""
        texts = self._board.read(TOPIC) if jax.process_count() > 1 else {}
        return {
            process: [(int(index), message) for index, message in json.loads(text)]
            for process, text in texts.items()
            if process != jax.process_index()
        }

    def get_state(self) -> list[Json]:
        """Returns the images of all hosts, to be saved by one of them."""
        return [[index, message] for index, message in sorted(self.of_all_hosts().items())]

    def set_state(self, state: Iterable[tuple[int, str]]) -> None:
        """Continues from what `get_state` returned: every host knows all of them, and counts each once."""
        self.own = {int(index): str(message) for index, message in state}


def build_broken_images(data: InputPipeline, images: int) -> BrokenImages:
    """Builds the count; reads `data.max_broken`, or else `data.broken_fraction` of the images, and at least ten."""
    if data.max_broken is not None:
        return BrokenImages(data.max_broken, "data.max_broken")
    return BrokenImages(max(LEAST, int(data.broken_fraction * images)), "data.broken_fraction")
