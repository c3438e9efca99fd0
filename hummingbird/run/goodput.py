"""Goodput: how much of the time since a run first began went into training that lasted."""

from __future__ import annotations

import json
import logging

from etils import epath

from hummingbird.run.files import write_json

log = logging.getLogger(__name__)


class Goodput:
    """Share of the wall-clock since a run first began that went into steps that were kept.

    A step is kept if the parameters of now have it behind them. Lost is: starting, filling the bank, restoring,
    compiling (the first step of every start is counted with it), saving, evaluating and drawing, waiting for data while
    the devices had nothing to do, the time between a stop and the next start, and steps that a kill threw away.

    WORKDIR/goodput.json survives the kills: when the run began, and the seconds spent on steps up to each checkpoint.
    A start takes those of the checkpoint that it goes on from; if a kill came between a checkpoint and this record,
    those of the one before.
    """

    def __init__(self, path: epath.Path, start: int, began: float):
        """Args:
        path: of goodput.json, local or in a bucket; need not exist.
        start: step that the run goes on from.
        began: time of this start, seconds since the epoch; that of the run if there is no (whole) record.
        """
        self.path, self.began = path, began
        self.saved: dict[int, float] = {}
        if path.exists():
            try:
                record = json.loads(path.read_text())
                self.began = float(record["began"])
                self.saved = {int(step): float(s) for step, s in record["seconds_on_steps"].items()}
            except (ValueError, KeyError, AttributeError, TypeError) as error:  # a statistic is not worth a run
                log.warning("%s is damaged (%s): goodput is counted from now on", path, error)
        self.saved = {step: seconds for step, seconds in self.saved.items() if step <= start}
        self.seconds = self.saved[max(self.saved)] if self.saved else 0.0

    def add(self, seconds: float) -> None:
        """Counts time spent on steps."""
        self.seconds += seconds

    def share(self, now: float) -> float:
        """Goodput at the time `now`, seconds since the epoch: 0 to 1."""
        return self.seconds / max(now - self.began, 1e-9)

    def save(self, step: int) -> None:
        """Remembers what was spent up to a checkpoint; to be called when that is written."""
        self.saved[step] = self.seconds
        self.write()

    def write(self) -> None:
        """Writes the record in one move."""
        kept = {str(step): round(seconds, 3) for step, seconds in self.saved.items()}
        write_json(self.path, {"began": self.began, "seconds_on_steps": kept})
