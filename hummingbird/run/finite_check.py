"""Stops a run whose loss or gradient is no longer finite, and writes down which images did it."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from etils import epath
from jax import Array
from jax.experimental import multihost_utils
from jaxtyping import Int

from hummingbird.errors import UserError
from hummingbird.run.files import write_json

log = logging.getLogger(__name__)


class _Step(NamedTuple):
    """A step that has not been checked yet; its metrics may still be computed."""

    step: int
    images: Int[np.ndarray, " b"]
    metrics: Mapping[str, Array]


class FiniteCheck:
    """Checks the metrics of every step, one step late: reading them waits for the step, so the next one runs meanwhile.

    Args:
      workdir: gets failure.json.
      explain: says what is wrong with one of the images of a batch, by their numbers; "" if it finds nothing.
    """

    def __init__(self, workdir: epath.Path, explain: Callable[[Sequence[int]], str] = lambda images: ""):
        self._path, self._explain = workdir / "failure.json", explain
        self._pending: _Step | None = None

    @property
    def running(self) -> Array | None:
        """A result of the last step that was added; None before the first and after `now`."""
        return None if self._pending is None else self._pending.metrics["finite"]

    def add(self, step: int, index: Int[np.ndarray, " b"], metrics: Mapping[str, Array]) -> None:
        """Checks the step before, and remembers this one.

        Args:
          step: steps taken.
          index: the images of the batch, of this process.
          metrics: of the step, with "finite", "loss" and "gradient_norm".

        Raises:
          UserError: the step before is not finite.
        """
        self.now()
        self._pending = _Step(step, index, metrics)

    def now(self) -> None:
        """Checks the last step that was added, as before a save. Raises UserError if it is not finite."""
        pending, self._pending = self._pending, None
        if pending is None or bool(pending.metrics["finite"]):
            return
        values = {name: float(value) for name, value in jax.device_get(dict(pending.metrics)).items()}
        del values["finite"]
        index = pending.images
        if jax.process_count() > 1:  # the metrics are the same everywhere, so all processes get here
            index = np.asarray(multihost_utils.process_allgather(index, tiled=True))
        images = [int(i) for i in index]
        if jax.process_index() == 0:
            self._write(pending.step, values, images)
        raise UserError(
            f"step {pending.step}: the loss ({values['loss']}) or the norm of its gradient ({values['gradient_norm']}) "
            f"is not finite; the last good checkpoint is kept. Images of the batch: {', '.join(map(str, images[:8]))} "
            f"... (all in {self._path}). {self._explain(images) or 'Try a lower optimizer.learning_rate'}"
        )

    def _write(self, step: int, values: Mapping[str, float], images: list[int]) -> None:
        shown = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        try:
            write_json(self._path, {"step": step, "metrics": shown, "images": images})
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)
