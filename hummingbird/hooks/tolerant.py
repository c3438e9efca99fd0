"""Keeps a failing hook from ending a training run."""

from __future__ import annotations

import logging

import jax

from hummingbird.data.pipeline import HostBatch
from hummingbird.errors import first_line
from hummingbird.models.pretrainer import Pretrainer
from hummingbird.run.training_log import Measured
from hummingbird.train import Hook
from hummingbird.train_step import TrainState

log = logging.getLogger(__name__)


class Tolerant:
    """Runs a hook and logs its exceptions instead of raising them.

    With several processes exceptions are raised all the same: the others may be waiting in a collective of the hook,
    and would do so forever.

    Args:
      hook: the hook to run.
      name: what to call it in the log.
    """

    def __init__(self, hook: Hook, name: str):
        self._hook, self._name = hook, name

    def __call__(self, step: int, state: TrainState, model: Pretrainer, batch: HostBatch) -> Measured | None:
        """Runs the hook; returns None if it fails."""
        try:
            return self._hook(step, state, model, batch)
        except Exception as error:
            if jax.process_count() > 1:
                raise
            self._warn(error, f"at step {step}")
            return None

    def close(self) -> None:
        """Closes the hook if it has something to close."""
        try:
            getattr(self._hook, "close", lambda: None)()
        except Exception as error:
            if jax.process_count() > 1:
                raise
            self._warn(error, "while closing")

    def _warn(self, error: Exception, when: str) -> None:
        log.warning("%s failed %s, training continues: %s", self._name, when, first_line(error), exc_info=error)
