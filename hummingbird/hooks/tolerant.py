"""Keeps a failing hook from ending a training run."""

from __future__ import annotations

import logging
import time

import jax

from hummingbird.data.pipeline import HostBatch
from hummingbird.devices.board import Board
from hummingbird.errors import first_line
from hummingbird.models.pretrainer import Pretrainer
from hummingbird.run.training_log import Measured
from hummingbird.train import Hook
from hummingbird.train_step import TrainState

log = logging.getLogger(__name__)

PATIENCE = 600.0  # seconds that a process whose hook failed waits for the others to leave theirs
POLLING = 0.2


class Tolerant:
    """Runs a hook, and logs and counts its exceptions instead of raising them.

    Several processes may work together in a hook. Each notes when it has left it; one that fails waits until all have,
    and training continues. If they do not, they wait for it in a collective of the hook, and would do so forever: then
    the exception ends the run.

    Args:
      hook: the hook to run.
      name: what to call it in the log.
      every: processes may work together at steps that this divides; 0: never.
    """

    def __init__(self, hook: Hook, name: str, every: int = 0):
        self._hook, self._name, self._every = hook, name, every
        self._failures, self._board = 0, Board()
        self._topic = f"hook/{name}"

    def __call__(self, step: int, state: TrainState, model: Pretrainer, batch: HostBatch) -> Measured | None:
        """Runs the hook; returns None if it fails."""
        together = jax.process_count() > 1 and self._every > 0 and step % self._every == 0
        try:
            measured = self._hook(step, state, model, batch)
        except Exception as error:
            self._warn(error, f"at step {step}")
            if together:
                self._board.put(self._topic, f"{step} {first_line(error)}")
                if not self._all_left(step):
                    raise
            return None
        if together:
            self._board.put(self._topic, f"{step} ")
        return measured

    def close(self) -> None:
        """Closes the hook if it has something to close."""
        try:
            getattr(self._hook, "close", lambda: None)()
        except Exception as error:
            self._warn(error, "while closing")

    def _all_left(self, step: int) -> bool:
        """Waits until all processes have left the hook at this step; returns False if that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while True:
            steps = [int(text.partition(" ")[0]) for text in self._board.read(self._topic).values()]
            if sum(left >= step for left in steps) == jax.process_count():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLLING)

    def _warn(self, error: Exception, when: str) -> None:
        self._failures += 1
        log.warning(
            "%s failed %s (failure %d), training continues: %s",
            *(self._name, when, self._failures, first_line(error)),
            exc_info=error,
        )
