"""Short texts that the processes of a run leave for one another, through JAX's coordination service."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import distributed

from hummingbird.errors import Preempted, UserError, first_line

log = logging.getLogger(__name__)

PREFIX = "hummingbird/"
READING = 1.0  # seconds between two looks at the other processes' troubles


class Board:
    """Texts by topic and process; those of this process alone if there is no other."""

    def __init__(self) -> None:
        self._own: dict[str, str] = {}

    def put(self, topic: str, text: str) -> None:
        """Replaces what this process has left under a topic."""
        client = _client()
        if client is None:
            self._own[topic] = text
        else:
            client.key_value_set(f"{PREFIX}{topic}/{jax.process_index()}", text, allow_overwrite=True)

    def read(self, topic: str) -> dict[int, str]:
        """Returns what each process has left under a topic, by its number."""
        client = _client()
        if client is None:
            return {0: self._own[topic]} if topic in self._own else {}
        return {int(key.rpartition("/")[2]): text for key, text in client.key_value_dir_get(f"{PREFIX}{topic}/")}


def _client() -> Any:
    """Returns the client of the coordination service; None for a process on its own. JAX has no public name for it."""
    return distributed.global_state.client if jax.process_count() > 1 else None


@contextlib.contextmanager
def sharing_troubles(board: Board) -> Iterator[None]:
    """Names the trouble that ends another process in the log of the first, which people follow.

    Without it the first process would only report, a minute later, that another one is gone.
    """
    if jax.process_count() == 1:
        yield
        return
    done = threading.Event()
    if jax.process_index() == 0:
        threading.Thread(target=_log_troubles, args=(board, done), daemon=True).start()
    try:
        yield
    except Exception as error:
        if not isinstance(error, Preempted):
            with contextlib.suppress(Exception):  # the service may be what failed
                if jax.process_index():
                    board.put("trouble", first_line(error))
                    time.sleep(3 * READING)
            # JAX would wait a minute for the others, which wait for this process, and then abort with another status.
            atexit.register(_leave, 2 if isinstance(error, UserError) else 1)
        raise
    finally:
        done.set()


def _leave(status: int) -> None:
    """Ends the process without running the remaining exit handlers."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _log_troubles(board: Board, done: threading.Event) -> None:
    """Logs the troubles of other processes once each, until `done`."""
    logged: set[int] = set()
    while not done.wait(READING):
        with contextlib.suppress(Exception):
            for process, text in board.read("trouble").items():
                if process not in logged:
                    log.error("process %d of %d ends: %s", process, jax.process_count(), text)
                    logged.add(process)
